/**
 * The bodies of stream events, each a MessagePack array, all written and read by hand (see `wire.ts`): appends are what
 * streams are made of, and the same reader serves replay, page reads and dumps.
 *
 *   kind  event            v  body
 *   48    stream.created   1  [name str, type str, ttl, expires, count, bytes, age, fork, closed 0|1, fingerprint str, …messages, cause]
 *   49    stream.appended  1  [name str, …messages, closes 0|1, producer, seq, cause]
 *   50    stream.closed    1  [name str, producer, seq, cause]
 *   51    stream.deleted   1  [name str, cause]
 *   52    stream.expired   1  [name str, cause]
 *   53    stream.touched   1  [name str, cause]
 *   54    stream.trimmed   1  [name str, before uint, cause]
 *
 *   ttl, expires, count, bytes, age    uint | nil
 *   fork       [source str, source's offset uint, its place uint, at uint] | nil
 *   …messages  four fields: lengths [uint, …], bodies bin (one after the other), tags [str, …] | nil, metadata [str | nil, …] | nil
 *   producer   [id str, epoch uint, seq uint] | nil          seq  str | nil
 *   cause      as in `kv/codec.ts`: nil inside a record of several events
 *
 * Checked on read: shape, UTF-8, integers < 2^53, that lengths add up to the bodies, that tags and metadata are as many as lengths.
 * Example, stream.appended of "hi" to room/a, tagged t, cause stream.publish:
 *
 *   99  a6 726f6f6d2f61  91 02  c4 02 6869  91 a1 74  c0  00  c0  c0  91 ae 73747265616d2e7075626c697368
 */
import { offset, unreachable } from "../../log/index.js";
import type { Cause, EventCodec } from "../decision.js";
import { malformed, ProjectionError } from "../errors.js";
import { writeCause } from "../kv/codec.js";
import { BodyReader, BodyWriter } from "../wire.js";
import type {
  Fork,
  MessageBytes,
  NewStreamMessage,
  Producer,
  StreamAppended,
  StreamCreated,
  StreamEvent,
} from "./contract.js";

const STREAM_KINDS = {
  "stream.created": 48,
  "stream.appended": 49,
  "stream.closed": 50,
  "stream.deleted": 51,
  "stream.expired": 52,
  "stream.touched": 53,
  "stream.trimmed": 54,
} as const satisfies Record<StreamEvent["type"], number>;

const STREAM_VERSION = 1;

/** What `evolve` keeps of an event's messages: how many and how long. The bodies stay where they are. */
export interface MessageSizes {
  readonly count: number;
  readonly bytes: number;
}

/** What `evolve` applies. */
export interface StreamChange {
  readonly place: number;
  readonly event: EventOf<MessageSizes>;
}

export function messageBytes(bytes: MessageBytes): number {
  return typeof bytes === "string" ? Buffer.byteLength(bytes) : bytes.length;
}

// ---- writing ----

const writer = new BodyWriter();

/** Borrowed: valid until the next call. */
function encode(event: StreamEvent, cause: Cause | undefined): Uint8Array {
  writer.begin();
  switch (event.type) {
    case "stream.created":
      writeCreated(event);
      break;
    case "stream.appended":
      writer.array(9);
      str(event.name);
      writeMessages(event.messages);
      writer.uint(event.closes ? 1 : 0);
      writeProducer(event.producer);
      strOrNil(event.writerSeq);
      break;
    case "stream.closed":
      writer.array(4);
      str(event.name);
      writeProducer(event.producer);
      strOrNil(event.writerSeq);
      break;
    case "stream.deleted":
    case "stream.expired":
    case "stream.touched":
      writer.array(2);
      str(event.name);
      break;
    case "stream.trimmed":
      writer.array(3);
      str(event.name);
      writer.uint(event.before);
      break;
    default:
      return unreachable(event);
  }
  writeCause(writer, cause);
  return writer.finish();
}

function writeCreated(event: StreamCreated): void {
  writer.array(15);
  str(event.name);
  str(event.contentType);
  uintOrNil(event.lifetime.ttlMs);
  uintOrNil(event.lifetime.expiresAt);
  uintOrNil(event.retention.count);
  uintOrNil(event.retention.bytes);
  uintOrNil(event.retention.ageMs);
  if (event.fork === undefined) writer.nil();
  else {
    writer.array(4);
    str(event.fork.source);
    writer.uint(event.fork.sourceId.offset);
    writer.uint(event.fork.sourceId.place);
    writer.uint(event.fork.at);
  }
  writer.uint(event.closed ? 1 : 0);
  str(event.fingerprint);
  writeMessages(event.messages);
}

