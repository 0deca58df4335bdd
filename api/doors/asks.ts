/**
 * What a request may ask beside its operation, the same through every door: that a write happens once however often it is
 * sent (`Idempotency-Key`), that a read shows at least an offset (`X-Annals-Min-Offset`, `min_offset`).
 */
import type { FastifyRequest } from "fastify";
import { type Refusal, refusal } from "../errors.js";
import type { Call } from "../operations/call.js";
import { type OnceKey, onceKey } from "../operations/once.js";
import type { Later } from "../operations/reply.js";

export interface Asks {
  readonly type: "asks";
  readonly once: OnceKey | undefined;
  readonly minOffset: number | undefined;
}

const NOTHING: Asks = { type: "asks", once: undefined, minOffset: undefined };

/** Where an envelope says what otherwise a header does. */
export interface AsksInBody {
  readonly idempotency_key?: string;
  readonly min_offset?: number;
}

/** `identity` is everything that makes one request another: the operation, its fields, its body. Asked only with a key. */
export function asksOf(
  request: FastifyRequest,
  kind: "read" | "write",
  identity: () => readonly (string | Uint8Array)[],
  inBody?: AsksInBody,
): Asks | Refusal {
  const { headers } = request;
  if (kind === "write") {
    const key = inBody?.idempotency_key ?? headers["idempotency-key"];
    if (key === undefined) return NOTHING;
    const once = onceKey(key, identity());
    return once.type === "refused" ? once : { type: "asks", once, minOffset: undefined };
  }
  const wanted = inBody?.min_offset ?? headers["x-annals-min-offset"] ?? minOffsetInQuery(request);
  if (wanted === undefined) return NOTHING;
  const minOffset = /^[0-9]{1,16}$/.test(String(wanted)) ? Number(wanted) : Number.NaN;
  if (Number.isSafeInteger(minOffset)) return { type: "asks", once: undefined, minOffset };
  return refusal("API_MIN_OFFSET_INVALID", "a minimum offset is a whole number from 0");
}

/** The query field that every read takes. */
export const MIN_OFFSET_FIELD = "min_offset";

function minOffsetInQuery({ query }: FastifyRequest): unknown {
  return typeof query === "object" && query !== null ? Reflect.get(query, MIN_OFFSET_FIELD) : undefined;
}

/** `run`, at once or when the log has what was asked for. */
export function asAsked<Result>(
  { minOffset }: Asks,
  run: (call: Call) => Later<Result | Refusal>,
): (call: Call) => Later<Result | Refusal> {
  if (minOffset === undefined) return run;
  return (call) => call.whenReached(minOffset).then((refused) => refused ?? run(call));
}
