/**
 * Trackway's REST API, typed by its OpenAPI document.
 *
 * Three things are done for every call, because each is easily forgotten:
 *
 * - Every POST and PATCH carries an `Idempotency-Key`, and with it a lost answer is asked for again: the write happens once.
 * - Every PUT, PATCH and DELETE carries `If-Match` with the version that this client saw last, if it saw one: what somebody
 *   else wrote meanwhile is answered with 412 and not overwritten. `"If-Match": "*"` in a call's headers says otherwise.
 * - What failed on the way, 429, 502, 503 and 504, and 409 while the same key is at work, is tried again after a pause, if that
 *   can do no harm.
 */
import createClient, {
  type Client,
  type ClientOptions,
  type ClientPathsWithMethod,
  type FetchResponse,
  type MaybeOptionalInit,
  type Middleware,
} from "openapi-fetch";
import type { components, paths } from "./schema.js";

export type { components, paths } from "./schema.js";
export type Schemas = components["schemas"];

export interface Options extends Omit<ClientOptions, "fetch"> {
  /** The installation, such as `https://trackway.example`. */
  baseUrl: string;
  /** The access token, or what gives one. It is asked before each request. */
  token?: string | (() => string | undefined | Promise<string | undefined>);
  /** How often a request is sent at most. 4 when nobody says. */
  attempts?: number;
  /** The first pause between two attempts, in milliseconds; each next one is twice as long. 200 when nobody says. */
  pause?: number;
  /** What sends a request; the global `fetch` when nobody says. */
  fetch?: (request: Request) => Promise<Response>;
  /** How many versions are remembered at most; the oldest are forgotten first. 1000 when nobody says. */
  remember?: number;
}

const keyed = new Set(["POST", "PATCH"]);
const conditional = new Set(["PUT", "PATCH", "DELETE"]);
const worthAnother = new Set([429, 502, 503, 504]);
/** A server that asks for a longer pause is answered to the caller instead. */
const longestPause = 30_000;

type SameNames<A, B> = [keyof A] extends [keyof B] ? ([keyof B] extends [keyof A] ? true : false) : false;

/**
 * A read gives a view, of which `fields` can leave everything out; this is the view with nothing left out. What is embedded
 * by `expand` stays optional.
 */
export type Whole<V> = V extends readonly (infer Item)[] ? Whole<Item>[] : [WholeOf<V>] extends [never] ? V : WholeOf<V>;
type WholeOf<V> = {
  [N in keyof Schemas]: N extends `${infer Noun}View`
    ? Noun extends keyof Schemas
      ? SameNames<V, Schemas[N]> extends true
        ? Schemas[Noun] & Omit<Schemas[N], keyof Schemas[Noun]>
        : never
      : never
    : never;
}[keyof Schemas];

type Picks<Init> = Init extends { params: { query: infer Query } } ? ("fields" extends keyof Query ? true : false) : false;
type Answer<R, Init> = Picks<Init> extends true
  ? R
  : R extends { data: infer Data; error?: never }
    ? { data: Whole<Data>; error?: never; response: Response }
    : R;

/** A client whose reads have the types of whole things, unless the call names `fields`. */
export interface Trackway extends Omit<Client<paths>, "GET"> {
  GET: <Path extends ClientPathsWithMethod<Client<paths>, "get">, Init extends MaybeOptionalInit<paths[Path], "get">>(
    path: Path,
    ...init: undefined extends Init ? [Init?] : [Init]
  ) => Promise<Answer<FetchResponse<paths[Path]["get"], Init, `${string}/${string}`>, Init>>;
}

