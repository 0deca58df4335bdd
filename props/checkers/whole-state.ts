/**
 * Everything that readers and deciders can see of a state, as plain values: what two states that are the same must agree in. It asks
 * through the views that they use, and lets some deciders decide; the digests see what nobody asks for.
 */
import type { Context, Decider, EventPlace, EventRef, Fold, StoreRules } from "../../projections/index.js";
import { queue, stream } from "../../projections/index.js";
import { MODEL_KEYS } from "../model/kv-operations.js";
import { ANSWER_KEYS, CONSUMERS, DEDUP_KEYS, PRODUCERS, QUEUES, STREAMS } from "../world/whole-histories.js";

const EVERYTHING = { messagesMax: 1_000, bytesMax: 1 << 20 };
const HOUR_MS = 3_600_000;

/** Of the names that whole histories use. Changes nothing, but for the order in which expired streams are looked at. */
export function wholeState(fold: Fold, rules: StoreRules, now: number): unknown {
  return {
    offset: fold.offset,
    kv: keysOf(fold, now),
    queue: queuesOf(fold, now),
    stream: streamsOf(fold, now),
    answers: ANSWER_KEYS.map((key) => fold.idempotency.get(key, now)),
    answersHeld: [fold.idempotency.size, fold.idempotency.bytes],
    decisions: decisionsOf(fold, rules, now),
  };
}

function keysOf({ kv }: Fold, now: number): unknown {
  const { operations: _, expiredTotal: _e, evictedTotal: _v, ...stats } = kv.stats(now);
  const keys = MODEL_KEYS.filter((key) => key !== "").map((key) => [
    key,
    kv.get(key, now),
    kv.look(key, now),
    kv.revisionOf(key),
    kv.chargedFor(key),
    kv.chainOf(key),
  ]);
  return {
    keys,
    stats,
    size: kv.size(now),
    held: kv.keysHeld,
    lastOffset: kv.lastOffset,
    never: kv.chainOf("never"),
  };
}

function queuesOf({ queue: view }: Fold, now: number): unknown {
  return {
    names: view.names(),
    facts: [view.lastListChange, view.queueCount, view.memoryBytes, view.nextDue, view.table.size],
    due: view.dueQueues(now + HOUR_MS, 10),
    queues: QUEUES.map((name) => {
      const waiting = [...view.first(name, 0)];
      const due = view.due(name, now + HOUR_MS, 1_000);
      const dead = view.deadLetters(name, 1_000);
      const refs: EventRef[] = [...waiting, ...due, ...dead].map(({ ref }) => ref);
      return {
        stats: view.stats(name),
        waiting,
        due,
        dead,
        bodies: refs.map((ref) => [view.message(name, ref), view.body(name, ref)]),
        held: CONSUMERS.map((consumer) => view.heldBy(name, consumer)),
        published: DEDUP_KEYS.map((key) => view.published(name, key, now)),
      };
    }),
  };
}

function streamsOf({ stream: view, offset }: Fold, now: number): unknown {
  const { consumedTotal: _, indexBytes: _i, ...totals } = view.totals();
  const families = ["room/", "ds/"].map((prefix) => {
    const { indexBytes: _b, ...sums } = view.sums(prefix);
    return [sums, view.oldest(prefix, now, 10)];
  });
  return {
    facts: [view.count, view.generations, view.lastRemoval, view.lastOffset, view.clock, totals, families],
    names: view.names("", "", 100, now),
    expired: [...view.expired(now + HOUR_MS, 100)].sort(),
    streams: STREAMS.filter((name) => view.find(name) !== undefined).map((name) => {
      const facts = view.find(name);
      const end = facts?.end ?? 0;
      const places: EventPlace[] = Array.from({ length: offset + 1 }, (_each, at) => ({
        offset: at as EventPlace["offset"],
        place: 0,
      }));
      return {
        facts,
        earliest: view.earliest(name, now),
        producers: PRODUCERS.map((id) => view.producer(name, id)),
        committed: [view.committedEnd(name), view.committedClosed(name)],
        page: view.page(name, 0, end, EVERYTHING),
        ends: places.map((at) => view.endAt(name, at)),
        known: places.map((at) => view.knows(name, at)),
        before: Array.from({ length: end + 1 }, (_each, at) => view.eventBefore(name, at)),
      };
    }),
  };
}

/** What would be written down next, byte for byte the same only when the states are. */
function decisionsOf(fold: Fold, rules: StoreRules, now: number): unknown {
  const later = now + HOUR_MS / 2;
  const decided = <Command>(decide: Decider<Command, unknown>, command: Command, at: number): unknown => {
    const context: Context = { now: at, random: 0.5, cause: { command: "look" } };
    const decision = decide(fold.view, command, context, rules);
    return decision.type === "rejected" ? decision.code : decision.events;
  };
  return [
    ...[now, later].map((at) => decided(queue.due, { limit: 100 }, at)),
    ...QUEUES.flatMap((name) => [
      decided(queue.create, { queue: name }, now),
      decided(queue.publish, { queue: name, payload: Buffer.from("next"), dedupKey: DEDUP_KEYS[0] }, now),
      ...CONSUMERS.map((consumer) => decided(queue.consume, { queue: name, consumer, count: 5 }, later)),
      decided(queue.requeueDead, { queue: name, limit: 5 }, now),
    ]),
    ...STREAMS.flatMap((name) => [
      decided(stream.append, { name, messages: [{ bytes: "next" }], writerSeq: "w5" }, now),
      decided(stream.touch, { name }, now),
    ]),
  ];
}
