/**
 * Deciders that write to a stream. The checks come in the order that the Durable Streams protocol needs: a repeat is known before
 * anything else is compared, so that a retry gets its first answer and a check that fails moves no producer.
 */
import type { Decider, Decision, Rejection, StoreRules } from "../decision.js";
import type {
  AppendOutcome,
  AppendStreamCommand,
  AppendTail,
  EventPlace,
  Producer,
  ProducerSaid,
  StreamAppended,
  StreamFacts,
  StreamView,
} from "./contract.js";
import {
  accepted,
  checkMessages,
  checkWriter,
  isSameType,
  liveStream,
  refuse,
  unchanged,
} from "./decisions.js";

/**
 * Appends, closes, or both, and answers every outcome.
 * Refuses with STREAM_NOT_FOUND, STREAM_GONE, STREAM_PRODUCER_INVALID, STREAM_PRODUCERS_FULL, STREAM_WRITER_SEQ,
 * STREAM_CONTENT_TYPE_MISMATCH, STREAM_OFFSET_MISMATCH, STREAM_MESSAGE_INVALID, STREAM_MESSAGE_TOO_LARGE, STREAM_BATCH_TOO_LARGE.
 */
export const append: Decider<AppendStreamCommand, AppendOutcome> = (state, command, context, rules) => {
  const { stream: streams } = state;
  const unwritable = checkWriter(command.producer, command.writerSeq);
  if (unwritable !== undefined) return unwritable;
  const facts = liveStream(streams, command.name, context.now);
  if ("code" in facts) return facts;
  if (facts.closed) return ofClosed(facts, command);
  if (command.contentType !== undefined && !isSameType(command.contentType, facts.contentType)) {
    return refuse("STREAM_CONTENT_TYPE_MISMATCH", `the stream takes ${facts.contentType}`, facts.id.offset);
  }
  const known =
    command.producer === undefined ? undefined : ofProducer(streams, facts, command.producer, rules);
  const refused = known ?? checkCondition(facts, command) ?? checkBodies(command, facts, rules);
  return refused ?? appendTo(facts, command);
};

/** As `append` for those to whom only a change or its repeat is an answer: everything else is refused. */
export const publish: Decider<AppendStreamCommand, AppendOutcome> = (state, command, context, rules) => {
  const decision = append(state, command, context, rules);
  if (decision.type === "rejected" || decision.events.length > 0) return decision;
  const outcome = decision.answer(decision.seen, 0);
  switch (outcome.type) {
    case "refused_closed":
      return refuse("STREAM_CLOSED", "the stream is closed", decision.seen, { end: outcome.end });
    case "stale_epoch":
      return refuse("STREAM_PRODUCER_STALE", "a newer epoch of this producer has written", decision.seen, {
        epoch: outcome.epoch,
      });
    case "gap":
      return refuse("STREAM_PRODUCER_GAP", "requests of this producer are missing", decision.seen, {
        expected: outcome.expected,
        received: outcome.received,
      });
    case "epoch_start":
      return refuse("STREAM_PRODUCER_EPOCH_START", "a new epoch begins with sequence 0", decision.seen);
    default:
      return decision;
  }
};

function tailOf({ end, tail, closed }: StreamFacts): AppendTail {
  return { end, tail, closed };
}

/** A closed stream takes the repeat of what closed it, and a bare close; nothing else. */
function ofClosed(facts: StreamFacts, command: AppendStreamCommand): Decision<AppendOutcome> {
  const { producer } = command;
  const tail = tailOf(facts);
  const by = facts.closedBy;
  if (producer !== undefined && by !== undefined) {
    const { id, epoch, seq } = producer;
    if (by.id === id && by.epoch === epoch && by.seq === seq) {
      return unchanged({ type: "duplicate", ...tail, producer: { epoch, seq } }, facts.lastOffset);
    }
  }
  const isBare = command.close === true && command.messages.length === 0 && producer === undefined;
  return unchanged({ type: isBare ? "already_closed" : "refused_closed", ...tail }, facts.lastOffset);
}

