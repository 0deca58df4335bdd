/**
 * Looking back: what the API asks of whoever can fold the log up to an earlier offset, and how a moment is written. A read
 * with `at` is the same operation, run against the state as it was; how that state comes about is not the API's business.
 */
import type { Offset } from "../log/index.js";
import type { Digests, KvEntry } from "../projections/index.js";
import type { Refusal } from "./errors.js";
import { parseInstant } from "./instants.js";
import type { Answered } from "./operations/reply.js";

/** An offset: the state after that record. A time: the state after the last record that is not younger, judged at that time. */
export type Moment =
  | { readonly type: "offset"; readonly offset: number }
  | { readonly type: "time"; readonly time: number };

/** A value as it was, for the raw door. */
export interface PastValue {
  readonly type: "value";
  /** The offset looked at. */
  readonly at: Offset;
  readonly value: KvEntry | undefined;
}

/** The state's fingerprint after the record at an offset, at that record's own time: the same on every node that has the record. */
export interface PastDigest {
  readonly type: "digest";
  readonly at: Offset;
  /** The record's timestamp; what had expired by then counts as gone. */
  readonly time: number;
  readonly digests: Digests;
}

/**
 * Every method answers with a refusal what cannot be looked at (LOG_OFFSET_BEYOND_END, LOG_OFFSET_RETIRED, API_AT_BEFORE_FIRST,
 * API_PAST_*), and with API_CLIENT_GONE when `signal` ended it. Rejects as a read of the log does.
 */
export interface Past {
  /** `operation` is the name of a read in the catalogue; its input was checked. */
  read(operation: string, input: unknown, at: Moment, signal: AbortSignal): Promise<Answered | Refusal>;
  value(key: string, at: Moment, signal: AbortSignal): Promise<PastValue | Refusal>;
  digest(at: Moment, signal: AbortSignal): Promise<PastDigest | Refusal>;
}

/**
 * `1234` is an offset, `2026-01-31T12:00:00Z` and `1769860800000ms` are times, so that every time can be written in both forms.
 * Undefined for anything else. A time is cut to the millisecond, as the log's are.
 */
export function parseMoment(text: unknown): Moment | undefined {
  if (typeof text === "number") return offsetMoment(text);
  if (typeof text !== "string") return undefined;
  if (/^\d{1,16}$/.test(text)) return offsetMoment(Number(text));
  if (/^-?\d{1,15}ms$/.test(text)) return { type: "time", time: Number(text.slice(0, -2)) };
  const time = parseInstant(text);
  return time === undefined ? undefined : { type: "time", time };
}

function offsetMoment(value: number): Moment | undefined {
  return Number.isSafeInteger(value) && value >= 0 ? { type: "offset", offset: value } : undefined;
}
