import assert from "node:assert/strict";
import { before, test } from "node:test";
import { print } from "graphql";
import { createClient } from "graphql-sse";
import { addTask, taskChanges, tasks } from "./documents.js";
import { graphqlUrl, provoked, signUp, type Session } from "./session.js";

let session: Session;
before(async () => {
  session = await signUp();
});

for (const singleConnection of [false, true]) {
  test(`graphql-sse reads, writes and is told of a change, ${singleConnection ? "on a single connection" : "on distinct connections"}`, async () => {
    const client = createClient({
      singleConnection,
      url: singleConnection ? `${graphqlUrl}/stream` : graphqlUrl,
      headers: () => session.headers,
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
    client.dispose();
  });
}
