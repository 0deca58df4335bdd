/** One request of the durable streams door on its way, and how its URL names a stream. */
import type { FastifyReply, FastifyRequest } from "fastify";
import { type Refusal, refusal } from "../errors.js";
import type { Call } from "../operations/call.js";
import { DURABLE_PREFIX } from "../operations/stream-fields.js";
import type { Door } from "./door.js";
import { DURABLE_PATH } from "./durable-headers.js";
import type { LiveReaders } from "./durable-live.js";
import { pathIn } from "./url.js";

const SUBSCRIPTIONS = "__ds/";

/** One request on its way through an operation. */
export interface DurableRequest {
  readonly door: Door;
  readonly readers: LiveReaders;
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly call: Call;
  /** The stream's name in the projection. */
  readonly name: string;
}

export function pathOf(request: FastifyRequest): string {
  return pathIn(request.raw.url ?? "");
}

/** The projection's name of the stream at this path of ours. Two ways to percent-encode a path are one stream. */
export function streamName(path: string): string | Refusal {
  if (!path.startsWith(DURABLE_PATH)) {
    return refusal("STREAM_NAME_INVALID", `the path of a stream begins with ${DURABLE_PATH}`);
  }
  const encoded = path.slice(DURABLE_PATH.length);
  if (encoded.startsWith(SUBSCRIPTIONS)) {
    return refusal(
      "API_NOT_BUILT",
      "subscriptions are an optional part of the protocol that this server leaves out",
    );
  }
  if (encoded === "") return refusal("STREAM_NAME_INVALID", "a stream needs a name");
  try {
    return DURABLE_PREFIX + decodeURIComponent(encoded);
  } catch {
    return refusal("API_URL_INVALID", "the path is not percent-encoded UTF-8");
  }
}
