import assert from "node:assert/strict";
import { test } from "node:test";
import { serverAudits } from "graphql-http";

const url = `${process.env["TRACKWAY_URL"] ?? "http://localhost:8080"}/graphql`;

// The reference audit of the GraphQL-over-HTTP specification: every MUST and every SHOULD, and what it merely hopes for.
for (const audit of serverAudits({ url, fetchFn: fetch })) {
  test(`${audit.id} ${audit.name}`, async () => {
    const result = await audit.fn();
    if (result.status !== "ok") {
      const { status, reason } = result;
      assert.fail(`${status}: ${reason}: ${result.response.status} ${await result.response.clone().text().catch(() => "")}`);
    }
  });
}