/** Makes a client. Each has its own memory of versions. */
export function createTrackway(options: Options): Trackway {
  const { token, attempts = 4, pause = 200, remember = 1000, fetch = globalThis.fetch, ...rest } = options;
  const versions = new Map<string, string>();
  const client = createClient<paths>({
    ...rest,
    fetch: (request) => send(request, fetch, attempts, pause),
  });
  const careful: Middleware = {
    async onRequest({ request }) {
      const bearer = typeof token === "function" ? await token() : token;
      if (bearer && !request.headers.has("Authorization")) {
        request.headers.set("Authorization", `Bearer ${bearer}`);
      }
      if (keyed.has(request.method) && !request.headers.has("Idempotency-Key")) {
        request.headers.set("Idempotency-Key", crypto.randomUUID());
      }
      const seen = versions.get(place(request.url));
      if (seen && conditional.has(request.method) && !request.headers.has("If-Match")) {
        request.headers.set("If-Match", seen);
      }
      return request;
    },
    onResponse({ request, response }) {
      const at = place(request.url);
      const tag = response.headers.get("ETag");
      const made = response.headers.get("Location");
      if (request.method === "DELETE" ? response.ok : response.status === 404 || response.status === 412) {
        versions.delete(at); // it is to be read again first
      } else if (response.ok && tag && !tag.startsWith("W/") && !partial(request.url)) {
        const whose = response.status === 201 && made ? place(new URL(made, request.url).href) : at;
        versions.delete(whose); // to make it the latest
        versions.set(whose, tag);
        for (const oldest of versions.keys()) {
          if (versions.size <= remember) break;
          versions.delete(oldest);
        }
      }
      return undefined;
    },
  };
  client.use(careful);
  return client as Trackway;
}

/** A resource without its query, with the last slash. */
function place(address: string): string {
  const { pathname } = new URL(address);
  return pathname.endsWith("/") ? pathname : `${pathname}/`;
}

/** Whether an answer may be of something else than the whole resource, so that its tag is no version. */
function partial(address: string): boolean {
  return new URL(address).search !== "";
}

async function send(
  request: Request,
  fetch: (request: Request) => Promise<Response>,
  attempts: number,
  pause: number,
): Promise<Response> {
  const safe = !keyed.has(request.method) || request.headers.has("Idempotency-Key");
  for (let attempt = 1; ; attempt++) {
    let wait = pause * 2 ** (attempt - 1) * (0.5 + Math.random() / 2);
    const last = !safe || attempt >= attempts;
    try {
      const response = await fetch(last ? request : request.clone());
      if (last || !(worthAnother.has(response.status) || (await stillRunning(response)))) return response;
      const after = Number(response.headers.get("Retry-After") ?? "0") * 1000;
      if (after > longestPause) return response;
      wait = Math.max(wait, Number.isFinite(after) ? after : 0);
      await response.body?.cancel();
    } catch (failure) {
      if (last || request.signal.aborted) throw failure;
    }
    await sleep(wait, request.signal);
  }
}

/** Whether another request with the same key is at work: its answer is this one's too, soon. */
async function stillRunning(response: Response): Promise<boolean> {
  if (response.status !== 409) return false;
  const problem: unknown = await response.clone().json().catch(() => undefined);
  return typeof problem === "object" && problem !== null && "code" in problem && problem.code === "in_progress";
}

function sleep(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    signal.addEventListener("abort", stop, { once: true });
  });
}

/** Reads a list to its end, page by page, by the header `Link`. */
export async function* pages<T>(
  first: Promise<{ data?: T[]; response: Response }>,
  token: () => string | undefined,
): AsyncGenerator<T[]> {
  let { data, response } = await first;
  for (;;) {
    if (!response.ok || !data) throw new Error(`${response.url} is answered with ${response.status}`);
    yield data;
    const next = /<([^>]+)>; rel="next"/.exec(response.headers.get("Link") ?? "")?.[1];
    if (!next) return;
    const bearer = token();
    response = await globalThis.fetch(new URL(next, response.url), bearer ? { headers: { Authorization: `Bearer ${bearer}` } } : {});
    data = response.ok ? ((await response.json()) as T[]) : undefined;
  }
}
