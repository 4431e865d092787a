import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { createClient } from "graphql-ws";
import {
  commitMutation,
  createOperationDescriptor,
  Environment,
  fetchQuery,
  getPaginationMetadata,
  getPaginationVariables,
  getRequest,
  getFragment,
  getSingularSelector,
  Network,
  Observable,
  RecordSource,
  requestSubscription,
  Store,
  type FetchFunction,
  type GraphQLResponse,
  type SubscribeFunction,
} from "relay-runtime";
import { WebSocket } from "ws";
import { graphqlUrl, provoked, signUp, socketUrl, type Session } from "../test/session.js";
import { tasksAddMutation, tasksChangedSubscription, tasksFragment, tasksQuery } from "./tasks";
import type { tasks_project$data, tasks_project$key } from "./__generated__/tasks_project.graphql";
import type { tasksAddMutation as AddMutation } from "./__generated__/tasksAddMutation.graphql";
import type { tasksChangedSubscription as ChangedSubscription } from "./__generated__/tasksChangedSubscription.graphql";
import type { tasksQuery as Query } from "./__generated__/tasksQuery.graphql";

let session: Session;
let environment: Environment;
const socket = createClient({
  url: socketUrl,
  webSocketImpl: WebSocket,
  connectionParams: () => session.headers,
});

before(async () => {
  session = await signUp();
  const send: FetchFunction = async ({ text }, variables) => {
    const response = await fetch(graphqlUrl, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...session.headers },
      body: JSON.stringify({ query: text, variables }),
    });
    return (await response.json()) as GraphQLResponse;
  };
  const subscribe: SubscribeFunction = ({ text }, variables) =>
    Observable.create((sink) => socket.subscribe({ query: text ?? "", variables }, sink as never));
  environment = new Environment({
    network: Network.create(send, subscribe),
    store: new Store(new RecordSource()),
  });
});
after(() => socket.dispose());

/** Fetches the first page, and keeps it as a component does. */
async function show(): Promise<{ key: tasks_project$key; project: string; read: () => tasks_project$data }> {
  const variables = { project: String(session.project.id) };
  environment.retain(createOperationDescriptor(getRequest(tasksQuery), variables));
  const data = await fetchQuery<Query>(environment, tasksQuery, variables).toPromise();
  assert.ok(data?.project && data.viewer);
  const key = data.project;
  const selector = getSingularSelector(getFragment(tasksFragment), key);
  assert.ok(selector);
  return { key, project: data.project.id, read: () => environment.lookup(selector).data as unknown as tasks_project$data };
}

const titles = (data: tasks_project$data) => data.tasks?.edges.map(({ node }) => node.title);

test("Relay reads page by page, through the refetch query of its fragment", async () => {
  const { project, read } = await show();
  assert.deepEqual(titles(read()), ["Task 0", "Task 1"]);
  const { paginationRequest, paginationMetadata, identifierField } = getPaginationMetadata(getFragment(tasksFragment), "test");
  assert.equal(identifierField, "id");
  for (;;) {
    const connection = read().tasks as unknown as { pageInfo: { hasNextPage: boolean; endCursor: string } };
    if (!connection.pageInfo.hasNextPage) break;
    const variables = getPaginationVariables("forward", 2, connection.pageInfo.endCursor, {}, {}, paginationMetadata);
    const operation = createOperationDescriptor(paginationRequest, { ...variables, id: project }, { force: true });
    await new Promise<void>((complete, error) =>
      environment.execute({ operation }).subscribe({ complete, error }),
    );
  }
  assert.deepEqual(titles(read()), ["Task 0", "Task 1", "Task 2", "Task 3", "Task 4"]);
});

test("Relay writes, and appends the new edge", async () => {
  const { project, read } = await show();
  const connections = [read().tasks?.__id ?? ""];
  const add = (title: string) =>
    new Promise<AddMutation["response"]>((resolve, reject) =>
      commitMutation<AddMutation>(environment, {
        mutation: tasksAddMutation,
        variables: { input: { projectId: project, title }, connections },
        onCompleted: resolve,
        onError: reject,
      }),
    );
  await add("By Relay");
  assert.equal(titles(read())?.at(-1), "By Relay");
  const before = titles(read());
  const wrong = await add("");
  assert.deepEqual(wrong.createTask?.userErrors.map(({ code, field }) => ({ code, field })), [{ code: "INVALID", field: ["input", "title"] }]);
  assert.deepEqual(titles(read()), before);
});

test("Relay is told of a change, which its store has then", async () => {
  const { project, read } = await show();
  const task = read().tasks?.edges[0]?.node;
  assert.ok(task);
  let n = 0;
  const event = new Promise<void>((resolve, reject) => {
    const { dispose } = requestSubscription<ChangedSubscription>(environment, {
      subscription: tasksChangedSubscription,
      variables: { project },
      onNext: (data) => {
        if (data?.taskChanged.task.id !== task.id) return;
        dispose();
        resolve();
      },
      onError: reject,
    });
  });
  await provoked(event, () =>
    fetch(graphqlUrl, {
      method: "POST",
      headers: { "Content-Type": "application/json", ...session.headers },
      body: JSON.stringify({
        query: "mutation($id: ID!, $title: String!) { updateTask(input: { id: $id, title: $title }) { userErrors { code } } }",
        variables: { id: task.id, title: `Renamed ${n++}` },
      }),
    }),
  );
  const shown = read().tasks?.edges.find(({ node }) => node.id === task.id)?.node;
  assert.match(shown?.title ?? "", /^Renamed/);
  assert.ok((shown?.version ?? 0) > task.version);
});
