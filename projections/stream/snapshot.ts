/**
 * The streams in a snapshot, in order of their creation, so that a fork comes after its source. A row begins with what it is:
 *
 *   first row   [0, generations, clock, last offset, last removal, published total, trimmed total]
 *   stream      [1, name str, id, generation, created at, content type str, fingerprint str,
 *                ttl, expires, kept count, kept bytes, kept age (each uint | nil),
 *                fork nil | [source str, its id, at uint, 1 when the source was there], gone, forks, trimmed,
 *                dropped nil | [place], tail, closed, closed at, closed by nil | [id str, epoch, seq],
 *                writer seq str, touched at, last offset, stream offset of the first entry that follows]
 *   producer    [2, id str, epoch, seq, seen]                         of the stream before it
 *   entries     [3, then for each: offset, place, count, bytes, time] likewise; offset and time from those of the entry before
 *
 * An id, a tail and a place are two numbers, a record's offset and a place in it; what is true is 1. Which streams have a deadline
 * follows. Who read how much is local and stays behind.
 */
import { offset } from "../../log/index.js";
import { malformed } from "../errors.js";
import type { SectionReader } from "../section.js";
import type { BodyReader, BodyWriter } from "../wire.js";
import type { EventPlace, Fork, Lifetime, Producer, Retention } from "./contract.js";
import type { StreamState } from "./state.js";
import { type NewStream, Stream } from "./stream.js";

const FACTS = 0;
const STREAM = 1;
const PRODUCER = 2;
const ENTRIES = 3;

const FACTS_FIELDS = 7;
const STREAM_FIELDS = 27;
const PRODUCER_FIELDS = 5;
const ENTRY_FIELDS = 5;
const ENTRIES_PER_ROW = 512;

// ---- writing ----

export function* streamRows(state: StreamState, writer: BodyWriter): Generator<void> {
  writer.array(FACTS_FIELDS);
  writer.uint(FACTS);
  writer.uint(state.generations);
  writer.uint(state.clock);
  writer.uint(state.lastOffset);
  writer.uint(state.lastRemoval);
  writer.uint(state.publishedTotal);
  writer.uint(state.trimmedTotal);
  for (const stream of state.streams.values()) {
    writeStream(writer, stream);
    for (const [id, { epoch, seq, seen }] of stream.producers ?? []) {
      writer.array(PRODUCER_FIELDS);
      writer.uint(PRODUCER);
      text(writer, id);
      writer.uint(epoch);
      writer.uint(seq);
      writer.uint(seen);
      yield;
    }
    yield* entryRows(stream, writer);
    yield;
  }
}

/** Yields after each row. */
function* entryRows({ index }: Stream, writer: BodyWriter): Generator<void> {
  let [left, inRow, lastOffset, lastTime] = [index.entries, 0, 0, 0];
  for (const entry of index.from(0)) {
    if (inRow === 0) {
      inRow = Math.min(left, ENTRIES_PER_ROW);
      writer.array(1 + ENTRY_FIELDS * inRow);
      writer.uint(ENTRIES);
    }
    writer.uint(entry.offset - lastOffset);
    writer.uint(entry.place);
    writer.uint(entry.count);
    writer.uint(entry.bytes);
    writer.uint(entry.time - lastTime);
    lastOffset = entry.offset;
    lastTime = entry.time;
    left--;
    inRow--;
    if (inRow === 0) yield;
  }
}

function writeStream(writer: BodyWriter, stream: Stream): void {
  const { lifetime, retention, closedBy } = stream;
  writer.array(STREAM_FIELDS);
  writer.uint(STREAM);
  text(writer, stream.name);
  place(writer, stream.id);
  writer.uint(stream.generation);
  writer.uint(stream.createdAt);
  text(writer, stream.contentType);
  text(writer, stream.fingerprint);
  for (const bound of [
    lifetime.ttlMs,
    lifetime.expiresAt,
    retention.count,
    retention.bytes,
    retention.ageMs,
  ]) {
    if (bound === undefined) writer.nil();
    else writer.uint(bound);
  }
  writeFork(writer, stream);
  writer.uint(stream.gone ? 1 : 0);
  writer.uint(stream.forks);
  writer.uint(stream.trimmed);
  if (stream.dropped === undefined) writer.nil();
  else {
    writer.array(2);
    place(writer, stream.dropped);
  }
  place(writer, stream.tail);
  writer.uint(stream.closed ? 1 : 0);
  writer.uint(stream.closedAt);
  if (closedBy === undefined) writer.nil();
  else {
    writer.array(3);
    text(writer, closedBy.id);
    writer.uint(closedBy.epoch);
    writer.uint(closedBy.seq);
  }
  text(writer, stream.writerSeq);
  writer.uint(stream.touchedAt);
  writer.uint(stream.lastOffset);
  writer.uint(stream.index.oldest?.first ?? stream.index.end);
}

function writeFork(writer: BodyWriter, { fork, source }: Stream): void {
  if (fork === undefined) {
    writer.nil();
    return;
  }
  writer.array(5);
  text(writer, fork.source);
  place(writer, fork.sourceId);
  writer.uint(fork.at);
  writer.uint(source === undefined ? 0 : 1);
}

function place(writer: BodyWriter, at: EventPlace): void {
  writer.uint(at.offset);
  writer.uint(at.place);
}

function text(writer: BodyWriter, value: string): void {
  writer.str(value, Buffer.byteLength(value));
}

// ---- reading ----

