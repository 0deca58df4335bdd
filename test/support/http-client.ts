/** A small HTTP client for tests on a real socket: keep-alive, and a broken connection is an answer that nobody got. */
import { Agent, type IncomingHttpHeaders, request } from "node:http";

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
}

/** As everything else that tests wait for. */
const ANSWER_MS = 100_000;

export class HttpClient {
  readonly #agent: Agent;
  readonly #target: { readonly host: string; readonly port: number } | { readonly socketPath: string };

  /** @param target a port of 127.0.0.1, or the path of a socket that leads to the server */
  constructor(target: number | string, connections = Number.POSITIVE_INFINITY) {
    this.#target = typeof target === "string" ? { socketPath: target } : { host: "127.0.0.1", port: target };
    this.#agent = new Agent({ keepAlive: true, maxSockets: connections });
  }

  /** Rejects when the connection ends before the whole answer is there. */
  send(
    method: string,
    path: string,
    body?: string | Uint8Array,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const outgoing = request(
        {
          ...this.#target,
          agent: this.#agent,
          method,
          path,
          // Node itself gives the body of a DELETE no length: nobody would read it.
          headers: body === undefined ? headers : { "content-length": Buffer.byteLength(body), ...headers },
          joinDuplicateHeaders: true,
          timeout: ANSWER_MS,
        },
        (incoming) => {
          const parts: Buffer[] = [];
          incoming.on("data", (part: Buffer) => parts.push(part));
          incoming.on("error", reject);
          incoming.on("aborted", () => reject(new Error("the answer was cut off")));
          incoming.on("end", () => {
            const text = Buffer.concat(parts).toString("utf8");
            resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text });
          });
        },
      );
      outgoing.on("error", reject);
      outgoing.on("timeout", () =>
        outgoing.destroy(new Error(`${method} ${path}: no answer within ${ANSWER_MS} ms`)),
      );
      outgoing.end(body);
    });
  }

  put(key: string, value: string, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
    return this.send("PUT", `/kv/${encodeURIComponent(key)}`, value, {
      "content-type": "text/plain; charset=utf-8",
      ...headers,
    });
  }

  get(key: string): Promise<Answer> {
    return this.send("GET", `/kv/${encodeURIComponent(key)}`);
  }

  delete(key: string): Promise<Answer> {
    return this.send("DELETE", `/kv/${encodeURIComponent(key)}`);
  }

  post(path: string, body: unknown): Promise<Answer> {
    return this.send("POST", path, JSON.stringify(body), { "content-type": "application/json" });
  }

  close(): void {
    this.#agent.destroy();
  }
}

/** The stable error code of a refusal, or undefined. */
export function errorCodeOf(answer: Answer): string | undefined {
  const found = /"error_code":\s*"([A-Z_]+)"/.exec(answer.text);
  return found?.[1];
}

/** The revision that an answer names in its `ETag`. */
export function revisionOf(answer: Answer): number {
  return Number(/^"(\d+)"$/.exec(answer.headers.etag ?? "")?.[1] ?? Number.NaN);
}
