/**
 * Which pages of other origins may call the API (`server.cors_origins`), and what they may read of an answer, as the Fetch standard has it.
 * It is said of every answer, also to what never comes to a route, since a page must be able to read why it was refused.
 */
import type { FastifyRequest } from "fastify";
import { EXPOSED_HEADERS } from "./durable-headers.js";

const ANY = "*";
const METHODS = "GET, HEAD, PUT, POST, DELETE";
/** How long a browser need not ask again. */
const PREFLIGHT_SECS = "600";

const EXPOSED = [
  "ETag",
  "X-Annals-Offset",
  "X-Annals-Lineage",
  "X-Annals-Epoch",
  "X-Annals-Revision",
  "X-Annals-Primary",
  "X-Request-Id",
  "Retry-After",
  "Idempotent-Replayed",
  ...EXPOSED_HEADERS,
];
const EXPOSED_LINE = `Access-Control-Expose-Headers: ${EXPOSED.join(", ")}\r\n`;

type Asked = Pick<FastifyRequest, "method" | "headers">;

export class Cors {
  readonly #origins: ReadonlySet<string>;

  constructor(origins: readonly string[]) {
    this.#origins = new Set(origins);
  }

  /** Whole lines for the head of an answer. An origin that is told is one of the settings. */
  linesFor({ headers: { origin } }: Pick<Asked, "headers">): string {
    if (this.#origins.size === 0) return "";
    if (this.#origins.has(ANY)) return `Access-Control-Allow-Origin: ${ANY}\r\n${EXPOSED_LINE}`;
    const vary = "Vary: Origin\r\n";
    if (origin === undefined || !this.#origins.has(origin)) return vary;
    return `${vary}Access-Control-Allow-Origin: ${origin}\r\n${EXPOSED_LINE}`;
  }

  /** The further headers of an answer to what a browser asks before it sends a page's request; undefined where this is no such question. */
  preflight({ method, headers }: Asked): string[] | undefined {
    if (this.#origins.size === 0 || method !== "OPTIONS" || headers.origin === undefined) return undefined;
    if (headers["access-control-request-method"] === undefined) return undefined;
    const found = ["Access-Control-Allow-Methods", METHODS, "Access-Control-Max-Age", PREFLIGHT_SECS];
    const wanted = headers["access-control-request-headers"];
    found.push("Vary", "Access-Control-Request-Headers");
    if (wanted !== undefined) found.push("Access-Control-Allow-Headers", wanted);
    return found;
  }
}
