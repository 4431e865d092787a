import assert from "node:assert/strict";
import { createHash, randomUUID } from "node:crypto";
import { createTrackway, type Schemas } from "../src/client.js";

export const baseUrl = process.env["TRACKWAY_URL"] ?? "http://localhost:8080";
export const graphqlUrl = `${baseUrl}/graphql`;
export const socketUrl = graphqlUrl.replace(/^http/, "ws");
/** How long anything may take; nothing waits for it that works. */
export const patience = 20_000;

/** Somebody who is signed in, with a project and its tasks "Task 0" to "Task 4". */
export interface Session {
  token: string;
  headers: { Authorization: string };
  project: Schemas["Project"];
}

export async function signUp(): Promise<Session> {
  const email = `${randomUUID()}@example.org`;
  const password = "twelve green bottles";
  const open = createTrackway({ baseUrl });
  await open.POST("/api/auth/register/", { body: { name: "Gwen Graph", email, password } });
  const { data } = await open.POST("/api/auth/login/", { body: { email, password } });
  assert.ok(data);
  const token = data.access_token;
  const client = createTrackway({ baseUrl, token });
  const { data: project } = await client.POST("/api/projects/", { body: { name: "Graph" } });
  assert.ok(project);
  for (let n = 0; n < 5; n++) {
    await client.POST("/api/tasks/", { body: { project_id: project.id, title: `Task ${n}` } });
  }
  return { token, headers: { Authorization: `Bearer ${token}` }, project };
}

export const sha256 = (text: string) => createHash("sha256").update(text).digest("hex");

/** Requests that went out, by which a test sees what a client really sent. */
export function recorded(): { fetch: typeof fetch; sent: { method: string; url: URL; body: string }[] } {
  const sent: { method: string; url: URL; body: string }[] = [];
  return {
    sent,
    fetch: (input, init) => {
      const url = new URL(input instanceof Request ? input.url : input);
      sent.push({ method: init?.method ?? "GET", url, body: typeof init?.body === "string" ? init.body : "" });
      return fetch(input, init);
    },
  };
}

/** Waits for an event, and makes the change again as long as nothing comes: nobody says when a subscription has begun. */
export async function provoked<T>(event: Promise<T>, change: () => Promise<unknown>): Promise<T> {
  const deadline = Date.now() + patience;
  const none = Symbol("none");
  while (Date.now() < deadline) {
    await change();
    const first = await Promise.race([event, new Promise<typeof none>((r) => setTimeout(r, 250, none))]);
    if (first !== none) return first;
  }
  throw new Error(`no event within ${patience} ms`);
}
