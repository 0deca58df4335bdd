/**
 * What every stream decider is made of: how to accept and to refuse, the checks of what a command says, and whether a stream is
 * there at a time. All pure.
 */
import { BEFORE_FIRST, type Offset } from "../../log/index.js";
import type { Accepted, Rejection, RejectionDetails, Seen, StoreEvent } from "../decision.js";
import { messageBytes } from "./codec.js";
import type {
  Lifetime,
  NewStreamMessage,
  Producer,
  Retention,
  StreamFacts,
  StreamRejectionCode,
  StreamRules,
  StreamView,
} from "./contract.js";

const TIME_MAX_MS = 8_640_000_000_000_000;
const CONTENT_TYPE_LENGTH_MAX = 255;
const CONTENT_TYPE = /^[\x20-\x7e]+$/;
const PRODUCER_ID_BYTES_MAX = 1_024;
const WRITER_SEQ_BYTES_MAX = 1_024;
const TAG_BYTES_MAX = 1_024;

export function refuse(
  code: StreamRejectionCode,
  message: string,
  seen: Offset = BEFORE_FIRST,
  details?: RejectionDetails,
): Rejection {
  const rejection = { type: "rejected", code, message, seen } as const;
  return details === undefined ? rejection : { ...rejection, details };
}

export function accepted<Answer>(
  events: readonly StoreEvent[],
  answer: (offset: Offset, place: number) => Answer,
): Accepted<Answer> {
  return { type: "accepted", events, answer, seen: BEFORE_FIRST };
}

/** Nothing had to happen. The answer waits for the last change that it tells of. */
export function unchanged<Answer>(answer: Answer, seen: Offset): Accepted<Answer> {
  return { type: "accepted", events: [], answer: () => answer, seen };
}

export function shown<Answer>(answer: Answer, seen: Offset): Seen<Answer> {
  return { type: "seen", answer, seen };
}

/** How a stream stands at a time. */
export type Standing =
  | { readonly type: "live"; readonly facts: StreamFacts }
  /** Its time is over, the event that says so was not written yet, and nothing keeps it. */
  | { readonly type: "over"; readonly facts: StreamFacts }
  | { readonly type: "gone"; readonly facts: StreamFacts }
  | { readonly type: "absent" };

export function standing(streams: StreamView, name: string, now: number): Standing {
  const facts = streams.find(name);
  if (facts === undefined) return { type: "absent" };
  if (facts.gone) return { type: "gone", facts };
  if (facts.deadline === 0 || facts.deadline > now) return { type: "live", facts };
  return { type: facts.forks > 0 ? "gone" : "over", facts };
}

/** The stream if it is there at `now`, else the refusal that says why not. */
export function liveStream(streams: StreamView, name: string, now: number): StreamFacts | Rejection {
  const found = standing(streams, name, now);
  switch (found.type) {
    case "live":
      return found.facts;
    case "gone":
      return refuse(
        "STREAM_GONE",
        "the stream was deleted and is kept for its forks only",
        found.facts.lastOffset,
      );
    case "over":
      return refuse("STREAM_NOT_FOUND", "the stream does not exist", found.facts.lastOffset);
    case "absent":
      return refuse("STREAM_NOT_FOUND", "the stream does not exist", streams.lastRemoval);
  }
}

export function checkName(name: string, rules: StreamRules): Rejection | undefined {
  if (name.length === 0 || !name.isWellFormed()) {
    return refuse("STREAM_NAME_INVALID", "a stream's name must be well-formed Unicode and not empty");
  }
  if (Buffer.byteLength(name) <= rules.nameBytesMax) return undefined;
  return refuse(
    "STREAM_NAME_INVALID",
    `a stream's name must not be longer than ${rules.nameBytesMax} bytes in UTF-8`,
  );
}

