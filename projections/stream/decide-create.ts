/** Deciders of a stream's life: create, delete, touch, trim, and the sweep that writes down whose time is over. */
import { BEFORE_FIRST, type Offset } from "../../log/index.js";
import type { Context, Decider, Decision, Rejection, StoreRules, StoreView } from "../decision.js";
import { namesThatFit, ROUND_BYTES_MAX } from "../round-bytes.js";
import type {
  CreateStreamAnswer,
  CreateStreamCommand,
  StreamCreated,
  StreamEvent,
  StreamFacts,
  StreamQuery,
  StreamView,
  TouchAnswer,
  TrimStreamCommand,
} from "./contract.js";
import {
  accepted,
  checkContentType,
  checkLifetime,
  checkMessages,
  checkName,
  checkRetention,
  liveStream,
  refuse,
  standing,
  unchanged,
} from "./decisions.js";
import { renewalMs } from "./stream.js";

/** Refuses with STREAM_EXISTS and what `getOrCreate` refuses. */
export const create: Decider<CreateStreamCommand, CreateStreamAnswer> = (state, command, context, rules) =>
  decideCreate(state, command, context, rules, (facts) =>
    refuse("STREAM_EXISTS", "the stream exists already", facts.lastOffset),
  );

/**
 * Answers a stream that is there as it is, whatever the command says of it.
 * Refuses with STREAM_NAME_INVALID, STREAM_CONTENT_TYPE_INVALID, STREAM_CONFIG_INVALID, STREAM_FORK_INVALID, STREAM_TOO_MANY, STREAM_GONE,
 * STREAM_MESSAGE_INVALID, STREAM_MESSAGE_TOO_LARGE, STREAM_BATCH_TOO_LARGE.
 */
export const getOrCreate: Decider<CreateStreamCommand, CreateStreamAnswer> = (
  state,
  command,
  context,
  rules,
) =>
  decideCreate(state, command, context, rules, (existing) => {
    const { id, generation, end, tail, closed, lastOffset } = existing;
    return unchanged({ created: false, id, generation, end, tail, closed, existing }, lastOffset);
  });

function decideCreate(
  { stream: streams }: StoreView,
  command: CreateStreamCommand,
  context: Context,
  rules: StoreRules,
  found: (facts: StreamFacts) => Decision<CreateStreamAnswer>,
): Decision<CreateStreamAnswer> {
  const { name, lifetime = {}, retention = {}, messages = [], closed = false } = command;
  const refused =
    checkName(name, rules.stream) ??
    checkContentType(command.contentType) ??
    checkLifetime(lifetime) ??
    checkRetention(retention) ??
    checkMessages(messages, rules.stream);
  if (refused !== undefined) return refused;
  const before = standing(streams, name, context.now);
  if (before.type === "live") return found(before.facts);
  if (before.type === "gone") {
    return refuse(
      "STREAM_GONE",
      "the name is kept for the forks of a deleted stream",
      before.facts.lastOffset,
    );
  }
  const unfit = checkFork(streams, command, context.now) ?? checkRoom(streams, before.type, rules);
  if (unfit !== undefined) return unfit;
  const event: StreamCreated = {
    type: "stream.created",
    name,
    contentType: command.contentType,
    lifetime,
    retention,
    ...(command.fork === undefined ? {} : { fork: command.fork }),
    closed,
    fingerprint: command.fingerprint ?? "",
    messages,
  };
  const events: StreamEvent[] = before.type === "over" ? [{ type: "stream.expired", name }, event] : [event];
  const generation = streams.generations + 1;
  const end = (command.fork?.at ?? 0) + messages.length;
  return accepted(events, (offset, place) => {
    const id = { offset, place: place + events.length - 1 };
    return { created: true, id, generation, end, tail: id, closed };
  });
}