export function streamSection(state: StreamState): SectionReader {
  let isFirst = true;
  let stream: Stream | undefined;
  /** Of the entry before. */
  const before = { offset: 0, time: 0 };
  const done = (): void => {
    if (stream !== undefined) state.families.afterChange(stream);
  };
  const current = (): Stream => {
    if (stream === undefined) throw malformed("expected a stream before what it has", 0);
    return stream;
  };
  return {
    row(reader) {
      const fields = reader.array();
      const what = reader.uint();
      if (isFirst !== (what === FACTS))
        throw malformed("expected the facts of all streams, once and first", 0);
      isFirst = false;
      if (what === FACTS && fields === FACTS_FIELDS) readFacts(state, reader);
      else if (what === STREAM && fields === STREAM_FIELDS) {
        done();
        stream = readStream(state, reader);
        before.offset = 0;
        before.time = 0;
      } else if (what === PRODUCER && fields === PRODUCER_FIELDS) readProducer(current(), reader);
      else if (what === ENTRIES && (fields - 1) % ENTRY_FIELDS === 0) {
        readEntries(current(), reader, (fields - 1) / ENTRY_FIELDS, before);
      } else throw malformed("expected a row of streams", 0);
    },
    end() {
      if (isFirst) throw malformed("expected rows of streams", 0);
      done();
    },
  };
}

function readFacts(state: StreamState, reader: BodyReader): void {
  state.generations = reader.uint();
  state.clock = reader.uint();
  state.lastOffset = offset(reader.uint());
  state.lastRemoval = offset(reader.uint());
  state.publishedTotal = reader.uint();
  state.trimmedTotal = reader.uint();
}

function readStream(state: StreamState, reader: BodyReader): Stream {
  const name = reader.str();
  const id = readPlace(reader);
  const generation = reader.uint();
  const createdAt = reader.uint();
  const contentType = reader.str();
  const fingerprint = reader.str();
  const lifetime = readLifetime(reader);
  const retention = readRetention(reader);
  const { fork, source } = readFork(state, reader);
  const made: NewStream = {
    name,
    id,
    generation,
    createdAt,
    contentType,
    fingerprint,
    lifetime,
    retention,
    fork,
    source,
  };
  // Read in the order of the row; the index comes last in it, and a stream is made with its index.
  const gone = reader.uint() === 1;
  const forks = reader.uint();
  const trimmed = reader.uint();
  const dropped = reader.passNil() ? undefined : readDropped(reader);
  const tail = readPlace(reader);
  const closed = reader.uint() === 1;
  const closedAt = offset(reader.uint());
  const closedBy = reader.passNil() ? undefined : readCloser(reader);
  const writerSeq = reader.str();
  const touchedAt = reader.uint();
  const lastOffset = offset(reader.uint());
  const stream = new Stream(made, reader.uint());
  stream.gone = gone;
  stream.forks = forks;
  stream.trimmed = trimmed;
  stream.dropped = dropped;
  stream.tail = tail;
  stream.closed = closed;
  stream.closedAt = closedAt;
  stream.closedBy = closedBy;
  stream.writerSeq = writerSeq;
  stream.touchedAt = touchedAt;
  stream.lastOffset = lastOffset;
  if (state.streams.has(name)) throw malformed("a stream comes twice", 0);
  state.add(stream);
  // Its time has come already; it stays for its forks.
  if (gone) state.mortal.delete(stream);
  return stream;
}

const uintOrUndefined = (reader: BodyReader): number | undefined =>
  reader.passNil() ? undefined : reader.uint();

function readLifetime(reader: BodyReader): Lifetime {
  const ttlMs = uintOrUndefined(reader);
  const expiresAt = uintOrUndefined(reader);
  return { ...(ttlMs === undefined ? {} : { ttlMs }), ...(expiresAt === undefined ? {} : { expiresAt }) };
}

function readRetention(reader: BodyReader): Retention {
  const count = uintOrUndefined(reader);
  const bytes = uintOrUndefined(reader);
  const ageMs = uintOrUndefined(reader);
  return {
    ...(count === undefined ? {} : { count }),
    ...(bytes === undefined ? {} : { bytes }),
    ...(ageMs === undefined ? {} : { ageMs }),
  };
}

function readFork(state: StreamState, reader: BodyReader): Pick<NewStream, "fork" | "source"> {
  if (reader.passNil()) return { fork: undefined, source: undefined };
  if (reader.array() !== 5) throw malformed("expected a fork", 0);
  const fork: Fork = { source: reader.str(), sourceId: readPlace(reader), at: reader.uint() };
  if (reader.uint() === 0) return { fork, source: undefined };
  const source = state.streams.get(fork.source);
  if (source === undefined) throw malformed("expected a fork's source before the fork", 0);
  return { fork, source };
}

function readDropped(reader: BodyReader): EventPlace {
  if (reader.array() !== 2) throw malformed("expected a place", 0);
  return readPlace(reader);
}

function readCloser(reader: BodyReader): Producer {
  if (reader.array() !== 3) throw malformed("expected a producer", 0);
  return { id: reader.str(), epoch: reader.uint(), seq: reader.uint() };
}

function readPlace(reader: BodyReader): EventPlace {
  return { offset: offset(reader.uint()), place: reader.uint() };
}

function readProducer(stream: Stream, reader: BodyReader): void {
  const id = reader.str();
  stream.producers ??= new Map();
  stream.producers.set(id, { epoch: reader.uint(), seq: reader.uint(), seen: offset(reader.uint()) });
}

function readEntries(
  { index }: Stream,
  reader: BodyReader,
  entries: number,
  before: { offset: number; time: number },
): void {
  for (let left = entries; left > 0; left--) {
    before.offset += reader.uint();
    const at = { offset: offset(before.offset), place: reader.uint() };
    const count = reader.uint();
    const bytes = reader.uint();
    before.time += reader.uint();
    index.append(at, count, bytes, before.time);
  }
}
