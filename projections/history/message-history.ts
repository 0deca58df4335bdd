/**
 * The life of one message: its publish event, then whatever the log says of it, read forward record by record. A message has no
 * chain of its own, so what lies between is read too: a page reads a bounded number of records and says where to go on.
 */
import { type LogRecord, type Offset, offset, unreachable } from "../../log/index.js";
import type { StoreEvent } from "../decision.js";
import { changesOf, SEVERAL_KIND } from "../events.js";
import { isQueueKind, type QueueChange, readQueueChange } from "../queue/codec.js";
import type { EventRef } from "../queue/contract.js";
import { compareRefs, sameRef } from "../queue/ids.js";
import type {
  Happened,
  LifeEvent,
  LifePlace,
  LifeState,
  MessageLifePage,
  MessageLifeQuery,
  RecordSource,
} from "./contract.js";
import { decoded, isRetired, readRecord } from "./record.js";

/** @throws LogError LOG_CORRUPT; ProjectionError as reading a record does. */
export async function messageLife(source: RecordSource, query: MessageLifeQuery): Promise<MessageLifePage> {
  const { queue, message, last } = query;
  if (message.offset > last) return { type: "not_found" };
  const published = await readRecord(source, message.offset);
  if (published === undefined) return { type: "retired" };
  const birth = published.events[message.place];
  if (birth?.type !== "queue.published" || birth.queue !== queue) return { type: "not_found" };
  try {
    return await scan(source, query, query.place ?? { from: message.offset, state: "waiting" });
  } catch (error) {
    if (isRetired(error)) return { type: "retired" };
    throw error;
  }
}

async function scan(
  source: RecordSource,
  query: MessageLifeQuery,
  { from, state: begin }: LifePlace,
): Promise<MessageLifePage> {
  const events: Happened<LifeEvent>[] = [];
  const end = offset(Math.min(query.last, from + query.recordsMax - 1));
  let state: LifeState | "gone" = begin;
  let next = from;
  if (from > query.last) return { type: "page", events, next: undefined, isOver: false };
  for await (const batch of source.records(from, end)) {
    for (const record of batch) {
      const happened = lifeIn(record, query, state);
      events.push(...happened.events);
      state = happened.state;
      next = offset(record.offset + 1);
      if (state === "gone") return { type: "page", events, next: undefined, isOver: true };
      if (events.length >= query.limit)
        return { type: "page", events, next: placeAt(next, state, query), isOver: false };
    }
  }
  return { type: "page", events, next: placeAt(next, state, query), isOver: false };
}

function placeAt(from: Offset, state: LifeState, { last }: MessageLifeQuery): LifePlace | undefined {
  return from > last ? undefined : { from, state };
}

/** What a record says of the message, and what the message is after it. */
function lifeIn(
  record: LogRecord,
  { queue, message }: MessageLifeQuery,
  before: LifeState,
): { events: Happened<LifeEvent>[]; state: LifeState | "gone" } {
  let state: LifeState | "gone" = before;
  if (record.kind !== SEVERAL_KIND && !isQueueKind(record.kind)) return { events: [], state };
  const places: number[] = [];
  for (const { event, place } of changesOf(record, isQueueKind, readQueueChange)) {
    const at = { offset: record.offset, place };
    // A batch may purge the queue and publish to it then: what was before the message is none of its life.
    if (event.queue !== queue || state === "gone" || compareRefs(at, message) < 0) continue;
    const after = stateAfter(event, at, message, state);
    if (after === undefined) continue;
    places.push(place);
    state = after;
  }
  if (places.length === 0) return { events: [], state };
  const { events, cause } = decoded(record);
  const happened = places.flatMap((place): Happened<LifeEvent>[] => {
    const event = events[place];
    if (event === undefined || !isOfLife(event)) return [];
    return [{ offset: record.offset, place, time: record.timestamp, event, cause }];
  });
  return { events: happened, state };
}

/** Undefined when the event does not touch the message. */
function stateAfter(
  event: QueueChange["event"],
  at: EventRef,
  message: EventRef,
  state: LifeState,
): LifeState | "gone" | undefined {
  switch (event.type) {
    case "queue.created":
      return undefined;
    case "queue.published":
      return sameRef(at, message) ? "waiting" : undefined;
    case "queue.deleted":
      return "gone";
    case "queue.purged":
      return state === "waiting" ? "gone" : undefined;
    case "queue.dead_purged":
      return state === "dead" ? "gone" : undefined;
    default:
      return sameRef(event.message, message) ? stateBy(event.type, state) : undefined;
  }
}

type OwnEvent = Extract<QueueChange["event"], { readonly message: EventRef }>;

function stateBy(type: OwnEvent["type"], state: LifeState): LifeState | "gone" {
  switch (type) {
    case "queue.delivered":
      return "in_flight";
    case "queue.requeued":
    case "queue.released":
    case "queue.dead_requeued":
      return "waiting";
    case "queue.died":
      return "dead";
    case "queue.deadline_extended":
      return state;
    case "queue.acked":
    case "queue.expired":
      return "gone";
    default:
      return unreachable(type);
  }
}

function isOfLife(event: StoreEvent): event is LifeEvent {
  return event.type.startsWith("queue.") && event.type !== "queue.created";
}