function writeMessages(messages: readonly NewStreamMessage[]): void {
  const lengths = messages.map(({ bytes }) => messageBytes(bytes));
  let total = 0;
  writer.array(lengths.length);
  for (const length of lengths) {
    writer.uint(length);
    total += length;
  }
  writer.binOf(total);
  messages.forEach(({ bytes }, index) => {
    writer.part(bytes, lengths[index] ?? 0);
  });
  if (messages.every(({ tag }) => tag === undefined)) writer.nil();
  else {
    writer.array(messages.length);
    for (const { tag } of messages) str(tag ?? "");
  }
  if (messages.every(({ metadata }) => metadata === undefined)) writer.nil();
  else {
    writer.array(messages.length);
    for (const { metadata } of messages) strOrNil(metadata);
  }
}

function writeProducer(producer: Producer | undefined): void {
  if (producer === undefined) {
    writer.nil();
    return;
  }
  writer.array(3);
  str(producer.id);
  writer.uint(producer.epoch);
  writer.uint(producer.seq);
}

function str(text: string): void {
  writer.str(text, Buffer.byteLength(text));
}

function strOrNil(text: string | undefined): void {
  if (text === undefined) writer.nil();
  else str(text);
}

function uintOrNil(value: number | undefined): void {
  if (value === undefined) writer.nil();
  else writer.uint(value);
}

// ---- reading ----

/** One event's messages where they lie in the memory of its body, one after the other. */
export interface StoredMessages {
  readonly source: Uint8Array;
  /** Where the first one begins. */
  readonly start: number;
  readonly lengths: readonly number[];
  /** As long as `lengths` when the append gave any, else empty. */
  readonly tags: readonly string[];
  readonly metadata: readonly (string | undefined)[];
}

type StreamType = keyof typeof STREAM_KINDS;

const typesByKind = new Map<number, StreamType>(
  (Object.keys(STREAM_KINDS) as StreamType[]).map((type) => [STREAM_KINDS[type], type]),
);

export const isStreamKind = (kind: number): boolean => typesByKind.has(kind);

const FIELDS = {
  "stream.created": 15,
  "stream.appended": 9,
  "stream.closed": 4,
  "stream.deleted": 2,
  "stream.expired": 2,
  "stream.touched": 2,
  "stream.trimmed": 3,
} as const satisfies Record<StreamType, number>;

function typeOf(kind: number, version: number): StreamType {
  const type = typesByKind.get(kind);
  if (type === undefined || version !== STREAM_VERSION) {
    throw new ProjectionError(
      "PROJECTION_EVENT_UNKNOWN",
      `event kind ${kind} version ${version} is not known to this release`,
      { kind, version },
    );
  }
  return type;
}

/** One event for `evolve`, its messages only measured. The cause is passed over. */
export function readStreamChange(
  reader: BodyReader,
  kind: number,
  version: number,
  place: number,
): StreamChange {
  const event = readEvent(reader, typeOf(kind, version), passMessages);
  reader.skipFewStrings();
  reader.atEnd();
  return { place, event };
}

/** One event's messages, undefined for an event that has none. What follows them is passed over. */
export function readStreamMessages(
  reader: BodyReader,
  kind: number,
  version: number,
): StoredMessages | undefined {
  const type = typeOf(kind, version);
  let messages: StoredMessages | undefined;
  if (type === "stream.appended") {
    // Pages are made of these, thousands at a time, and nothing else that they say is asked for.
    beginFields(reader, type);
    reader.passStr();
    messages = takeMessages(reader);
  } else {
    const event = readEvent(reader, type, takeMessages);
    messages = "messages" in event ? event.messages : undefined;
  }
  reader.passRest();
  return messages;
}

function beginFields(reader: BodyReader, type: StreamType): void {
  if (reader.array() !== FIELDS[type]) throw malformed(`${type} has not ${FIELDS[type]} fields`, 0);
}

type EventOf<Messages> =
  | (Omit<StreamCreated, "messages"> & { readonly messages: Messages })
  | (Omit<StreamAppended, "messages"> & { readonly messages: Messages })
  | Exclude<StreamEvent, StreamCreated | StreamAppended>;

/** Everything of an event but its cause, with its messages as `messages` reads them. */
function readEvent<Messages>(
  reader: BodyReader,
  type: StreamType,
  messages: (reader: BodyReader) => Messages,
): EventOf<Messages> {
  beginFields(reader, type);
  const name = reader.str();
  switch (type) {
    case "stream.created":
      return readCreated(reader, name, messages);
    case "stream.appended":
      return withWriter({ type, name, messages: messages(reader), closes: readFlag(reader) }, reader);
    case "stream.closed":
      return withWriter({ type, name }, reader);
    case "stream.deleted":
    case "stream.expired":
    case "stream.touched":
      return { type, name };
    case "stream.trimmed":
      return { type, name, before: reader.uint() };
    default:
      return unreachable(type);
  }
}

