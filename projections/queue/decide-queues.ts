/** Deciders about whole queues: create, delete, purge, the dead letter queue, and the passing of time. */
import type { Decider, Rejection, StoreRules } from "../decision.js";
import { ROUND_BYTES_MAX } from "../round-bytes.js";
import type {
  CreateAnswer,
  CreateCommand,
  DeleteQueueAnswer,
  DueAnswer,
  DueCommand,
  MessageHead,
  PurgeAnswer,
  QueueEvent,
  QueueHead,
  QueueQuery,
  QueueView,
  RequeueDeadAnswer,
  RequeueDeadCommand,
} from "./contract.js";
import {
  accepted,
  acceptedFrom,
  checkCount,
  checkName,
  configOf,
  queueFull,
  queueNotFound,
  rejected,
  unchanged,
} from "./decisions.js";
import { parseId } from "./ids.js";
import { eventsForRoom, passedBytesOf, passedTimes } from "./passed-times.js";

/** Refuses with QUEUE_NAME_INVALID, QUEUE_CONFIG_INVALID, QUEUE_TOO_MANY. */
export const create: Decider<CreateCommand, CreateAnswer> = ({ queue: view }, command, _context, rules) => {
  const { queue, config: partial = {} } = command;
  const refused = checkName(queue, rules.queue);
  if (refused !== undefined) return refused;
  const config = configOf(partial, rules.queue);
  if ("type" in config) return config;
  const existing = view.queue(queue);
  // What it tells of never changes while the queue is there, but the queue's last change is never before its creation.
  if (existing !== undefined)
    return unchanged({ created: false, config: existing.config }, existing.lastOffset);
  if (view.queueCount >= rules.queue.queuesMax) return tooMany(view, rules);
  return accepted([{ type: "queue.created", queue, config }], () => ({ created: true, config }));
};

function tooMany(view: QueueView, rules: StoreRules): Rejection {
  return rejected("QUEUE_TOO_MANY", `there are at most ${rules.queue.queuesMax} queues`, view.lastListChange);
}

/** The queue with all its messages, whatever their state. */
export const deleteQueue: Decider<QueueQuery, DeleteQueueAnswer> = ({ queue: view }, { queue }) => {
  if (view.queue(queue) === undefined) return unchanged({ deleted: false }, view.lastListChange);
  return accepted([{ type: "queue.deleted", queue }], () => ({ deleted: true }));
};

/** Removes what waits or is delayed. Refuses with QUEUE_NOT_FOUND. */
export const purge: Decider<QueueQuery, PurgeAnswer> = ({ queue: view }, { queue }) => {
  const head = view.queue(queue);
  if (head === undefined) return queueNotFound(view);
  const purged = head.waiting + head.delayed;
  return acceptedFrom(head, purged === 0 ? [] : [{ type: "queue.purged", queue }], () => ({ purged }));
};

/** Empties the dead letter queue. Refuses with QUEUE_NOT_FOUND. */
export const purgeDead: Decider<QueueQuery, PurgeAnswer> = ({ queue: view }, { queue }) => {
  const head = view.queue(queue);
  if (head === undefined) return queueNotFound(view);
  const purged = head.dead;
  return acceptedFrom(head, purged === 0 ? [] : [{ type: "queue.dead_purged", queue }], () => ({ purged }));
};

/** All that is asked for or nothing. Refuses with QUEUE_NOT_FOUND, QUEUE_LIMIT_INVALID, QUEUE_MESSAGE_NOT_FOUND, QUEUE_FULL. */
export const requeueDead: Decider<RequeueDeadCommand, RequeueDeadAnswer> = (
  { queue: view },
  command,
  { now },
  rules,
) => {
  const { requeuedDead } = view;
  const { queue, limit = rules.queue.batchMax - requeuedDead } = command;
  const refused = checkCount(limit, rules.queue, requeuedDead);
  if (refused !== undefined) return refused;
  const head = view.queue(queue);
  if (head === undefined) return queueNotFound(view);
  const letters = lettersOf(view, head, command.messageId, limit);
  if ("type" in letters) return letters;
  const passed = eventsForRoom(view, head, letters.length, now);
  if (passed === undefined) return queueFull(head);
  const died = passed.filter(({ type }) => type === "queue.died").length;
  const requeued = letters.map(
    ({ ref }): QueueEvent => ({ type: "queue.dead_requeued", queue, message: ref }),
  );
  const answer = { requeued: letters.length, remaining: head.dead - letters.length + died };
  return acceptedFrom(head, letters.length === 0 ? [] : [...passed, ...requeued], () => answer);
};

function lettersOf(
  view: QueueView,
  head: QueueHead,
  messageId: string | undefined,
  limit: number,
): readonly MessageHead[] | Rejection {
  if (messageId === undefined) return view.deadLetters(head.name, limit);
  const ref = parseId(messageId);
  const message = ref && view.message(head.name, ref);
  if (message?.state === "dead") return [message];
  return rejected("QUEUE_MESSAGE_NOT_FOUND", "there is no such dead letter", head.lastOffset);
}

/** Says that times have passed, in whatever queue, soonest queue first: at most `limit`, and as many as fit into any record. */
export const due: Decider<DueCommand, DueAnswer> = ({ queue: view }, { limit }, { now }) => {
  const events: QueueEvent[] = [];
  let bytesLeft = ROUND_BYTES_MAX;
  for (const name of view.dueQueues(now, limit)) {
    const head = view.queue(name);
    const eventBytes = passedBytesOf(name);
    const most = Math.min(limit - events.length, Math.floor(bytesLeft / eventBytes));
    if (most < 1 || head === undefined) break;
    const passed = passedTimes(view, head, now, most).events;
    bytesLeft -= passed.length * eventBytes;
    events.push(...passed);
  }
  return accepted(events, () => ({ passed: events.length }));
};
