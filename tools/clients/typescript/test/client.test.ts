import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { before, test } from "node:test";
import { createTrackway, pages, type Schemas } from "../src/client.js";

const baseUrl = process.env["TRACKWAY_URL"] ?? "http://localhost:8080";
const password = "twelve green bottles";

let token = "";
const signedIn = () => token;
/** What was sent, to see what the client adds. */
const sent: Request[] = [];
const client = createTrackway({
  baseUrl,
  token: signedIn,
  fetch: (request) => {
    sent.push(request.clone());
    return fetch(request);
  },
});

async function project(): Promise<Schemas["Project"]> {
  const { data } = await client.POST("/api/projects/", { body: { name: "Typed" } });
  assert.ok(data);
  return data;
}

before(async () => {
  const email = `${randomUUID()}@example.org`;
  const open = createTrackway({ baseUrl });
  const made = await open.POST("/api/auth/register/", { body: { name: "Tess Typed", email, password } });
  assert.equal(made.response.status, 201);
  const { data } = await open.POST("/api/auth/login/", { body: { email, password } });
  assert.ok(data);
  token = data.access_token;
});

test("a write is sent with a key, and happens once although its answer is lost", async () => {
  let lost = 0;
  const unlucky = createTrackway({
    baseUrl,
    token: signedIn,
    pause: 1,
    fetch: async (request) => {
      const response = await fetch(request);
      if (lost++ < 2) throw new TypeError("the connection is gone");
      return response;
    },
  });
  const { id } = await project();
  const made = await unlucky.POST("/api/tasks/", { body: { project_id: id, title: "Once" } });
  assert.equal(made.response.status, 201);
  assert.equal(made.response.headers.get("Idempotency-Replayed"), "true");
  const { data } = await client.GET("/api/tasks/", { params: { query: { project: id } } });
  assert.deepEqual(data?.map((task) => task.id), [made.data?.id]);
});

test("what somebody else changed meanwhile is not overwritten", async () => {
  const other = createTrackway({ baseUrl, token: signedIn });
  const { id } = await project();
  const params = { path: { id } };
  assert.equal((await other.PATCH("/api/projects/{id}/", { params, body: { name: "Theirs" } })).response.status, 200);

  const late = await client.PATCH("/api/projects/{id}/", { params, body: { name: "Mine" } });
  assert.equal(late.response.status, 412);
  assert.equal(late.error?.status, 412);
  assert.equal(sent.at(-1)?.headers.get("If-Match"), '"1"');

  const { data } = await client.GET("/api/projects/{id}/", { params });
  assert.equal(data?.name, "Theirs");
  const again = await client.PATCH("/api/projects/{id}/", { params, body: { name: "Mine" } });
  assert.equal(again.data?.version, 3);
  assert.equal((await client.DELETE("/api/projects/{id}/", { params })).response.status, 204);
  assert.equal(sent.at(-1)?.headers.get("If-Match"), '"3"');
});

test("a list is read to its end", async () => {
  const { id } = await project();
  for (let n = 0; n < 5; n++) {
    await client.POST("/api/tasks/", { body: { project_id: id, title: `Task ${n}` } });
  }
  const titles: string[] = [];
  let count = 0;
  const first = client.GET("/api/tasks/", { params: { query: { project: id, limit: 2, ordering: ["title"] } } });
  for await (const page of pages(first, signedIn)) {
    titles.push(...page.map((task) => task.title));
    count++;
  }
  assert.deepEqual(titles, ["Task 0", "Task 1", "Task 2", "Task 3", "Task 4"]);
  assert.equal(count, 3);
});

test("a read has the type of what it gives", async () => {
  const { id } = await project();
  const made = await client.POST("/api/tasks/", { body: { project_id: id, title: "Whole" } });
  assert.ok(made.data);
  const params = { path: { id: made.data.id } };
  const whole = await client.GET("/api/tasks/{id}/", { params: { ...params, query: { expand: ["project"] } } });
  assert.ok(whole.data);
  const title: string = whole.data.title;
  assert.equal(title, "Whole");
  assert.equal(whole.data.project?.name, "Typed");
  const some = await client.GET("/api/tasks/{id}/", { params: { ...params, query: { fields: ["status"] } } });
  assert.ok(some.data);
  // @ts-expect-error only some fields were asked for
  const missing: string = some.data.title;
  assert.equal(missing, undefined);
  const me = await client.GET("/api/users/me/");
  const name: string | undefined = me.data?.name;
  assert.equal(name, "Tess Typed");
});

test("a mistake is a typed problem and is not sent again", async () => {
  const before = sent.length;
  const { error, response } = await client.POST("/api/tasks/", { body: { project_id: 1e15, title: "" } });
  assert.equal(response.status, 400);
  assert.equal(error?.code, "invalid");
  assert.equal(sent.length, before + 1);
});

test("a busy server is asked again, after as long as it says", async () => {
  let asked = 0;
  const busy = createTrackway({
    baseUrl,
    token: signedIn,
    pause: 1,
    fetch: async (request) =>
      asked++ === 0 ? new Response("{}", { status: 503, headers: { "Retry-After": "0" } }) : fetch(request),
  });
  assert.equal((await busy.GET("/api/users/me/")).response.status, 200);
  assert.equal(asked, 2);
});
