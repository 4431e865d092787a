import assert from "node:assert/strict";
import { before, test } from "node:test";
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
  RecordSource,
  Store,
  type FetchFunction,
  type GraphQLResponse,
} from "relay-runtime";
import { graphqlUrl, signUp, type Session } from "../test/session.js";
import { tasksAddMutation, tasksFragment, tasksQuery } from "./tasks";
import type { tasks_project$data, tasks_project$key } from "./__generated__/tasks_project.graphql";
import type { tasksAddMutation as AddMutation } from "./__generated__/tasksAddMutation.graphql";
import type { tasksQuery as Query } from "./__generated__/tasksQuery.graphql";

let session: Session;
let environment: Environment;

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
  environment = new Environment({
    network: Network.create(send),
    store: new Store(new RecordSource()),
  });
});

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