function readCreated<Messages>(
  reader: BodyReader,
  name: string,
  messages: (reader: BodyReader) => Messages,
): Omit<StreamCreated, "messages"> & { readonly messages: Messages } {
  const contentType = reader.str();
  const lifetime = { ...member("ttlMs", reader), ...member("expiresAt", reader) };
  const retention = {
    ...member("count", reader),
    ...member("bytes", reader),
    ...member("ageMs", reader),
  };
  const fork = readFork(reader);
  const closed = readFlag(reader);
  const fingerprint = reader.str();
  const common = { type: "stream.created", name, contentType, lifetime, retention, closed } as const;
  const read = messages(reader);
  return fork === undefined
    ? { ...common, fingerprint, messages: read }
    : { ...common, fork, fingerprint, messages: read };
}

function member<Name extends string>(name: Name, reader: BodyReader): { [Key in Name]?: number } {
  if (reader.passNil()) return {};
  return { [name]: reader.uint() } as { [Key in Name]?: number };
}

function readFork(reader: BodyReader): Fork | undefined {
  if (reader.passNil()) return undefined;
  if (reader.array() !== 4) throw malformed("a fork has not four fields", 0);
  const source = reader.str();
  const sourceId = { offset: offset(reader.uint()), place: reader.uint() };
  return { source, sourceId, at: reader.uint() };
}

function readFlag(reader: BodyReader): boolean {
  const flag = reader.uint();
  if (flag > 1) throw malformed("expected 0 or 1", 0);
  return flag === 1;
}

/** Most events say nothing of their writer, and are given back as they are. */
function withWriter<Event extends object>(
  event: Event,
  reader: BodyReader,
): Event & { readonly producer?: Producer; readonly writerSeq?: string } {
  const producer = readProducer(reader);
  const writerSeq = reader.passNil() ? undefined : reader.str();
  if (producer === undefined) return writerSeq === undefined ? event : { ...event, writerSeq };
  return writerSeq === undefined ? { ...event, producer } : { ...event, producer, writerSeq };
}

function readProducer(reader: BodyReader): Producer | undefined {
  if (reader.passNil()) return undefined;
  if (reader.array() !== 3) throw malformed("a producer has not three fields", 0);
  return { id: reader.str(), epoch: reader.uint(), seq: reader.uint() };
}

function passMessages(reader: BodyReader): MessageSizes {
  const count = reader.array();
  let bytes = 0;
  for (let index = 0; index < count; index++) bytes += reader.uint();
  const from = reader.passBin();
  if (reader.at - from !== bytes) throw malformed("lengths do not add up to the bodies", 0);
  if (beginTexts(reader, count)) for (let index = 0; index < count; index++) reader.passStr();
  if (beginTexts(reader, count)) {
    for (let index = 0; index < count; index++) if (!reader.passNil()) reader.passStr();
  }
  return { count, bytes };
}

function takeMessages(reader: BodyReader): StoredMessages {
  const count = reader.array();
  const lengths: number[] = [];
  for (let index = 0; index < count; index++) lengths.push(reader.uint());
  const start = reader.passBin();
  let end = start;
  for (const length of lengths) end += length;
  if (end !== reader.at) throw malformed("lengths do not add up to the bodies", 0);
  const tags = beginTexts(reader, count) ? texts(count, () => reader.str()) : NO_TEXTS;
  const metadata = beginTexts(reader, count)
    ? texts(count, () => (reader.passNil() ? undefined : reader.str()))
    : NO_TEXTS;
  return { source: reader.bytes, start, lengths, tags, metadata };
}

const NO_TEXTS: readonly never[] = [];

function texts<Text>(count: number, next: () => Text): Text[] {
  const read: Text[] = [];
  for (let index = 0; index < count; index++) read.push(next());
  return read;
}

/** True when one text for each message follows, false for none at all. */
function beginTexts(reader: BodyReader, count: number): boolean {
  if (reader.passNil()) return false;
  if (reader.array() !== count) throw malformed("not as many texts as messages", 0);
  return true;
}

const reader = new BodyReader();

/** Every field of an event's body, messages as bytes that are copies. */
function decode(kind: number, version: number, body: Uint8Array): { event: StreamEvent; cause?: Cause } {
  reader.begin(body);
  const read = readEvent(reader, typeOf(kind, version), takeMessages);
  const strings = reader.fewStrings();
  reader.atEnd();
  const event: StreamEvent = "messages" in read ? { ...read, messages: newMessages(read.messages) } : read;
  const [command, requestId] = strings ?? [];
  if (command === undefined) return { event };
  return { event, cause: requestId === undefined ? { command } : { command, requestId } };
}

function newMessages({ source, start, lengths, tags, metadata }: StoredMessages): NewStreamMessage[] {
  let at = start;
  return lengths.map((length, index) => {
    const tag = tags[index];
    const text = metadata[index];
    const bytes = new Uint8Array(source.subarray(at, at + length));
    at += length;
    return {
      bytes,
      ...(tag === undefined ? {} : { tag }),
      ...(text === undefined ? {} : { metadata: text }),
    };
  });
}

/** Every event of this projection, for the catalogue. */
export const streamCodec: EventCodec<StreamEvent> = {
  kinds: STREAM_KINDS,
  version: STREAM_VERSION,
  encode,
  decode,
};
