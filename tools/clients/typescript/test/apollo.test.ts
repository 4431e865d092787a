import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { ApolloClient, ApolloLink, HttpLink, InMemoryCache } from "@apollo/client";
import { PersistedQueryLink } from "@apollo/client/link/persisted-queries";
import { GraphQLWsLink } from "@apollo/client/link/subscriptions";
import { relayStylePagination } from "@apollo/client/utilities";
import { OperationTypeNode } from "graphql";
import { createClient } from "graphql-ws";
import { firstValueFrom } from "rxjs";
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
const client = new ApolloClient({
  cache: new InMemoryCache({ typePolicies: { Project: { fields: { tasks: relayStylePagination() } } } }),
  link: ApolloLink.split(
    ({ operationType }) => operationType === OperationTypeNode.SUBSCRIPTION,
    new GraphQLWsLink(socket),
    new PersistedQueryLink({ sha256, useGETForHashedQueries: true }).concat(
      new ApolloLink((operation, forward) => {
        operation.setContext({ headers: session.headers });
        return forward(operation);
      }).concat(new HttpLink({ uri: graphqlUrl, fetch })),
    ),
  ),
});

before(async () => {
  session = await signUp();
});
after(async () => {
  client.stop();
  await socket.dispose();
});

test("Apollo Client reads page by page, by persisted queries", async () => {
  const variables = { project: String(session.project.id), first: 2 };
  const query = client.watchQuery({ query: tasks, variables });
  await new Promise((resolve) => query.subscribe(({ loading }) => loading || resolve(undefined)));
  for (let pages = 1; pages < 5; pages++) {
    const info = client.readQuery({ query: tasks, variables })?.project?.tasks?.pageInfo;
    if (!info?.hasNextPage) break;
    await query.fetchMore({ variables: { after: info.endCursor } });
  }
  const list = client.readQuery({ query: tasks, variables })?.project?.tasks;
  assert.deepEqual(list?.edges.map(({ node }) => node.title), ["Task 0", "Task 1", "Task 2", "Task 3", "Task 4"]);
  assert.equal(list?.pageInfo.hasPreviousPage, false);

  // The first page is asked for by its hash, unless somebody has taught the server that query already; all others are.
  assert.equal(sent.filter(({ url, body }) => !url.searchParams.has("query") && !body.includes('"query"')).length, 3);
  assert.ok(sent.length <= 4, `sent ${sent.length} requests`);
  assert.ok(sent.every(({ url, body }) => `${url}${body}`.includes("sha256Hash")));
  assert.equal(sent.at(-1)?.method, "GET");
});

test("Apollo Client writes, and puts the new edge into the list", async () => {
  const variables = { project: String(session.project.id), first: 2 };
  const input = { projectId: String(session.project.id), title: "By Apollo", clientMutationId: "a" };
  const { data } = await client.mutate({
    mutation: addTask,
    variables: { input },
    update(cache, { data }) {
      const edge = data?.createTask?.taskEdge;
      assert.ok(edge);
      cache.updateQuery({ query: tasks, variables }, (shown) =>
        shown?.project?.tasks
          ? { project: { ...shown.project, tasks: { ...shown.project.tasks, edges: [...shown.project.tasks.edges, edge] } } }
          : shown,
      );
    },
  });
  assert.equal(data?.createTask?.clientMutationId, "a");
  const list = client.readQuery({ query: tasks, variables })?.project?.tasks;
  assert.ok(list?.edges.some(({ node }) => node.title === "By Apollo" && node.version === 1));

  const wrong = await client.mutate({ mutation: addTask, variables: { input: { ...input, title: "" } } });
  assert.deepEqual(wrong.data?.createTask?.userErrors.map(({ code, field }) => ({ code, field })), [
    { code: "INVALID", field: ["input", "title"] },
  ]);
});

test("Apollo Client is told of a change", async () => {
  const event = firstValueFrom(
    client.subscribe({ query: taskChanges, variables: { project: String(session.project.id) } }),
  );
  const { data } = await provoked(event, () =>
    client.mutate({ mutation: addTask, variables: { input: { projectId: String(session.project.id), title: "Live" } } }),
  );
  assert.equal(data?.taskChanged.kind, "CREATED");
  assert.equal(data?.taskChanged.task.title, "Live");
});
