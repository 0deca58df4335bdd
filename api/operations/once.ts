/**
 * A request that must happen once: its key, what identifies it, and how its answer is kept as text and told again. What is
 * kept is the same through every door, so a repeat may come through another one if its text is the same.
 */
import { createHash } from "node:crypto";
import type { AnswerText, KeptAnswer } from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import { JsonText, writeJson } from "../json-write.js";
import type { Answered, Reply } from "./reply.js";

export interface OnceKey {
  readonly type: "once";
  readonly key: string;
  readonly fingerprint: Uint8Array;
  /** See `OnceCommand`. */
  readonly isNew?: boolean;
}

/** How one door's answers are kept as text, and made from it again. */
export interface OnceForm<Result> {
  /** Undefined for what is none to keep. */
  keep(result: Result): AnswerText | undefined;
  again(kept: KeptAnswer): Result;
}

/** Printable ASCII without spaces: a header carries it as it is. */
export const USABLE_KEY = /^[\x21-\x7e]{1,255}$/;

/** `parts` are everything that makes one request another: the operation, its fields, its body. */
export function onceKey(key: unknown, parts: readonly (string | Uint8Array)[]): OnceKey | Refusal {
  if (typeof key !== "string" || !USABLE_KEY.test(key)) {
    return refusal(
      "API_IDEMPOTENCY_KEY_INVALID",
      "an idempotency key is 1 to 255 printable ASCII characters without spaces",
    );
  }
  const hash = createHash("sha256");
  // Each with its length, so that no two requests run together into the same bytes.
  for (const part of parts) hash.update(`${part.length}:`).update(part);
  return { type: "once", key, fingerprint: hash.digest() };
}

/** Of operations: the same through the envelope, REST and the raw door. */
export const replyForm: OnceForm<Reply> = { keep: answerText, again: replyAgain };

/** A refusal is not kept. */
function answerText(reply: Reply): AnswerText | undefined {
  if (reply.type === "refused") return undefined;
  const { status = 200, revision, payload } = reply;
  return { status, revision, body: writeJson(payload) };
}

function replyAgain({ status, revision, body, offset: at }: KeptAnswer): Answered {
  const reply: Answered = {
    type: "answered",
    payload: new JsonText(body),
    offset: at,
    status,
    replayed: true,
  };
  return revision === undefined ? reply : { ...reply, revision };
}
