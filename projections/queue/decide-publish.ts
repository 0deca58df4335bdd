/** Deciders that publish: one message, or many as one record. */
import type { Offset } from "../../log/index.js";
import type { Context, Decider, Rejection, StoreRules } from "../decision.js";
import { payloadBytesOf } from "./codec.js";
import type {
  EventRef,
  MessagePublished,
  NewMessage,
  PublishAnswer,
  PublishCommand,
  PublishManyAnswer,
  PublishManyCommand,
  QueueEvent,
  QueueHead,
  QueueView,
} from "./contract.js";
import {
  acceptedFrom,
  checkCount,
  checkMessage,
  headersBytesOf,
  NO_HEADERS,
  queueFull,
  queueNotFound,
  rejected,
} from "./decisions.js";
import { keyChargeOf } from "./dedup-keys.js";
import { idOf, idWithin } from "./ids.js";
import { chargeOf } from "./message-table.js";
import { eventsForRoom } from "./passed-times.js";

/**
 * Refuses with QUEUE_NOT_FOUND, QUEUE_MESSAGE_INVALID, QUEUE_PAYLOAD_TOO_LARGE, QUEUE_TIME_INVALID, QUEUE_FULL,
 * QUEUE_MEMORY_FULL.
 */
export const publish: Decider<PublishCommand, PublishAnswer> = ({ queue: view }, command, context, rules) => {
  const head = view.queue(command.queue);
  const refused = checkMessage(command, rules.queue);
  if (refused !== undefined) return refused;
  if (head === undefined) return queueNotFound(view);
  const first = firstWithKey(view, head, command, context.now);
  if (first !== undefined) {
    return acceptedFrom(head, [], (record) => ({ messageId: idWithin(first, record), duplicate: true }));
  }
  const message = publishedOf(head, command, context.now);
  const room = makeRoom(view, head, [message], context, rules);
  if ("type" in room) return room;
  return acceptedFrom(head, [...room.events, message], (offset, place) => ({
    messageId: idOf({ offset, place: place + room.events.length }),
    duplicate: false,
  }));
};

/** As `publish`, all or nothing; a key that comes twice is published once. Refuses with QUEUE_LIMIT_INVALID too. */
export const publishMany: Decider<PublishManyCommand, PublishManyAnswer> = (
  { queue: view },
  command,
  context,
  rules,
) => {
  const refused = checkCount(command.messages.length, rules.queue);
  if (refused !== undefined) return refused;
  for (const message of command.messages) {
    const wrong = checkMessage(message, rules.queue);
    if (wrong !== undefined) return wrong;
  }
  const head = view.queue(command.queue);
  if (head === undefined) return queueNotFound(view);
  const events: MessagePublished[] = [];
  const answers: ((record: Offset, place: number) => PublishAnswer)[] = [];
  const byKey = new Map<string, number>();
  for (const message of command.messages) {
    const key = head.config.dedupWindowMs > 0 ? message.dedupKey : undefined;
    const before = firstWithKey(view, head, message, context.now);
    const within = key === undefined ? undefined : byKey.get(key);
    if (before !== undefined) answers.push((record) => duplicate(idWithin(before, record)));
    else if (within !== undefined) {
      answers.push((offset, place) => duplicate(idOf({ offset, place: place + within })));
    } else {
      const index = events.length;
      if (key !== undefined) byKey.set(key, index);
      events.push(publishedOf(head, message, context.now));
      answers.push((offset, place) => ({
        messageId: idOf({ offset, place: place + index }),
        duplicate: false,
      }));
    }
  }
  const room = makeRoom(view, head, events, context, rules);
  if ("type" in room) return room;
  return acceptedFrom(head, [...room.events, ...events], (record, place) => ({
    messages: answers.map((answer) => answer(record, place + room.events.length)),
  }));
};

const duplicate = (messageId: string): PublishAnswer => ({ messageId, duplicate: true });

function firstWithKey(
  view: QueueView,
  head: QueueHead,
  { dedupKey }: NewMessage,
  now: number,
): EventRef | undefined {
  return dedupKey === undefined ? undefined : view.published(head.name, dedupKey, now);
}

function publishedOf(head: QueueHead, message: NewMessage, now: number): MessagePublished {
  const { config } = head;
  const { ttlMs = config.messageTtlMs, deliverAt = now + (message.delayMs ?? 0) } = message;
  const dedupKey = config.dedupWindowMs > 0 ? (message.dedupKey ?? "") : "";
  return {
    type: "queue.published",
    queue: head.name,
    payload: message.payload,
    headers: message.headers ?? NO_HEADERS,
    priority: message.priority ?? config.priority,
    maxRetries: message.maxRetries ?? config.maxRetries,
    availableAt: deliverAt > now ? deliverAt : 0,
    expiresAt: ttlMs === 0 ? 0 : now + ttlMs,
    dedupKey,
    dedupUntil: dedupKey === "" ? 0 : now + config.dedupWindowMs,
  };
}

/** Room for the messages, by what time has freed if need be: then the events that say so. */
function makeRoom(
  view: QueueView,
  head: QueueHead,
  messages: readonly MessagePublished[],
  { now }: Context,
  { queue: rules }: StoreRules,
): { readonly events: readonly QueueEvent[] } | Rejection {
  if (messages.length === 0) return { events: [] };
  if (head.dead >= rules.deadLettersMax) {
    return rejected(
      "QUEUE_FULL",
      `the queue has ${head.dead} dead letters, at most ${rules.deadLettersMax}: requeue or purge them`,
      head.lastOffset,
    );
  }
  let memoryBytes = view.memoryBytes;
  for (const { payload, headers, dedupKey } of messages) {
    memoryBytes += chargeOf(payloadBytesOf(payload), headersBytesOf(headers));
    if (dedupKey !== "") memoryBytes += keyChargeOf(dedupKey);
  }
  if (memoryBytes > rules.memoryBytesMax) {
    return rejected("QUEUE_MEMORY_FULL", "the queues' memory budget is used up", head.lastOffset);
  }
  const events = eventsForRoom(view, head, messages.length, now);
  return events === undefined ? queueFull(head) : { events };
}
