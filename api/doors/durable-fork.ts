/**
 * Creating a fork: a stream that shares another one's messages up to a point, then goes on by itself. The point is an offset
 * of the source and, if asked for, a part of what was appended next: messages of a JSON stream (shared like the rest), or
 * bytes of any other (copied: a piece of a message is a message of the fork's own).
 */
import {
  type CreateStreamCommand,
  type NewStreamMessage,
  type ReadStreamAnswer,
  stream,
} from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import { DURABLE_PREFIX } from "../operations/stream-fields.js";
import {
  bodyOf,
  fingerprintOf,
  getOrCreate,
  messagesOf,
  otherConfig,
  present,
  type WantedStream,
} from "./durable-create.js";
import { bareType, DURABLE_PATH, type ForkRequest, headerOf, isJsonType } from "./durable-headers.js";
import { joinBytes } from "./durable-json.js";
import { compareTokens, isOfLostHistory, parseReadOffset } from "./durable-offsets.js";
import { headersForm } from "./durable-once.js";
import { type DurableRequest, streamName } from "./durable-request.js";
import type { DurableResult } from "./durable-result.js";

interface ForkPoint {
  readonly type: "point";
  readonly source: string;
  readonly answer: ReadStreamAnswer;
  /** Messages of the source that are shared. */
  readonly at: number;
  /** The piece of the next message that is copied. */
  readonly copied: readonly NewStreamMessage[];
}

/** One append of the source: what follows the fork's offset. */
const NEXT_APPEND = { messagesMax: 1, bytesMax: 1, wholeAppends: true };

export async function createFork(
  asked: DurableRequest,
  fork: ForkRequest,
  wanted: WantedStream,
): Promise<DurableResult> {
  const { call, name, request } = asked;
  const again = await call.repeated(headersForm);
  if (again !== undefined) return again;
  const given = headerOf(request.headers, "content-type");
  // A fork that is there already is told from its request alone: its source may have gone on, or be gone.
  const before = await call.query(stream.head, { name }, ({ facts }) => ({ type: "there" as const, facts }));
  if (before.type === "there") {
    const contentType = given ?? before.facts.contentType;
    const { fingerprint } = before.facts;
    // Earlier releases noted the source's path as it was written.
    const same = [decoded(fork), fork].map((asked) => fingerprintOf(contentType, wanted.lifetime, asked));
    if (!same.includes(fingerprint)) return otherConfig();
    return getOrCreate(asked, { contentType, fingerprint, ...present(wanted) });
  }
  if (before.code !== "STREAM_NOT_FOUND") return before;
  const point = await forkPoint(asked, fork);
  if (point.type === "refused") return point;
  const { stream: facts } = point.answer;
  const contentType = given ?? facts.contentType;
  if (bareType(contentType) !== bareType(facts.contentType)) {
    return refusal("STREAM_CONTENT_TYPE_MISMATCH", `the source is ${facts.contentType}`);
  }
  const found = messagesOf(contentType, bodyOf(request), call.limits.jsonDepthMax);
  if (found.type === "refused") return found;
  const command: Omit<CreateStreamCommand, "name"> & { readonly fingerprint: string } = {
    contentType,
    fingerprint: fingerprintOf(contentType, wanted.lifetime, decoded(fork)),
    fork: { source: point.source, sourceId: facts.id, at: point.at },
    messages: [...point.copied, ...found.messages],
    ...present({ closed: wanted.closed, lifetime: wanted.lifetime ?? facts.lifetime }),
  };
  return getOrCreate(asked, command);
}

/** Two ways to percent-encode the source's path are one source. */
function decoded(fork: ForkRequest): ForkRequest {
  const name = streamName(fork.path);
  return typeof name === "string"
    ? { ...fork, path: DURABLE_PATH + name.slice(DURABLE_PREFIX.length) }
    : fork;
}

async function forkPoint(asked: DurableRequest, fork: ForkRequest): Promise<ForkPoint | Refusal> {
  const source = streamName(fork.path);
  if (typeof source !== "string") return refusal("STREAM_FORK_INVALID", source.message);
  const wanted = parseReadOffset(fork.offset ?? "now");
  if (wanted === undefined) return refusal("STREAM_FORK_INVALID", "Stream-Fork-Offset is not an offset");
  const { call } = asked;
  const head = await call.query(stream.head, { name: source }, ({ facts }) => ({
    type: "head" as const,
    facts,
  }));
  // A source that lives on for its forks only takes no more of them.
  if (head.type === "refused") {
    return head.code === "STREAM_GONE" ? refusal("STREAM_EXISTS", "the source is deleted") : head;
  }
  if (wanted.type === "at" && isOfLostHistory(call.desk.options.log.epochs, wanted)) {
    return refusal("API_LINEAGE_LOST", "Stream-Fork-Offset is of a history that a restore has left behind");
  }
  if (wanted.type === "at" && compareTokens(wanted.token, head.facts.tail) > 0) {
    return refusal("STREAM_FORK_INVALID", "Stream-Fork-Offset lies beyond the source's end");
  }
  const from = wanted.type === "at" ? wanted.token : wanted.type === "start" ? 0 : "now";
  const found = await call.query(stream.read, { name: source, from, limits: NEXT_APPEND }, (answer) => ({
    type: "page" as const,
    answer,
  }));
  if (found.type === "refused") return found;
  const { answer } = found;
  if (answer.foreign) {
    return refusal("STREAM_FORK_INVALID", "Stream-Fork-Offset is of a stream that was deleted");
  }
  if (fork.extra === 0) return { type: "point", source, answer, at: answer.from, copied: [] };
  if (answer.plan.count === 0) {
    return refusal("STREAM_FORK_INVALID", "nothing follows Stream-Fork-Offset that a part could be taken of");
  }
  return withExtra(asked, source, answer, fork.extra);
}

async function withExtra(
  { call }: DurableRequest,
  source: string,
  answer: ReadStreamAnswer,
  extra: number,
): Promise<ForkPoint | Refusal> {
  const overshoot = refusal("STREAM_FORK_INVALID", "Stream-Fork-Sub-Offset lies beyond the next append");
  if (isJsonType(answer.stream.contentType)) {
    if (extra > answer.plan.count) return overshoot;
    return { type: "point", source, answer, at: answer.from + extra, copied: [] };
  }
  const slices = await call.desk.options.store.bodies(answer.plan);
  const next = joinBytes(slices);
  if (extra > next.length) return overshoot;
  return { type: "point", source, answer, at: answer.from, copied: [{ bytes: next.subarray(0, extra) }] };
}
