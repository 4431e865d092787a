import assert from "node:assert/strict";
import { before, test } from "node:test";
import { print } from "graphql";
import { createClient } from "graphql-ws";
import { WebSocket } from "ws";
import { createGraphQL, GraphQLFailure } from "../src/graphql.js";
import { addTask, taskChanges, tasks } from "./documents.js";
import { baseUrl, provoked, signUp, socketUrl, type Session } from "./session.js";

let session: Session;
before(async () => {
  session = await signUp();
});

test("graphql-ws reads, writes and is told of a change, on one socket", async () => {
  let sockets = 0;
  const client = createClient({
    url: socketUrl,
    webSocketImpl: WebSocket,
    connectionParams: () => session.headers,
    on: { connected: () => sockets++ },
    lazy: false,
  });
  const project = String(session.project.id);
  const once = async (query: string, variables: Record<string, unknown>) => {
    for await (const result of client.iterate<any>({ query, variables })) return result;
    throw new Error("no result");
  };
  const read = await once(print(tasks), { project, first: 3 });
  assert.equal(read.data.project.tasks.edges.length, 3);
  const event = once(print(taskChanges), { project });
  const told = await provoked(event, async () => {
    const made = await once(print(addTask), { input: { projectId: project, title: "Live" } });
    assert.equal(made.data.createTask.taskEdge.node.title, "Live");
  });
  assert.equal(told.data.taskChanged.task.title, "Live");
  assert.equal(sockets, 1);
  await client.dispose();
});

test("the typed client goes on behind the last event when its connection breaks", async () => {
  const sockets: WebSocket[] = [];
  class Watched extends WebSocket {
    constructor(...args: ConstructorParameters<typeof WebSocket>) {
      super(...args);
      sockets.push(this);
    }
  }
  const client = createGraphQL({ baseUrl, token: () => session.token, webSocket: Watched, pause: 1 });
  const project = String(session.project.id);
  const add = (title: string) => client.request(addTask, { input: { projectId: project, title } });
  const events = client.follow(taskChanges, { project }, (data) => data.taskChanged.cursor);
  const titles: string[] = [];
  const next = async () => {
    const { value } = await events.next();
    assert.ok(value);
    return value.taskChanged.task.title;
  };
  let n = 0;
  await provoked(next(), () => add(`Begin ${n++}`));
  for (let round = 0; round < 3; round++) {
    sockets.at(-1)?.terminate();
    for (let i = 0; i < 5; i++) await add(`Event ${round}.${i}`);
    while (titles.filter((t) => t.startsWith(`Event ${round}`)).length < 5) titles.push(await next());
  }
  await events.return();
  assert.deepEqual(titles.filter((t) => t.startsWith("Event")), [0, 1, 2].flatMap((r) => [0, 1, 2, 3, 4].map((i) => `Event ${r}.${i}`)));
  assert.ok(sockets.length >= 4, `${sockets.length} sockets`);
});

test("the typed client tells what is wrong", async () => {
  const client = createGraphQL({ baseUrl, token: session.token, webSocket: WebSocket });
  await assert.rejects(client.request(tasks, { project: "999999999", first: 1 }), (failure) => {
    assert.ok(failure instanceof GraphQLFailure);
    assert.equal(failure.errors[0]?.extensions?.["code"], "NOT_FOUND");
    return true;
  });
  const follow = client.follow(taskChanges, { project: "999999999" }, (data) => data.taskChanged.cursor);
  await assert.rejects(follow.next(), GraphQLFailure);
  const stranger = createGraphQL({ baseUrl, token: "nobody", webSocket: WebSocket });
  await assert.rejects(async () => {
    for await (const _ of stranger.follow(taskChanges, { project: "1" }, (data) => data.taskChanged.cursor)) break;
  }, (failure: { code?: number }) => failure.code === 4403);
});
