import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { after, before, test } from "node:test";
import { chromium, type Browser, type Page } from "playwright-core";
import { createGraphQL } from "../src/graphql.js";
import { addTask } from "./documents.js";
import { baseUrl, graphqlUrl, patience, provoked, signUp, type Session } from "./session.js";

const executablePath =
  process.env["CHROMIUM"] ?? ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((p) => existsSync(p));
const skip = executablePath ? false : "there is no Chromium on this machine; CHROMIUM says where it is";

let session: Session;
let browser: Browser;
let page: Page;
/** What the page asked of others than us, and what went wrong in it. */
const foreign: string[] = [];
const complaints: string[] = [];

before(async () => {
  if (skip) return;
  session = await signUp();
  browser = await chromium.launch({
    executablePath: executablePath!,
    // Root may not have a sandbox; and there is no network but this machine.
    args: ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost"],
  });
  page = await browser.newPage({ viewport: { width: 1400, height: 800 } });
  page.setDefaultTimeout(patience);
  page.on("request", (request) => {
    const { protocol, host } = new URL(request.url());
    if (protocol !== "data:" && host !== new URL(baseUrl).host) foreign.push(request.url());
  });
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  await page.goto(graphqlUrl);
  await write(".graphiql-editor-tool .graphiql-editor:not(.hidden) .CodeMirror", JSON.stringify(session.headers));
});
after(() => browser?.close());

/** Puts a text into one of the editors, as a paste does. */
async function write(editor: string, text: string): Promise<void> {
  await page.locator(editor).evaluate((element, value) => (element as unknown as { CodeMirror: { setValue(v: string): void } }).CodeMirror.setValue(value), text);
}

/** Runs an operation, once the page has understood it: its tab has the name of the operation then. */
async function run(name: string, operation: string): Promise<void> {
  await write(".graphiql-query-editor .CodeMirror", operation);
  await page.locator(".graphiql-tab", { hasText: name }).waitFor();
  await page.locator(".graphiql-execute-button").click();
}

async function result(): Promise<string> {
  return page.locator(".result-window .CodeMirror").evaluate((element) => (element as unknown as { CodeMirror: { getValue(): string } }).CodeMirror.getValue());
}

async function resultWith(text: string): Promise<string> {
  const deadline = Date.now() + patience;
  for (;;) {
    const shown = await result();
    if (shown.includes(text)) return shown;
    if (Date.now() > deadline) throw new Error(`the page shows ${shown}, want ${text}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

test("GraphiQL loads from here alone, and runs a query", { skip }, async () => {
  await run("Viewer", "query Viewer { viewer { name } }");
  assert.deepEqual(JSON.parse(await resultWith("viewer")).data, { viewer: { name: "Gwen Graph" } });
  await picture("query");
  assert.deepEqual(foreign, []);
  assert.deepEqual(complaints, []);
});

test("GraphiQL runs a subscription", { skip }, async () => {
  const project = String(session.project.id);
  const client = createGraphQL({ baseUrl, token: session.token });
  await run("Live", `subscription Live { taskChanged(projectId: ${project}) { kind task { title } } }`);
  const shown = await provoked(resultWith("taskChanged"), () =>
    client.request(addTask, { input: { projectId: project, title: "Live" } }),
  );
  const { data } = JSON.parse(shown);
  assert.deepEqual(data, { taskChanged: { kind: "CREATED", task: { title: "Live" } } });
  await picture("subscription");
  assert.deepEqual(foreign, []);
  assert.deepEqual(complaints, []);
});

/** Keeps a picture for who wants to look, in the folder that PICTURES names. */
async function picture(name: string): Promise<void> {
  const folder = process.env["PICTURES"];
  if (folder) await page.screenshot({ path: `${folder}/graphiql-${name}.png` });
}
