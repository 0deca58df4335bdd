/**
 * How the streams follow from their records. Cannot fail and cannot refuse: an event is a fact. Trims follow here too, from the
 * appended events, the record's timestamp and the stream's own rule, so that every replay and every replica trims alike.
 */

import { type Offset, unreachable } from "../../log/index.js";
import type { ProjectedRecord } from "../projector.js";
import type { MessageSizes, StreamChange } from "./codec.js";
import type { EventPlace, Producer } from "./contract.js";
import type { StreamState } from "./state.js";
import { Stream } from "./stream.js";

type StreamRecord = ProjectedRecord<StreamChange>;

type Event = StreamChange["event"];
type Created = Extract<Event, { type: "stream.created" }>;
type Appended = Extract<Event, { type: "stream.appended" }>;

export function evolve(state: StreamState, record: StreamRecord): StreamState {
  if (record.changes.length === 0) return state;
  state.clock = record.timestamp;
  const { offset } = record;
  for (const { event, place } of record.changes) apply(state, event, { offset, place }, record);
  state.lastOffset = record.offset;
  return state;
}

function apply(state: StreamState, change: Event, at: EventPlace, record: StreamRecord): void {
  if (change.type === "stream.created") {
    created(state, change, at, record.timestamp);
    return;
  }
  const stream = state.streams.get(change.name);
  if (stream === undefined) return;
  stream.lastOffset = record.offset;
  if (change.type !== "stream.touched") state.touched.touch("stream", stream.name);
  state.families.beforeChange(stream);
  changed(state, stream, change, at, record.timestamp);
  if (state.streams.get(stream.name) === stream) state.families.afterChange(stream);
}

function changed(
  state: StreamState,
  stream: Stream,
  change: Exclude<Event, Created>,
  at: EventPlace,
  timestamp: number,
): void {
  switch (change.type) {
    case "stream.appended":
      appended(state, stream, change, at, timestamp);
      break;
    case "stream.closed":
      stream.touchedAt = timestamp;
      noteWriter(stream, change.producer, change.writerSeq, at.offset);
      close(stream, change.producer, at.offset);
      break;
    case "stream.deleted":
    case "stream.expired":
      removed(state, stream, at.offset);
      break;
    case "stream.touched":
      stream.touchedAt = timestamp;
      break;
    case "stream.trimmed":
      trimmedAsAsked(state, stream, change.before);
      break;
    default:
      unreachable(change);
  }
}

function created(state: StreamState, change: Created, id: EventPlace, timestamp: number): void {
  const { name, contentType, lifetime, retention, fingerprint, fork } = change;
  const { offset } = id;
  state.generations += 1;
  const source = fork === undefined ? undefined : state.streams.get(fork.source);
  if (source !== undefined) {
    source.forks += 1;
    source.lastOffset = offset;
  }
  const generation = state.generations;
  const facts = { name, id, generation, createdAt: timestamp, contentType, lifetime, retention, fingerprint };
  const stream = new Stream({ ...facts, fork, source });
  state.add(stream);
  if (change.messages.count > 0) add(state, stream, id, change.messages, timestamp);
  if (change.closed) close(stream, undefined, offset);
  state.families.afterChange(stream);
}

function appended(
  state: StreamState,
  stream: Stream,
  change: Appended,
  at: EventPlace,
  timestamp: number,
): void {
  stream.touchedAt = timestamp;
  add(state, stream, at, change.messages, timestamp);
  noteWriter(stream, change.producer, change.writerSeq, at.offset);
  if (change.closes) close(stream, change.producer, at.offset);
}

function add(
  state: StreamState,
  stream: Stream,
  at: EventPlace,
  messages: MessageSizes,
  timestamp: number,
): void {
  stream.index.append(at, messages.count, messages.bytes, timestamp);
  stream.tail = at;
  state.publishedTotal += messages.count;
  keepWithin(state, stream, timestamp);
}

/** What an append pushes out: by age and by bytes whole appends, never the one that was just added; by count message by message. */
function keepWithin(state: StreamState, stream: Stream, timestamp: number): void {
  const { count, bytes, ageMs } = stream.retention;
  const { index } = stream;
  const before = firstKept(stream);
  if (ageMs !== undefined) {
    stream.dropChunks(({ time }) => time < timestamp - ageMs);
    while (index.entries > 1 && (index.oldest?.time ?? timestamp) < timestamp - ageMs) stream.drop();
  }
  if (bytes !== undefined) {
    stream.dropChunks((_next, bytesLeft) => bytesLeft > bytes);
    while (index.entries > 1 && index.bytes > bytes) stream.drop();
  }
  if (count !== undefined) stream.trimTo(index.end - count);
  state.trimmedTotal += firstKept(stream) - before;
}

function trimmedAsAsked(state: StreamState, stream: Stream, before: number): void {
  const kept = firstKept(stream);
  stream.trimTo(before);
  state.trimmedTotal += firstKept(stream) - kept;
}

/** Of a stream's own messages. */
const firstKept = (stream: Stream): number => Math.max(stream.trimmed, stream.shared);

function noteWriter(
  stream: Stream,
  producer: Producer | undefined,
  writerSeq: string | undefined,
  offset: Offset,
): void {
  if (writerSeq !== undefined) stream.writerSeq = writerSeq;
  if (producer === undefined) return;
  stream.producers ??= new Map();
  stream.producers.set(producer.id, { epoch: producer.epoch, seq: producer.seq, seen: offset });
}

function close(stream: Stream, producer: Producer | undefined, offset: Offset): void {
  stream.closed = true;
  stream.closedAt = offset;
  stream.closedBy = producer;
}

/** Kept while forks share its messages; else it goes, and with it a source that was only kept for it. */
function removed(state: StreamState, stream: Stream, offset: Offset): void {
  state.lastRemoval = offset;
  state.mortal.delete(stream);
  if (stream.forks > 0) {
    stream.gone = true;
    return;
  }
  state.drop(stream);
  const { source } = stream;
  if (source === undefined) return;
  source.forks -= 1;
  source.lastOffset = offset;
  if (!source.gone || source.forks > 0) return;
  state.families.beforeChange(source);
  removed(state, source, offset);
}
