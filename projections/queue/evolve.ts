/**
 * How the queues' state follows from their records. Cannot refuse: an event is a fact. That what it speaks of is there was
 * assured by the decider that saw this same state; where it isn't, the state is not what the log says, and that is a bug.
 * The same function serves live, restart and, later, replicas.
 */

import { assert, unreachable } from "../../log/index.js";
import type { ProjectedRecord } from "../projector.js";
import type { QueueChange } from "./codec.js";
import type { EventRef, MessageEvent } from "./contract.js";
import type { Queue } from "./queue.js";
import type { QueueState } from "./state.js";

type QueueRecord = ProjectedRecord<QueueChange>;

export function evolve(state: QueueState, record: QueueRecord): QueueState {
  for (const { event, place } of record.changes) {
    if (event.type === "queue.created") state.create(event.queue, event.config, record.offset);
    else {
      const queue = state.existing(event.queue);
      queue.lastOffset = record.offset;
      apply(state, queue, event, { offset: record.offset, place }, record.timestamp);
    }
  }
  return state;
}

type ChangeOfQueue = Exclude<QueueChange["event"], { readonly type: "queue.created" }>;

function apply(state: QueueState, queue: Queue, event: ChangeOfQueue, at: EventRef, timestamp: number): void {
  switch (event.type) {
    case "queue.deleted":
      state.delete(queue, at.offset);
      state.touched.touch("queue", queue.name);
      return;
    case "queue.published":
      queue.arrive(event, at, timestamp);
      if (event.availableAt === 0) state.touched.touch("queue", queue.name);
      break;
    case "queue.purged":
      queue.totals.purged += queue.purge();
      break;
    case "queue.dead_purged":
      queue.totals.purged += queue.purgeDead();
      break;
    default:
      applyToMessage(queue, state.slotOf(queue, event.message), event, at, timestamp);
      // Every other change of a message may let somebody consume: it waits again, or a consumer holds one less.
      if (event.type !== "queue.delivered" && event.type !== "queue.deadline_extended") {
        state.touched.touch("queue", queue.name);
      }
  }
  state.reschedule(queue);
}

function applyToMessage(
  queue: Queue,
  slot: number,
  event: MessageEvent,
  at: EventRef,
  timestamp: number,
): void {
  const { totals } = queue;
  assert(slot >= 0, "a message has a slot");
  switch (event.type) {
    case "queue.delivered":
      queue.deliver(slot, { receipt: at, consumer: event.consumer, deadline: event.deadline });
      break;
    case "queue.acked":
      totals.acked++;
      queue.remove(slot);
      break;
    case "queue.requeued":
      if (event.by !== "unsent") totals[event.by === "nack" ? "nacked" : "timedOut"]++;
      queue.requeue(slot, event.retryCount, event.availableAt);
      break;
    case "queue.died":
      totals[event.by === "nack" ? "nacked" : "timedOut"]++;
      queue.bury(slot, event.retryCount, { reason: event.reason, at: timestamp, ref: at });
      break;
    case "queue.deadline_extended":
      queue.extend(slot, event.deadline);
      break;
    case "queue.released":
      queue.release(slot);
      break;
    case "queue.expired":
      totals.expired++;
      queue.remove(slot);
      break;
    case "queue.dead_requeued":
      queue.revive(slot);
      break;
    default:
      unreachable(event);
  }
}
