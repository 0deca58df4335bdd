/**
 * The queues in a snapshot. A row begins with what it is:
 *
 *   first row   [0, last change of the list, vacant number uint …]   the number of a deleted queue is used again, the last first
 *   queue       [1, name str, number uint, last offset, the ten numbers of its configuration, its nine totals]
 *   key         [2, key str, message ref, until uint]                 of the queue before it; the oldest first
 *   message     [3, state uint, ref, published at, priority, max retries, retry count, expires, payload bin, headers bin, …]
 *                 waiting 0, delayed 1: … available at     in flight 2: … receipt ref, consumer str, deadline
 *                 dead 3: … reason uint, at, ref           in order of death
 *
 * A ref is two numbers, a record's offset and a place in it. Order, timers, depths and consumers follow from these rows.
 */
import { offset, unreachable } from "../../log/index.js";
import { malformed } from "../errors.js";
import type { SectionReader } from "../section.js";
import type { BodyReader, BodyWriter } from "../wire.js";
import { DEATH_REASONS, named, readConfig, readRef, writeConfig } from "./codec.js";
import type { EventRef, MessageHead, MessageState } from "./contract.js";
import type { Queue, RestoredPlace, Totals } from "./queue.js";
import type { QueueState } from "./state.js";

const LIST = 0;
const QUEUE = 1;
const KEY = 2;
const MESSAGE = 3;

const STATES: readonly MessageState[] = ["waiting", "delayed", "in_flight", "dead"];
const TOTALS = [
  "published",
  "consumed",
  "acked",
  "nacked",
  "timedOut",
  "deadLettered",
  "deadRequeued",
  "purged",
  "expired",
] as const satisfies readonly (keyof Totals)[];
const CONFIG_FIELDS = 10;
const QUEUE_FIELDS = 4 + CONFIG_FIELDS + TOTALS.length;
const KEY_FIELDS = 5;
const MESSAGE_FIELDS = 11;
/** What follows for each state. */
const PLACE_FIELDS: Readonly<Record<MessageState, number>> = {
  waiting: 0,
  delayed: 1,
  in_flight: 4,
  dead: 4,
};

/** Before every window's end: keys that could be forgotten are written too, since they are charged. */
const ALL = -1;

// ---- writing ----

export function* queueRows(state: QueueState, writer: BodyWriter): Generator<void> {
  const { lastListChange, vacantNumbers } = state;
  writer.array(2 + vacantNumbers.length);
  writer.uint(LIST);
  writer.uint(lastListChange);
  for (const number of vacantNumbers) writer.uint(number);
  for (const queue of state.queues()) {
    writeQueue(writer, queue);
    for (const [key, { ref, until }] of queue.keys.remembered(ALL)) {
      writer.array(KEY_FIELDS);
      writer.uint(KEY);
      writer.str(key, Buffer.byteLength(key));
      writeRef(writer, ref);
      writer.uint(until);
      yield;
    }
    for (const slot of queue.eachSlot()) {
      writeMessage(writer, queue.headOf(slot), state.table.payloadOf(slot), state.table.headerBytesOf(slot));
      yield;
    }
  }
}

function writeQueue(writer: BodyWriter, { name, number, lastOffset, config, totals }: Queue): void {
  writer.array(QUEUE_FIELDS);
  writer.uint(QUEUE);
  writer.str(name, Buffer.byteLength(name));
  writer.uint(number);
  writer.uint(lastOffset);
  writeConfig(writer, config);
  for (const total of TOTALS) writer.uint(totals[total]);
}

function writeMessage(writer: BodyWriter, head: MessageHead, payload: Uint8Array, headers: Uint8Array): void {
  writer.array(MESSAGE_FIELDS + PLACE_FIELDS[head.state]);
  writer.uint(MESSAGE);
  writer.uint(STATES.indexOf(head.state));
  writeRef(writer, head.ref);
  writer.uint(head.publishedAt);
  writer.uint(head.priority);
  writer.uint(head.maxRetries);
  writer.uint(head.retryCount);
  writer.uint(head.expiresAt);
  writer.bin(payload, payload.length);
  writer.bin(headers, headers.length);
  const { state, delivery, death } = head;
  if (state === "delayed") writer.uint(head.availableAt);
  if (delivery !== undefined) {
    writeRef(writer, delivery.receipt);
    writer.str(delivery.consumer, Buffer.byteLength(delivery.consumer));
    writer.uint(delivery.deadline);
  }
  if (death !== undefined) {
    writer.uint(DEATH_REASONS.indexOf(death.reason));
    writer.uint(death.at);
    writeRef(writer, death.ref);
  }
}

