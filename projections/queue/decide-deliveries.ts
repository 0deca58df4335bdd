/** Deciders of deliveries: consume, and what a consumer says of one: ack, nack, extend. */
import type { Offset } from "../../log/index.js";
import type { Context, Decider, Rejection } from "../decision.js";
import type {
  AckCommand,
  AckManyAnswer,
  AckManyCommand,
  ConsumeAnswer,
  ConsumeCommand,
  DeliveredMessage,
  DeliveryName,
  ExtendAnswer,
  ExtendCommand,
  GiveBackAnswer,
  GiveBackCommand,
  MessageBody,
  MessageDelivered,
  MessageHead,
  NackAnswer,
  NackCommand,
  QueueEvent,
  QueueHead,
  QueueRules,
  QueueView,
} from "./contract.js";
import {
  accepted,
  acceptedFrom,
  checkConsumer,
  checkCount,
  checkSpan,
  queueNotFound,
  rejected,
} from "./decisions.js";
import { compareRefs, idOf, parseId, sameRef } from "./ids.js";
import { failed, type PassedTimes, passedTimes } from "./passed-times.js";

/** Refuses with QUEUE_NOT_FOUND, QUEUE_CONSUMER_INVALID, QUEUE_LIMIT_INVALID, QUEUE_TIME_INVALID, QUEUE_NOT_IN_BATCH. */
export const consume: Decider<ConsumeCommand, ConsumeAnswer> = (
  { queue: view },
  command,
  { now },
  { queue: rules },
) => {
  const { queue, consumer, count = 1, ackDeadlineMs } = command;
  if (view.isBatch) return rejected("QUEUE_NOT_IN_BATCH", "a batch cannot consume");
  const refused =
    checkConsumer(consumer) ?? checkCount(count, rules) ?? checkSpan("an ack deadline", ackDeadlineMs, 1);
  if (refused !== undefined) return refused;
  const head = view.queue(queue);
  if (head === undefined) return queueNotFound(view);
  const passed = passedTimes(view, head, now);
  const chosen = choose(view, head, passed, roomOf(view, head, consumer, passed, count), now, rules);
  const deadline = now + (ackDeadlineMs ?? head.config.ackDeadlineMs);
  const delivered = chosen.map(
    ({ ref }): MessageDelivered => ({ type: "queue.delivered", queue, message: ref, consumer, deadline }),
  );
  // The bodies as they are now: when the answer leaves, the message may be gone.
  const bodies = chosen.map(({ ref }) => view.body(queue, ref) ?? NO_BODY);
  return acceptedFrom(head, [...passed.events, ...delivered], (offset, place) => ({
    messages: chosen.map((message, index) =>
      deliveredAs(message, bodies[index] ?? NO_BODY, deadline, {
        offset,
        place: place + passed.events.length + index,
      }),
    ),
  }));
};

const NO_BODY: MessageBody = { payload: new Uint8Array(0), headers: {} };

function deliveredAs(
  message: MessageHead,
  body: MessageBody,
  deadline: number,
  receipt: { readonly offset: Offset; readonly place: number },
): DeliveredMessage {
  return {
    messageId: idOf(message.ref),
    receipt: idOf(receipt),
    payload: body.payload,
    headers: body.headers,
    priority: message.priority,
    retryCount: message.retryCount,
    maxRetries: message.maxRetries,
    attempt: message.retryCount + 1,
    publishedAt: message.publishedAt,
    deadline,
  };
}

/** How many the consumer may have now. */
function roomOf(
  view: QueueView,
  head: QueueHead,
  consumer: string,
  passed: PassedTimes,
  count: number,
): number {
  const { prefetchLimit } = head.config;
  if (prefetchLimit === 0) return count;
  const held = view.heldBy(head.name, consumer) - (passed.closed.get(consumer) ?? 0);
  return Math.min(count, Math.max(0, prefetchLimit - held));
}

/** The first `count` of those that wait and those that time has made ready, in order. */
function choose(
  view: QueueView,
  head: QueueHead,
  passed: PassedTimes,
  count: number,
  now: number,
  rules: QueueRules,
): readonly MessageHead[] {
  const chosen: MessageHead[] = [];
  const ready = [...passed.ready].sort(inOrder);
  let bytes = 0;
  const take = (message: MessageHead): boolean => {
    bytes += message.payloadBytes;
    if (chosen.length >= count || (chosen.length > 0 && bytes > rules.consumeBytesMax)) return false;
    chosen.push(message);
    return true;
  };
  let next = 0;
  if (count > 0) {
    for (const message of view.first(head.name, now)) {
      for (let each = ready[next]; each !== undefined && inOrder(each, message) < 0; each = ready[next]) {
        if (!take(each)) return chosen;
        next++;
      }
      if (!take(message)) return chosen;
      // Without this the walk would look at one more than is asked for.
      if (chosen.length === count) return chosen;
    }
  }
  for (const message of ready.slice(next)) if (!take(message)) break;
  return chosen;
}

function inOrder(a: MessageHead, b: MessageHead): number {
  return b.priority - a.priority || compareRefs(a.ref, b.ref);
}

/** Refuses with QUEUE_NOT_FOUND, QUEUE_MESSAGE_NOT_FOUND, QUEUE_RECEIPT_STALE; so do nack and extend. */
export const ack: Decider<AckCommand, { acked: true }> = ({ queue: view }, command, context) => {
  const open = openDelivery(view, command.queue, command, context);
  if ("type" in open) return open;
  return accepted([ackedOf(open)], () => ({ acked: true }));
};

