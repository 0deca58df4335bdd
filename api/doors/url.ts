/** What a request's URL may look like, beyond what the router checks. */
import type { FastifyRequest } from "fastify";
import { type Refusal, refusal } from "../errors.js";

/**
 * Printable ASCII without `#`. A raw byte above 0x7f would arrive as a wrong character (HTTP hands URLs over as
 * Latin-1), and everything from a `#` on would be cut off: both would be another name than the one that was meant.
 */
const USABLE = /^[\x21\x22\x24-\x7e]*$/;

export function urlProblem(request: FastifyRequest): Refusal | undefined {
  const { url } = request.raw;
  if (url === undefined || USABLE.test(url)) return undefined;
  const code = nameIn(url) ?? "API_URL_INVALID";
  return refusal(code, `percent-encode ${NAMED[code]}: everything but ASCII letters, digits and -._~`);
}

const NAMED = {
  KV_KEY_INVALID: "the key",
  QUEUE_NAME_INVALID: "the queue's name",
  API_URL_INVALID: "the path",
};

/** The path alone; a proxy's client names the server before it (RFC 9112 §3.2.2). */
export function pathIn(url: string): string {
  const path = url.split(/[?#]/, 1)[0] ?? "";
  return path.startsWith("/") ? path : path.replace(/^https?:\/\/[^/]*/i, "");
}

/** False where a percent-encoding in the query is none: what parses it would take it as it stands, for another text than was meant. */
export function hasReadableQuery(url: string): boolean {
  const query = url.indexOf("?");
  if (query === -1 || !url.includes("%", query)) return true;
  try {
    decodeURIComponent(url.slice(query));
    return true;
  } catch {
    return false;
  }
}

/** A URL that can't be decoded is a name that can't be used: which code says so, where the route holds one. */
export function nameIn(url: string): "KV_KEY_INVALID" | "QUEUE_NAME_INVALID" | undefined {
  if (url.startsWith("/queue/")) return "QUEUE_NAME_INVALID";
  return url.startsWith("/kv/") || url.startsWith("/key/") ? "KV_KEY_INVALID" : undefined;
}

/** Of this node, as its client calls it. */
export function urlHere({ headers: { host }, protocol }: FastifyRequest, path: string): string {
  return host === undefined ? path : `${protocol}://${host}${path}`;
}