function writeRef(writer: BodyWriter, ref: EventRef): void {
  writer.uint(ref.offset);
  writer.uint(ref.place);
}

// ---- reading ----

export function queueSection(state: QueueState): SectionReader {
  let isFirst = true;
  let queue: Queue | undefined;
  const current = (): Queue => {
    if (queue === undefined) throw malformed("expected a queue before what it has", 0);
    return queue;
  };
  const done = (): void => {
    if (queue !== undefined) state.reschedule(queue);
  };
  return {
    row(reader) {
      const fields = reader.array();
      const what = reader.uint();
      if (isFirst !== (what === LIST))
        throw malformed("expected the list of queues, once and first", reader.at);
      isFirst = false;
      if (what === LIST) readList(state, reader, fields);
      else if (what === QUEUE && fields === QUEUE_FIELDS) {
        done();
        queue = readQueue(state, reader);
      } else if (what === KEY && fields === KEY_FIELDS) readKey(current(), reader);
      else if (what === MESSAGE) readMessage(current(), reader, fields);
      else throw malformed("expected a row of queues", reader.at);
    },
    end() {
      if (isFirst) throw malformed("expected rows of queues", 0);
      done();
    },
  };
}

function readList(state: QueueState, reader: BodyReader, fields: number): void {
  state.lastListChange = offset(reader.uint());
  const vacant: number[] = [];
  for (let left = fields - 2; left > 0; left--) vacant.push(reader.uint());
  state.restoreVacant(vacant);
}

function readQueue(state: QueueState, reader: BodyReader): Queue {
  const name = reader.str();
  const number = reader.uint();
  const lastOffset = offset(reader.uint());
  const queue = state.restore({ name, number, config: readConfig(reader) }, lastOffset);
  for (const total of TOTALS) queue.totals[total] = reader.uint();
  return queue;
}

function readKey(queue: Queue, reader: BodyReader): void {
  const key = reader.str();
  queue.rememberKey(key, { ref: readRef(reader), until: reader.uint() });
}

function readMessage(queue: Queue, reader: BodyReader, fields: number): void {
  const state = STATES[reader.uint()];
  if (state === undefined || fields !== MESSAGE_FIELDS + PLACE_FIELDS[state]) {
    throw malformed("expected a message", reader.at);
  }
  const ref = readRef(reader);
  const publishedAt = reader.uint();
  const priority = reader.uint();
  const maxRetries = reader.uint();
  const retryCount = reader.uint();
  const expiresAt = reader.uint();
  const payloadStart = reader.passBin();
  const payloadEnd = reader.at;
  const headersStart = reader.passBin();
  const headersEnd = reader.at;
  const bytes = { source: reader.bytes, payloadStart, payloadEnd, headersStart, headersEnd };
  const message = { ...bytes, priority, maxRetries, expiresAt };
  queue.restore(message, { ref, publishedAt, retryCount, ...readPlace(state, reader) });
}

type Place<State = RestoredPlace> = State extends RestoredPlace
  ? Omit<State, "ref" | "publishedAt" | "retryCount">
  : never;

function readPlace(state: MessageState, reader: BodyReader): Place {
  switch (state) {
    case "waiting":
      return { state, availableAt: 0 };
    case "delayed":
      return { state, availableAt: reader.uint() };
    case "in_flight": {
      const receipt = readRef(reader);
      return { state, delivery: { receipt, consumer: reader.str(), deadline: reader.uint() } };
    }
    case "dead": {
      const reason = named(DEATH_REASONS, reader.uint());
      return { state, death: { reason, at: reader.uint(), ref: readRef(reader) } };
    }
    default:
      return unreachable(state);
  }
}