function ackedOf({ head, message }: OpenDelivery): QueueEvent {
  return { type: "queue.acked", queue: head.name, message: message.ref };
}

/** Each for itself. Refuses with QUEUE_NOT_FOUND, QUEUE_LIMIT_INVALID. */
export const ackMany: Decider<AckManyCommand, AckManyAnswer> = (
  { queue: view },
  { queue, deliveries },
  context,
  rules,
) => {
  const refused = checkCount(deliveries.length, rules.queue);
  if (refused !== undefined) return refused;
  const head = view.queue(queue);
  if (head === undefined) return queueNotFound(view);
  const events = new Map<string, QueueEvent>();
  const results = deliveries.map((delivery): AckManyAnswer["results"][number] => {
    const open = openDelivery(view, queue, delivery, context);
    if ("type" in open) return open.code === "QUEUE_RECEIPT_STALE" ? "stale" : "not_found";
    // Twice in one command: by then it is acked.
    if (events.has(delivery.messageId)) return delivery.receipt === undefined ? "not_found" : "stale";
    events.set(delivery.messageId, ackedOf(open));
    return "acked";
  });
  return acceptedFrom(head, [...events.values()], () => ({ acked: events.size, results }));
};

/** Gives a message back, or up. Refuses with QUEUE_TIME_INVALID too. */
export const nack: Decider<NackCommand, NackAnswer> = ({ queue: view }, command, context) => {
  const { requeue = true, delayMs } = command;
  const refused = checkSpan("a delay", delayMs, 0);
  if (refused !== undefined) return refused;
  const open = openDelivery(view, command.queue, command, context);
  if ("type" in open) return open;
  const { head, message } = open;
  const retryCount = message.retryCount + 1;
  if (!requeue) {
    const about = { queue: head.name, message: message.ref };
    return accepted([{ type: "queue.died", ...about, by: "nack", reason: "rejected", retryCount }], () => ({
      outcome: "dead",
      retryCount,
    }));
  }
  const event = failed(head, message, context.now, "nack", delayMs);
  const outcome = outcomeOf(event);
  return accepted([event], () => ({ outcome, retryCount }));
};

/**
 * For a consumer that was gone before its answer left: the messages wait again at their places, and no retry is counted. What is not
 * open any more stays as it is. Refuses with QUEUE_NOT_FOUND.
 */
export const giveBack: Decider<GiveBackCommand, GiveBackAnswer> = ({ queue: view }, command, context) => {
  const { queue, deliveries } = command;
  const head = view.queue(queue);
  if (head === undefined) return queueNotFound(view);
  const events = deliveries.flatMap((delivery): QueueEvent[] => {
    const open = openDelivery(view, queue, delivery, context);
    if ("type" in open) return [];
    const { ref, retryCount } = open.message;
    return [{ type: "queue.requeued", queue, message: ref, by: "unsent", retryCount, availableAt: 0 }];
  });
  return acceptedFrom(head, events, () => ({ givenBack: events.length }));
};

function outcomeOf(event: ReturnType<typeof failed>): NackAnswer["outcome"] {
  if (event.type === "queue.died") return "dead";
  if (event.type === "queue.expired") return "expired";
  return event.availableAt === 0 ? "waiting" : "delayed";
}

/** Moves an open delivery's deadline, also nearer. Refuses with QUEUE_TIME_INVALID too. */
export const extend: Decider<ExtendCommand, ExtendAnswer> = ({ queue: view }, command, context) => {
  const { ackDeadlineMs } = command;
  const refused = checkSpan("an ack deadline", ackDeadlineMs, 1);
  if (refused !== undefined) return refused;
  const open = openDelivery(view, command.queue, command, context);
  if ("type" in open) return open;
  const { head, message } = open;
  const deadline = context.now + (ackDeadlineMs ?? head.config.ackDeadlineMs);
  return accepted(
    [{ type: "queue.deadline_extended", queue: head.name, message: message.ref, deadline }],
    () => ({ deadline }),
  );
};

interface OpenDelivery {
  readonly head: QueueHead;
  readonly message: MessageHead;
}

/**
 * The open delivery that a consumer means. With a receipt it must be that very delivery, else QUEUE_RECEIPT_STALE whatever became
 * of the message; without one the message must be in flight, else QUEUE_MESSAGE_NOT_FOUND. A delivery whose deadline has passed
 * is not open, though the event that says so may still be to come.
 */
function openDelivery(
  view: QueueView,
  queue: string,
  { messageId, receipt }: DeliveryName,
  { now }: Context,
): OpenDelivery | Rejection {
  const head = view.queue(queue);
  if (head === undefined) return queueNotFound(view);
  const ref = parseId(messageId);
  const message = ref && view.message(queue, ref);
  const delivery = message?.delivery;
  if (message !== undefined && delivery !== undefined && delivery.deadline > now) {
    const meant = receipt === undefined ? delivery.receipt : parseId(receipt);
    if (meant !== undefined && sameRef(meant, delivery.receipt)) return { head, message };
  }
  if (receipt !== undefined) {
    return rejected("QUEUE_RECEIPT_STALE", "this delivery is not open any more", head.lastOffset);
  }
  return rejected("QUEUE_MESSAGE_NOT_FOUND", "no such message is in flight", head.lastOffset);
}
