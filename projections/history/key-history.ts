/**
 * The history of one key: a walk along its own chain, from its last event to its first, one record of the log a step. How long
 * the log is does not matter.
 */
import { assert, BEFORE_FIRST, type Offset, offset } from "../../log/index.js";
import type { StoreEvent } from "../decision.js";
import type { FoundRevision } from "../kv/contract.js";
import { inputBuffer, inputBytes } from "../kv/values.js";
import type {
  Happened,
  HistoryEnd,
  KeyEvent,
  KeyHistoryPage,
  KeyHistoryQuery,
  RecordSource,
  TooLong,
} from "./contract.js";
import { type ReadRecord, readRecord } from "./record.js";

/** @throws LogError LOG_CORRUPT; ProjectionError as reading a record does. */
export async function keyHistory(
  source: RecordSource,
  query: KeyHistoryQuery,
): Promise<KeyHistoryPage | TooLong> {
  const walk = new ChainWalk(source, query.key, query.chain.offset, query.recordsMax);
  const before = query.before ?? Number.POSITIVE_INFINITY;
  if (before <= query.chain.offset) await walk.jumpTo(offset(before));
  const revisions: Happened<KeyEvent>[] = [];
  let bytes = 0;
  while (walk.at > 0) {
    if (walk.isSpent) return revisions.length === 0 ? { type: "too_long" } : page(revisions, walk.last);
    const step = await walk.step();
    if (step === undefined) return page(revisions, undefined, "retired");
    if (step.offset >= before) continue;
    revisions.push(...step.revisions);
    for (const { event } of step.revisions) if (event.type === "kv.set") bytes += inputBytes(event.value);
    if (walk.at > 0 && (revisions.length >= query.limit || bytes >= query.bytesMax)) {
      return page(revisions, walk.last);
    }
  }
  return page(revisions, undefined, query.chain.isWhole ? "first_event" : "unknown");
}

function page(
  revisions: readonly Happened<KeyEvent>[],
  next: Offset | undefined,
  end?: HistoryEnd,
): KeyHistoryPage {
  return { type: "page", revisions, next, end };
}

/**
 * The key as the record at `revision`, which is committed, left it. An event that only moved the expiry has no value: that is the
 * one of the event before.
 */
export async function keyAtRevision(
  source: RecordSource,
  key: string,
  revision: Offset,
  recordsMax: number,
): Promise<FoundRevision> {
  const walk = new ChainWalk(source, key, revision, recordsMax);
  let expiresAt: number | undefined;
  for (;;) {
    if (walk.isSpent) return { type: "too_long" };
    const read = await readRecord(source, walk.at);
    if (read === undefined) return { type: "retired" };
    const found = leftBehind(read.events, key);
    if (found === undefined) return { type: "not_found" };
    switch (found.type) {
      case "kv.set":
        return {
          type: "value",
          value: inputBuffer(found.value),
          contentType: found.contentType,
          expiresAt: expiresAt ?? found.expiresAt,
        };
      case "kv.expiry_changed": {
        expiresAt ??= found.expiresAt;
        // Within one record the value may stand before: then the walk would leave it behind.
        const own = setIn(read.events, key);
        if (own !== undefined) {
          return {
            type: "value",
            value: inputBuffer(own.value),
            contentType: own.contentType,
            expiresAt,
          };
        }
        await walk.step();
        // An expiry is changed of a key that is there, so it has an event before; the log of an older release may not name it.
        if (walk.at === BEFORE_FIRST) return { type: "not_found" };
        break;
      }
      default:
        return { type: "removal" };
    }
  }
}

/** Walks down the chain of a key. */
class ChainWalk {
  readonly #source: RecordSource;
  readonly #key: string;
  #left: number;
  /** The record that is read next; 0 at the chain's end. */
  at: Offset;
  /** The record that was read last. */
  last: Offset;

  constructor(source: RecordSource, key: string, at: Offset, recordsMax: number) {
    this.#source = source;
    this.#key = key;
    this.#left = recordsMax;
    this.at = at;
    this.last = at;
  }

  /** No more records may be read. */
  get isSpent(): boolean {
    return this.#left <= 0;
  }

  /** Goes on directly behind a revision of the key; stays where it is when `revision` is none. */
  async jumpTo(revision: Offset): Promise<void> {
    if (revision < 1) {
      this.at = BEFORE_FIRST;
      return;
    }
    const read = await this.#read(revision);
    const [first] = read === undefined ? [] : eventsOf(read.events, this.#key);
    if (first === undefined) return;
    this.at = this.#previous(revision, first.event);
    this.last = revision;
  }

  /** The key's events of the next record, newest first; undefined when retention has removed it. */
  async step(): Promise<{ offset: Offset; revisions: readonly Happened<KeyEvent>[] } | undefined> {
    const { at } = this;
    const read = await this.#read(at);
    if (read === undefined) return undefined;
    const own = eventsOf(read.events, this.#key);
    const [first] = own;
    assert(first !== undefined, `record ${at} has an event of the key whose chain leads to it`);
    this.at = this.#previous(at, first.event);
    this.last = at;
    const { timestamp: time } = read.record;
    const revisions = own
      .reverse()
      .map(({ event, place }) => ({ offset: at, place, time, event, cause: read.cause }));
    return { offset: at, revisions };
  }

  #read(at: Offset): Promise<ReadRecord | undefined> {
    this.#left -= 1;
    return readRecord(this.#source, at);
  }

  #previous(at: Offset, first: KeyEvent): Offset {
    assert(first.previous < at, `the chain of a key leads backward, from ${at} not to ${first.previous}`);
    return first.previous;
  }
}

function eventsOf(events: readonly StoreEvent[], key: string): { event: KeyEvent; place: number }[] {
  return events.flatMap((event, place) => (isOf(event, key) ? [{ event, place }] : []));
}

function isOf(event: StoreEvent, key: string): event is KeyEvent {
  switch (event.type) {
    case "kv.set":
    case "kv.deleted":
    case "kv.evicted":
    case "kv.expiry_changed":
      return event.key === key;
    default:
      return false;
  }
}

/** The record's last word on the key; undefined when it says nothing of it. */
function leftBehind(
  events: readonly StoreEvent[],
  key: string,
): KeyEvent | { type: "kv.flushed" } | undefined {
  const own = events.findLastIndex((event) => isOf(event, key));
  const last = events[own];
  if (last === undefined || !isOf(last, key)) return undefined;
  return events.slice(own).find((event) => event.type === "kv.flushed") ?? last;
}

/** The value that the record's last change of the expiry was made to, if the record set it. */
function setIn(events: readonly StoreEvent[], key: string): (KeyEvent & { type: "kv.set" }) | undefined {
  const found = events.findLast((event) => event.type === "kv.set" && event.key === key);
  return found?.type === "kv.set" ? found : undefined;
}