/** What a producer's number says: undefined when the request is the next one, else its outcome. */
function ofProducer(
  streams: StreamView,
  facts: StreamFacts,
  { id, epoch, seq }: Producer,
  { stream }: StoreRules,
): Decision<AppendOutcome> | undefined {
  const last = streams.producer(facts.name, id);
  const tail = tailOf(facts);
  if (last === undefined) {
    if (facts.producers >= stream.producersMax) {
      const message = `a stream remembers at most ${stream.producersMax} producers`;
      return refuse("STREAM_PRODUCERS_FULL", message, facts.lastOffset);
    }
    if (seq === 0) return undefined;
    return unchanged({ type: "gap", expected: 0, received: seq, ...tail }, facts.lastOffset);
  }
  if (epoch < last.epoch)
    return unchanged({ type: "stale_epoch", epoch: last.epoch, ...tail }, facts.lastOffset);
  if (epoch > last.epoch)
    return seq === 0 ? undefined : unchanged({ type: "epoch_start", ...tail }, facts.lastOffset);
  if (seq <= last.seq) {
    const producer = { epoch, seq: last.seq };
    return unchanged({ type: "duplicate", ...tail, producer }, facts.lastOffset);
  }
  if (seq === last.seq + 1) return undefined;
  return unchanged({ type: "gap", expected: last.seq + 1, received: seq, ...tail }, facts.lastOffset);
}

function checkCondition(facts: StreamFacts, command: AppendStreamCommand): Rejection | undefined {
  const { writerSeq, expectedOffset } = command;
  if (writerSeq !== undefined && compareBytes(writerSeq, facts.writerSeq) <= 0) {
    return refuse("STREAM_WRITER_SEQ", "the writer's sequence is not after the last one", facts.lastOffset);
  }
  if (expectedOffset === undefined || expectedOffset === facts.end) return undefined;
  const details = { expected: expectedOffset, actual: facts.end };
  const message = `the stream ends at ${facts.end}, not at ${expectedOffset}`;
  return refuse("STREAM_OFFSET_MISMATCH", message, facts.lastOffset, details);
}

function compareBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

function checkBodies(
  command: AppendStreamCommand,
  facts: StreamFacts,
  { stream }: StoreRules,
): Rejection | undefined {
  const { messages, close, invalid } = command;
  if (invalid !== undefined) return refuse("STREAM_MESSAGE_INVALID", invalid, facts.id.offset);
  if (messages.length === 0 && close !== true) {
    return refuse("STREAM_MESSAGE_INVALID", "an append has at least one message");
  }
  return checkMessages(messages, stream);
}

function appendTo(facts: StreamFacts, command: AppendStreamCommand): Decision<AppendOutcome> {
  const { name, messages, close = false, producer, writerSeq } = command;
  if (messages.length > 0 && producer === undefined && writerSeq === undefined) {
    return appended(facts, { type: "stream.appended", name, messages, closes: close }, undefined);
  }
  const writer = {
    ...(producer === undefined ? {} : { producer }),
    ...(writerSeq === undefined ? {} : { writerSeq }),
  };
  const said = producer === undefined ? undefined : { epoch: producer.epoch, seq: producer.seq };
  if (messages.length === 0) {
    const tail: AppendTail = { end: facts.end, tail: facts.tail, closed: true };
    return accepted([{ type: "stream.closed", name, ...writer }], () => ({
      type: "closed",
      ...tail,
      ...(said === undefined ? {} : { producer: said }),
    }));
  }
  return appended(facts, { type: "stream.appended", name, messages, closes: close, ...writer }, said);
}

function appended(
  { end: first }: StreamFacts,
  event: StreamAppended,
  producer: ProducerSaid["producer"],
): Decision<AppendOutcome> {
  const { messages, closes: closed } = event;
  const end = first + messages.length;
  return accepted([event], (offset, place) => {
    const tail: EventPlace = { offset, place };
    const outcome = { type: "appended", first, end, tail, closed } as const;
    return producer === undefined ? outcome : { ...outcome, producer };
  });
}
