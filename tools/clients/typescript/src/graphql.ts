/**
 * Trackway's GraphQL API, for documents that graphql-codegen has typed.
 *
 * `request` runs a query or a mutation.
 */
import type { TypedDocumentNode } from "@graphql-typed-document-node/core";
import { type GraphQLFormattedError, print } from "graphql";

export interface GraphQLOptions {
  /** The installation, such as `https://trackway.example`. */
  baseUrl: string;
  /** The access token, or what gives one. It is asked before each request. */
  token?: string | (() => string | undefined | Promise<string | undefined>);
}

/** What an operation failed with. `errors[0].extensions.code` says what kind of failure it is. */
export class GraphQLFailure extends Error {
  constructor(readonly errors: readonly GraphQLFormattedError[]) {
    super(errors.map((e) => e.message).join(" "));
    this.name = "GraphQLFailure";
  }
}

export interface GraphQLClient {
  request<Data, Variables>(document: TypedDocumentNode<Data, Variables>, variables: Variables): Promise<Data>;
}

export function createGraphQL({ baseUrl, token }: GraphQLOptions): GraphQLClient {
  const authorization = async (): Promise<Record<string, string>> => {
    const bearer = typeof token === "function" ? await token() : token;
    return bearer ? { Authorization: `Bearer ${bearer}` } : {};
  };
  const url = new URL("/graphql", baseUrl);
  return {
    async request(document, variables) {
      const response = await fetch(url, {
        method: "POST",
        headers: {
          "Content-Type": "application/json",
          Accept: "application/graphql-response+json, application/json;q=0.9",
          ...(await authorization()),
        },
        body: JSON.stringify({ query: print(document), variables }),
      });
      const { data, errors } = (await response.json()) as { data?: never; errors?: GraphQLFormattedError[] };
      if (errors) throw new GraphQLFailure(errors);
      if (data === undefined) throw new Error(`${url} is answered with ${response.status} and no data`);
      return data;
    },
  };
}
