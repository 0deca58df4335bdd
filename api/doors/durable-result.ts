/** What an operation of the durable streams door gives back. */
import type { ErrorCode, Refusal } from "../errors.js";
import type { Published } from "../operations/reply.js";
import { DURABLE_STREAMS } from "../options.js";
import type { Body } from "./outbox.js";

export interface DurableAnswer {
  readonly type: "answer";
  readonly status: number;
  readonly headers: readonly string[];
  readonly body?: Body;
  readonly published?: readonly Published[];
}

/** A refusal that tells more in its headers: where the stream ends, which epoch rules. */
export interface DurableRefusal extends Refusal {
  readonly headers?: readonly string[];
}

export type DurableResult =
  | DurableAnswer
  | DurableRefusal
  /** The answer has been written piece by piece, and ended. */
  | { readonly type: "left" };

export function answer(status: number, headers: readonly string[], body?: Body): DurableAnswer {
  return body === undefined ? { type: "answer", status, headers } : { type: "answer", status, headers, body };
}

export function refuseWith(code: ErrorCode, message: string, headers: readonly string[]): DurableRefusal {
  return { type: "refused", code, message, headers };
}

/** The messages of this door have no type. */
export function publishing(done: DurableAnswer, count: number): DurableAnswer {
  return count === 0 ? done : { ...done, published: [{ room: DURABLE_STREAMS, eventType: "", count }] };
}
