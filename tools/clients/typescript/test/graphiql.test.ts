import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createGraphQL } from "../src/graphql.js";
import { open, picture, skip, type Window } from "./browser.js";
import { addTask } from "./documents.js";
import { baseUrl, graphqlUrl, patience, provoked, signUp, type Session } from "./session.js";

let session: Session;
let window: Window;

before(async () => {
  if (skip) return;
  session = await signUp();
  window = await open(graphqlUrl);
  await write(".graphiql-editor-tool .graphiql-editor:not(.hidden) .CodeMirror", JSON.stringify(session.headers));
});
after(() => window?.browser.close());

/** Puts a text into one of the editors, as a paste does. */
async function write(editor: string, text: string): Promise<void> {
  await window.page.locator(editor).evaluate((element, value) => (element as unknown as { CodeMirror: { setValue(v: string): void } }).CodeMirror.setValue(value), text);
}

/** Runs an operation, once the page has understood it: its tab has the name of the operation then. */
async function run(name: string, operation: string): Promise<void> {
  await write(".graphiql-query-editor .CodeMirror", operation);
  await window.page.locator(".graphiql-tab", { hasText: name }).waitFor();
  await window.page.locator(".graphiql-execute-button").click();
}

async function result(): Promise<string> {
  return window.page.locator(".result-window .CodeMirror").evaluate((element) => (element as unknown as { CodeMirror: { getValue(): string } }).CodeMirror.getValue());
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
  await picture(window.page, "graphiql-query");
  assert.deepEqual(window.foreign, []);
  assert.deepEqual(window.complaints, []);
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
  await picture(window.page, "graphiql-subscription");
  assert.deepEqual(window.foreign, []);
  assert.deepEqual(window.complaints, []);
});
