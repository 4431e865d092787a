/**
 * Trackway's GraphQL API, for documents that graphql-codegen has typed:
 *
 * - `request` runs a query or a mutation.
 * - `follow` runs a subscription. When the connection breaks, it subscribes again behind the last event that it gave, so
 *   that nothing is missed and nothing comes twice.
 */
import type { TypedDocumentNode } from "@graphql-typed-document-node/core";
import { type GraphQLFormattedError, print } from "graphql";
import { createClient } from "graphql-ws";

export interface GraphQLOptions {
  /** The installation, such as `https://trackway.example`. */
  baseUrl: string;
  /** The access token, or what gives one. It is asked before each request and each connection. */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  /** The WebSocket to use; the global one when nobody says. Node has one since version 22. */
  webSocket?: unknown;
  /** The pause before a broken subscription is taken up again, in milliseconds. 1000 when nobody says. */
  pause?: number;
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
  /** Gives each event. `cursor` finds the cursor of one; the document has to have a variable `after` for it. */
  follow<Data, Variables extends { after?: string | null | undefined }>(
    document: TypedDocumentNode<Data, Variables>,
    variables: Variables,
    cursor: (data: Data) => string,
  ): AsyncGenerator<Data, void>;
}

export function createGraphQL({ baseUrl, token, webSocket, pause = 1000 }: GraphQLOptions): GraphQLClient {
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

    async *follow(document, variables, cursor) {
      let after = variables.after;
      for (;;) {
        const client = createClient({
          url: url.href.replace(/^http/, "ws"),
          connectionParams: authorization,
          webSocketImpl: webSocket ?? globalThis.WebSocket,
          retryAttempts: 0, // by itself it would subscribe without the cursor
        });
        try {
          for await (const { data, errors } of client.iterate<never>({
            query: print(document),
            variables: { ...variables, after },
          })) {
            if (errors) throw new GraphQLFailure(errors);
            if (data == null) continue;
            after = cursor(data);
            yield data;
          }
          return;
        } catch (failure) {
          if (failure instanceof GraphQLFailure) throw failure;
          if (Array.isArray(failure)) throw new GraphQLFailure(failure as GraphQLFormattedError[]);
          if (fatal(failure)) throw failure;
        } finally {
          await client.dispose();
        }
        await new Promise((resolve) => setTimeout(resolve, pause));
      }
    },
  };
}

/** Whether a connection was closed because of what was sent, such as a token that does not hold any more (4401, 4403). */
function fatal(failure: unknown): boolean {
  const code = typeof failure === "object" && failure !== null && "code" in failure ? failure.code : undefined;
  return typeof code === "number" && code >= 4400 && code < 4500 && code !== 4408;
}
