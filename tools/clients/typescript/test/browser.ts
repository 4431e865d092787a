import { existsSync } from "node:fs";
import { chromium, type Browser, type Page } from "playwright-core";
import { baseUrl, patience } from "./session.js";

const executablePath =
  process.env["CHROMIUM"] ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((p) => existsSync(p));

/** Why tests in a browser are skipped; false where there is one. */
export const skip = executablePath ? false : "there is no Chromium on this machine; CHROMIUM says where it is";

/** A page of a browser that reaches nothing but us. */
export interface Window {
  browser: Browser;
  page: Page;
  /** What the page asked of others than us. */
  foreign: string[];
  /** What went wrong in it. */
  complaints: string[];
}

export async function open(url: string): Promise<Window> {
  const browser = await chromium.launch({
    executablePath: executablePath!,
    // Root may not have a sandbox; and there is no network but this machine.
    args: ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost"],
  });
  const page = await browser.newPage({ viewport: { width: 1400, height: 800 } });
  const foreign: string[] = [];
  const complaints: string[] = [];
  page.setDefaultTimeout(patience);
  page.on("request", (request) => {
    const { protocol, host } = new URL(request.url());
    if (protocol !== "data:" && host !== new URL(baseUrl).host) foreign.push(request.url());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.goto(url);
  return { browser, page, foreign, complaints };
}

/** Keeps a picture for who wants to look, in the folder that PICTURES names. */
export async function picture(page: Page, name: string): Promise<void> {
  const folder = process.env["PICTURES"];
  if (folder) await page.screenshot({ path: `${folder}/${name}.png` });
}
