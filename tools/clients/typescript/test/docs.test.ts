import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { after, before, test } from "node:test";
import type { Locator } from "playwright-core";
import { open, picture, skip, type Window } from "./browser.js";
import { createTrackway } from "../src/client.js";
import { baseUrl, patience } from "./session.js";

const email = `${randomUUID()}@example.org`;
const password = "twelve green bottles";

let window: Window;

before(async () => {
  if (skip) return;
  await createTrackway({ baseUrl }).POST("/api/auth/register/", { body: { name: "Doris Docs", email, password } });
  // As a person does, who is led from there to the documentation.
  window = await open(`${baseUrl}/api/`);
  window.page.setDefaultTimeout(3 * patience); // it draws all operations at once
});
after(() => window?.browser.close());

/** An operation, opened. */
async function operation(id: string): Promise<Locator> {
  const block = window.page.locator(`[id$="-${id}"].opblock`);
  await block.locator(".opblock-summary-control").click();
  return block;
}

/** Executes an operation with "try it", and gives what the page shows of the answer. */
async function run(id: string, body?: object): Promise<{ status: string; text: string }> {
  const block = await operation(id);
  if (body) await block.locator("textarea.body-param__text").fill(JSON.stringify(body));
  await block.locator("button.execute").click();
  const answer = block.locator(".live-responses-table");
  const status = await answer.locator("tbody .response-col_status").first().innerText();
  return { status: status.trim(), text: (await answer.locator("tbody .highlight-code code, tbody pre").first().innerText()).trim() };
}

test("who is not signed in is told so, and after signing in can try everything, from here alone", { skip }, async () => {
  assert.equal(new URL(window.page.url()).pathname, "/docs/");
  const refused = await run("getMe");
  assert.equal(refused.status.split(/\s/)[0], "401");
  window.complaints.length = 0; // the browser complains of the 401
  const signedIn = await run("login", { email, password });
  assert.equal(signedIn.status.split(/\s/)[0], "200");
  const { access_token } = JSON.parse(signedIn.text) as { access_token: string };

  await window.page.locator(".auth-wrapper > .authorize").click();
  await window.page.locator(".auth-container input").fill(access_token);
  await window.page.locator(".auth-btn-wrapper .authorize").click();
  await window.page.locator(".auth-btn-wrapper .btn-done").click();

  const made = await run("createProject", { name: "Tried out" });
  assert.equal(made.status.split(/\s/)[0], "201");
  assert.equal((JSON.parse(made.text) as { name: string }).name, "Tried out");
  const read = await run("listProjects");
  assert.deepEqual((JSON.parse(read.text) as { name: string }[]).map((p) => p.name), ["Tried out"]);
  await picture(window.page, "docs");
  assert.deepEqual(window.foreign, []);
  assert.deepEqual(window.complaints, []);
});
