/** The three routes that the import uses, on a Map, as a `fetch` that can lose requests and answers. */

type Fault =
  /** The request does not arrive. */
  | "refused"
  /** The request is done, its answer lost. */
  | "answer lost"
  | "503";

interface Request {
  readonly path: string;
  readonly body: { readonly keys?: string[]; readonly pairs?: { key: string; value: unknown }[] } & {
    readonly key?: string;
    readonly value?: unknown;
    readonly ttl?: number;
  };
}

export class FakeKvServer {
  readonly values = new Map<string, string>();
  readonly ttls = new Map<string, number>();
  /** How often each key was written. */
  readonly writes = new Map<string, number>();
  readonly requests: string[] = [];
  /** For the requests to come, in order; undefined = none. */
  readonly faults: (Fault | undefined)[] = [];
  /** Keys that are refused. */
  readonly refused = new Set<string>();
  #offset = 0;

  readonly fetch: typeof fetch = (input, init) => {
    const { pathname } = new URL(input instanceof Request ? input.url : input);
    const fault = this.faults.shift();
    this.requests.push(fault === undefined ? pathname : `${pathname} (${fault})`);
    if (fault === "refused") return Promise.reject(new TypeError("fetch failed"));
    if (fault === "503") return Promise.resolve(new Response('{"error":"busy"}', { status: 503 }));
    const answer = this.#answer({ path: pathname, body: JSON.parse(String(init?.body)) });
    if (fault === "answer lost") return Promise.reject(new TypeError("terminated"));
    return Promise.resolve(answer);
  };

  #answer({ path, body }: Request): Response {
    if (path === "/kv/mget") {
      const values = body.keys?.map((key) => JSON.parse(this.values.get(key) ?? "null"));
      return Response.json({ values });
    }
    const pairs = body.pairs ?? [{ key: body.key ?? "", value: body.value }];
    const bad = pairs.find(({ key }) => this.refused.has(key));
    if (bad !== undefined)
      return Response.json({ error: `Invalid key: ${bad.key}`, code: 400 }, { status: 400 });
    for (const { key, value } of pairs) {
      this.values.set(key, JSON.stringify(value));
      this.writes.set(key, (this.writes.get(key) ?? 0) + 1);
      if (body.ttl !== undefined) this.ttls.set(key, body.ttl);
    }
    return Response.json({ success: true, log_offset: ++this.#offset });
  }
}
