/**
 * Writes that reach a replica and are sent on to its primary. Only what would have been refused because this node is a replica is sent
 * on, so what cannot be right is answered here; and it is sent as it came, so that the primary decides about the very same request.
 */
import type { FastifyRequest } from "fastify";
import { onDeparture } from "./departures.js";
import type { Refusal } from "./errors.js";
import type { ApiOptions } from "./options.js";
import type { ForwardedAnswer, Replication } from "./replication.js";

export type Forward = NonNullable<Replication["forward"]>;

/** How to send on what was answered so; undefined when it stays the answer. */
export function forwarderOf(
  { replication }: Pick<ApiOptions, "replication">,
  result: { readonly type: string } | Refusal,
): Forward | undefined {
  const isElsewhere =
    "code" in result && result.type === "refused" && result.code === "REPLICATION_READ_ONLY";
  return isElsewhere ? replication?.forward : undefined;
}

export async function sendOn(request: FastifyRequest, forward: Forward): Promise<ForwardedAnswer | Refusal> {
  const gone = new AbortController();
  const stay = onDeparture(request.raw.socket, () => gone.abort());
  try {
    return await forward({
      method: request.method,
      url: request.raw.url ?? "/",
      headers: request.raw.rawHeaders,
      body: bodyBytes(request.body),
      requestId: request.id,
      once: request.once,
      signal: gone.signal,
    });
  } finally {
    stay();
  }
}

/** Bodies are kept as bytes, or as the text that they were: UTF-8. */
function bodyBytes(body: unknown): Uint8Array | undefined {
  if (Buffer.isBuffer(body)) return body;
  if (typeof body === "object" && body !== null && "text" in body && typeof body.text === "string") {
    return Buffer.from(body.text);
  }
  return undefined;
}