export function checkContentType(contentType: string): Rejection | undefined {
  if (contentType.length <= CONTENT_TYPE_LENGTH_MAX && CONTENT_TYPE.test(contentType)) return undefined;
  return refuse(
    "STREAM_CONTENT_TYPE_INVALID",
    `a content type is 1 to ${CONTENT_TYPE_LENGTH_MAX} printable ASCII characters`,
  );
}

/** Compared as the protocol says: without letter case and parameters. */
export function isSameType(a: string, b: string): boolean {
  return a === b || essenceOf(a) === essenceOf(b);
}

const essenceOf = (contentType: string): string => (contentType.split(";")[0] ?? "").trim().toLowerCase();

export function checkLifetime({ ttlMs, expiresAt }: Lifetime): Rejection | undefined {
  if (ttlMs !== undefined && expiresAt !== undefined) {
    return refuse("STREAM_CONFIG_INVALID", "a ttl and an expiry time exclude each other");
  }
  // A deadline of 0 is none.
  if (isTime(ttlMs) && isTime(expiresAt) && expiresAt !== 0) return undefined;
  return refuse("STREAM_CONFIG_INVALID", "a lifetime is a whole number of ms that a date can show");
}

const isTime = (ms: number | undefined): boolean =>
  ms === undefined || (Number.isSafeInteger(ms) && ms >= 0 && ms <= TIME_MAX_MS);

export function checkRetention({ count, bytes, ageMs }: Retention): Rejection | undefined {
  for (const bound of [count, bytes, ageMs]) {
    if (bound === undefined || (Number.isSafeInteger(bound) && bound >= 1)) continue;
    return refuse("STREAM_CONFIG_INVALID", "what a stream keeps is bounded by whole numbers from 1");
  }
  return undefined;
}

export function checkMessages(
  messages: readonly NewStreamMessage[],
  rules: StreamRules,
): Rejection | undefined {
  if (messages.length > rules.batchMessagesMax) {
    return refuse(
      "STREAM_BATCH_TOO_LARGE",
      `one append takes at most ${rules.batchMessagesMax} messages, not ${messages.length}`,
    );
  }
  for (const { bytes, tag = "", metadata = "" } of messages) {
    if ((typeof bytes === "string" && !bytes.isWellFormed()) || !(tag + metadata).isWellFormed()) {
      return refuse("STREAM_MESSAGE_INVALID", "text must be well-formed Unicode");
    }
    if (tag.length * 3 > TAG_BYTES_MAX && Buffer.byteLength(tag) > TAG_BYTES_MAX) {
      return refuse("STREAM_MESSAGE_TOO_LARGE", `an event's name has at most ${TAG_BYTES_MAX} bytes`);
    }
    if (messageBytes(bytes) + Buffer.byteLength(metadata) > rules.messageBytesMax) {
      return refuse(
        "STREAM_MESSAGE_TOO_LARGE",
        `a message must not be longer than ${rules.messageBytesMax} bytes`,
      );
    }
  }
  return undefined;
}

export function checkWriter(
  producer: Producer | undefined,
  writerSeq: string | undefined,
): Rejection | undefined {
  if (writerSeq !== undefined && (!writerSeq.isWellFormed() || isLonger(writerSeq, WRITER_SEQ_BYTES_MAX))) {
    return refuse("STREAM_WRITER_SEQ", `a writer's sequence has at most ${WRITER_SEQ_BYTES_MAX} bytes`);
  }
  if (producer === undefined) return undefined;
  const { id, epoch, seq } = producer;
  const isNumbered = Number.isSafeInteger(epoch) && epoch >= 0 && Number.isSafeInteger(seq) && seq >= 0;
  if (isNumbered && id.length > 0 && id.isWellFormed() && !isLonger(id, PRODUCER_ID_BYTES_MAX)) {
    return undefined;
  }
  return refuse(
    "STREAM_PRODUCER_INVALID",
    `a producer has an id of 1 to ${PRODUCER_ID_BYTES_MAX} bytes, an epoch and a sequence from 0`,
  );
}

const isLonger = (text: string, bytesMax: number): boolean => Buffer.byteLength(text) > bytesMax;
