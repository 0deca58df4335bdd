/** What a request's URL may look like, beyond what the router checks. */
import type { FastifyRequest } from "fastify";
import { type Refusal, refusal } from "../errors.js";

/**
 * Printable ASCII without `#`. A raw byte above 0x7f would arrive as a wrong character (HTTP hands URLs over as
 * Latin-1), and everything from a `#` on would be cut off: both would be another key than the one that was meant.
 */
const USABLE = /^[\x21\x22\x24-\x7e]*$/;

export function urlProblem(request: FastifyRequest): Refusal | undefined {
  const { url } = request.raw;
  if (url === undefined || USABLE.test(url)) return undefined;
  return refusal("KV_KEY_INVALID", "percent-encode the key: everything but ASCII letters, digits and -._~");
}

/** The route holds a key, so a URL that can't be decoded is a key that can't be used. */
export function isKeyPath(url: string): boolean {
  return url.startsWith("/kv/") || url.startsWith("/key/");
}
