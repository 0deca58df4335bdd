/** What an operation gives back, whatever door it was called through. */
import type { Offset } from "../../log/index.js";
import type { Refusal } from "../errors.js";
import type { Json } from "../json-write.js";

/** Events of one type that a request published to a room (or DURABLE_STREAMS), for whoever measures. */
export interface Published {
  readonly room: string;
  readonly eventType: string;
  readonly count: number;
}

export interface Answered {
  readonly type: "answered";
  readonly payload: Json;
  /** Of a write: the offset that the answer tells of (field `log_offset`, header `X-Annals-Offset`). */
  readonly offset?: Offset;
  /** Of a value: the offset of its last change (header `X-Annals-Revision`). */
  readonly revision?: Offset;
  /** Of a look at the past: the offset looked at (header `X-Annals-Offset`). */
  readonly at?: Offset;
  /** HTTP status where it isn't 200. */
  readonly status?: number;
  /** The first answer to this request, given again. */
  readonly replayed?: true;
  /** Told with the answer, so of what is committed only; of a repeat nothing. */
  readonly published?: readonly Published[];
  /** Set when the payload is text of this type instead of JSON; then `payload` is that text. */
  readonly contentType?: string;
  /** Called when its client was gone before the first byte of the answer could leave. */
  readonly unsent?: () => void;
}

export type Reply = Answered | Refusal;
export type Later<T> = T | Promise<T>;

/** The answer of a read, with the revision of the value if it shows one. */
export function shown(payload: Json, revision?: Offset): Answered {
  return revision === undefined ? { type: "answered", payload } : { type: "answered", payload, revision };
}

/** The answer of a write, with the offset at which it stands in the log. */
export function written(payload: Json, offset: Offset, revision?: Offset): Answered {
  return revision === undefined
    ? { type: "answered", payload, offset }
    : { type: "answered", payload, offset, revision };
}