function checkFork(
  streams: StreamView,
  { fork, name }: CreateStreamCommand,
  now: number,
): Rejection | undefined {
  if (fork === undefined) return undefined;
  const found = standing(streams, fork.source, now);
  const refused = (message: string, seen: Offset): Rejection => refuse("STREAM_FORK_INVALID", message, seen);
  if (found.type === "absent") return refused("the source does not exist", streams.lastRemoval);
  const { facts } = found;
  const { offset, place } = fork.sourceId;
  const isSame = facts.id.offset === offset && facts.id.place === place;
  if (found.type !== "live" || !isSame || fork.source === name) {
    return refused("the source is not the stream that was meant", facts.lastOffset);
  }
  if (Number.isSafeInteger(fork.at) && fork.at >= 0 && fork.at <= facts.end) return undefined;
  return refused("the fork begins beyond the source's end", facts.lastOffset);
}

function checkRoom(streams: StreamView, before: string, { stream }: StoreRules): Rejection | undefined {
  if (before === "over" || streams.count < stream.streamsMax) return undefined;
  return refuse(
    "STREAM_TOO_MANY",
    `the store holds at most ${stream.streamsMax} streams`,
    streams.lastOffset,
  );
}

/** Refuses with STREAM_NOT_FOUND, STREAM_GONE. With forks the stream is kept for them. */
export const deleteStream: Decider<StreamQuery, { readonly deleted: true }> = (
  { stream: streams },
  { name },
  { now },
) => {
  const facts = liveStream(streams, name, now);
  if ("code" in facts) return facts;
  return accepted([{ type: "stream.deleted", name }], () => ({ deleted: true }));
};

/** Somebody reads the stream. Refuses with STREAM_NOT_FOUND, STREAM_GONE. */
export const touch: Decider<StreamQuery, TouchAnswer> = ({ stream: streams }, { name }, { now }) => {
  const facts = liveStream(streams, name, now);
  if ("code" in facts) return facts;
  const { ttlMs } = facts.lifetime;
  if (ttlMs === undefined || now - facts.touchedAt < renewalMs(ttlMs)) {
    return unchanged({ renewed: false }, facts.id.offset);
  }
  return accepted([{ type: "stream.touched", name }], () => ({ renewed: true }));
};

/** Refuses with STREAM_NOT_FOUND, STREAM_GONE, STREAM_OFFSET_BEYOND_END, STREAM_RANGE_INVALID. */
export const trim: Decider<TrimStreamCommand, { readonly earliest: number }> = (
  { stream: streams },
  { name, before },
  { now },
) => {
  const facts = liveStream(streams, name, now);
  if ("code" in facts) return facts;
  if (!Number.isSafeInteger(before) || before < 0) {
    return refuse("STREAM_RANGE_INVALID", "a stream offset is a whole number from 0");
  }
  if (before > facts.end) return beyondEnd(facts, before);
  const earliest = streams.earliest(name, now);
  if (before <= earliest) return unchanged({ earliest }, facts.lastOffset);
  return accepted([{ type: "stream.trimmed", name, before }], () => ({ earliest: before }));
};

export function beyondEnd(
  { end, lastOffset }: { end: number; lastOffset: Offset },
  requested: number,
): Rejection {
  return refuse("STREAM_OFFSET_BEYOND_END", `the stream ends at ${end}, before ${requested}`, lastOffset, {
    end,
    requested,
  });
}

/** What an event takes in a record beside the stream's name, at most. */
const EVENT_BYTES = 16;

/** Writes down that the time of up to `budget` streams is over, which frees them: of as many as fit into any record. */
export const sweep: Decider<{ readonly budget: number }, { readonly expired: number }> = (
  { stream: streams },
  { budget },
  { now },
) => {
  const names = namesThatFit(streams.expired(now, budget), EVENT_BYTES, ROUND_BYTES_MAX);
  if (names.length === 0) return unchanged({ expired: 0 }, BEFORE_FIRST);
  const events = names.map((name): StreamEvent => ({ type: "stream.expired", name }));
  return accepted(events, () => ({ expired: names.length }));
};
