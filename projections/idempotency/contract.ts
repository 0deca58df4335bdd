/** The types of answers that are kept, so that a request that is sent again changes nothing and is answered the same. */
import type { Offset } from "../../log/index.js";

/** An answer as it was given, without its offset: that is the offset of its record. */
export interface AnswerText {
  /** HTTP status. */
  readonly status: number;
  /** The revision that the answer shows, if it shows one. */
  readonly revision: Offset | undefined;
  /** JSON text. */
  readonly body: string;
}

/** A request with a key was answered. In the record of what it did, so that both are there or neither is. */
export interface RequestAnswered extends AnswerText {
  readonly type: "idempotency.answered";
  readonly key: string;
  /** SHA-256 of the request. */
  readonly fingerprint: Uint8Array;
  /** Ms since 1970: from then on the key may be used for something else. */
  readonly expiresAt: number;
}

export interface KeptAnswer extends Omit<RequestAnswered, "type" | "key"> {
  readonly offset: Offset;
}

/** What deciders see. */
export interface IdempotencyView {
  /** The answer given for this key, if it is kept and has not expired by `now`. */
  get(key: string, now: number): KeptAnswer | undefined;
}

export interface IdempotencyRules {
  /** How long an answer is kept. */
  readonly windowMs: number;
  /** Answers kept at most; the oldest goes first. */
  readonly answersMax: number;
  /** What they may take in memory, about. */
  readonly bytesMax: number;
}

export const DEFAULT_IDEMPOTENCY_RULES: IdempotencyRules = {
  windowMs: 3_600_000,
  answersMax: 100_000,
  bytesMax: 64 << 20,
};

export type IdempotencyRejectionCode =
  | "IDEMPOTENCY_KEY_REUSED"
  | "IDEMPOTENCY_IN_PROGRESS"
  | "IDEMPOTENCY_ANSWER_TOO_LARGE";
