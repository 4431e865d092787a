import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { cacheExchange, Client, fetchExchange, subscriptionExchange } from "@urql/core";
import { persistedExchange } from "@urql/exchange-persisted";
import { createClient } from "graphql-ws";
import { WebSocket } from "ws";
import { addTask, taskChanges, tasks } from "./documents.js";
import { graphqlUrl, provoked, recorded, sha256, signUp, socketUrl, type Session } from "./session.js";

let session: Session;
const { fetch, sent } = recorded();
const socket = createClient({
  url: socketUrl,
  webSocketImpl: WebSocket,
  connectionParams: () => session.headers,
});
const client = new Client({
  url: graphqlUrl,
  fetch,
  fetchOptions: () => ({ headers: session.headers }),
  preferGetMethod: false,
  exchanges: [
    cacheExchange,
    persistedExchange({ preferGetForPersistedQueries: true, generateHash: async (text) => sha256(text) }),
    fetchExchange,
    subscriptionExchange({
      forwardSubscription: ({ query, variables }) => ({
        subscribe: (sink) => ({ unsubscribe: socket.subscribe({ query: query ?? "", variables: variables as never }, sink as never) }),
      }),
    }),
  ],
});

before(async () => {
  session = await signUp();
});
after(() => socket.dispose());

test("urql reads page by page, by persisted queries", async () => {
  const titles: string[] = [];
  let cursor: string | null | undefined;
  do {
    const variables = { project: String(session.project.id), first: 2, after: cursor ?? null };
    const { data, error } = await client.query(tasks, variables);
    assert.equal(error, undefined);
    const list = data?.project?.tasks;
    assert.ok(list);
    titles.push(...list.edges.map(({ node }) => node.title));
    cursor = list.pageInfo.hasNextPage ? list.pageInfo.endCursor : null;
  } while (cursor);
  assert.deepEqual(titles, ["Task 0", "Task 1", "Task 2", "Task 3", "Task 4"]);
  assert.equal(sent.at(-1)?.method, "GET");
  assert.ok(sent.at(-1)?.url.searchParams.get("extensions")?.includes("sha256Hash"));
  assert.equal(sent.at(-1)?.url.searchParams.get("query") ?? "", "");
});

test("urql writes, and reads what it wrote", async () => {
  const variables = { project: String(session.project.id), first: 20 };
  await client.query(tasks, variables);
  const { data, error } = await client.mutation(addTask, { input: { projectId: variables.project, title: "By urql" } });
  assert.equal(error, undefined);
  assert.equal(data?.createTask?.taskEdge?.node.title, "By urql");
  const again = await client.query(tasks, variables); // the mutation has made what was kept stale
  assert.ok(again.data?.project?.tasks?.edges.some(({ node }) => node.title === "By urql"));
});

test("urql is told of a change", async () => {
  const project = String(session.project.id);
  const event = new Promise<string>((resolve, reject) => {
    const { unsubscribe } = client.subscription(taskChanges, { project }).subscribe(({ data, error }) => {
      if (error) reject(error);
      if (data) resolve(data.taskChanged.task.title);
      unsubscribe();
    });
  });
  const title = await provoked(event, () => client.mutation(addTask, { input: { projectId: project, title: "Live" } }).toPromise());
  assert.equal(title, "Live");
});
