/**
 * What time does to messages, as events: a delayed one becomes ready, one past its ttl expires, an open delivery past its deadline
 * fails. Deciders put these events before their own, so that they decide as if the timer had been quicker than the command.
 */
import { ROUND_BYTES_MAX } from "../round-bytes.js";
import type {
  Backoff,
  MessageDied,
  MessageEvent,
  MessageExpired,
  MessageHead,
  MessageRequeued,
  QueueHead,
  QueueView,
} from "./contract.js";

/** More than that in one command would hold up the others; what is left passes with the next. */
const PASSED_PER_COMMAND = 256;
/** Half of what there may be besides, for a command has headers and names of its own. */
const PASSED_BYTES_PER_COMMAND = ROUND_BYTES_MAX / 2;
/** What an event of a message takes in a record beside its queue's name, at most. */
const EVENT_BYTES = 48;

export interface PassedTimes {
  readonly events: readonly MessageEvent[];
  /** Messages that wait again, as they will be. */
  readonly ready: readonly MessageHead[];
  /** How many do not count for the depth any more: expired or dead. */
  readonly freed: number;
  /** Deliveries that closed, by consumer. */
  readonly closed: ReadonlyMap<string, number>;
}

/** The events that must come before so many more messages, so that the queue holds no more than its depth; undefined = it is full. */
export function eventsForRoom(
  view: QueueView,
  head: QueueHead,
  messages: number,
  now: number,
): readonly MessageEvent[] | undefined {
  const depth = head.waiting + head.delayed + head.inFlight + messages;
  if (depth <= head.config.maxDepth) return [];
  const { events, freed } = passedTimes(view, head, now);
  return depth - freed <= head.config.maxDepth ? events : undefined;
}

/** What the event of a passed time takes in a record, at most. */
export const passedBytesOf = (queue: string): number => EVENT_BYTES + Buffer.byteLength(queue);

const besideCommand = ({ name }: QueueHead): number =>
  Math.min(PASSED_PER_COMMAND, Math.floor(PASSED_BYTES_PER_COMMAND / passedBytesOf(name)));

/** What has passed in one queue. */
export function passedTimes(
  view: QueueView,
  queue: QueueHead,
  now: number,
  limit = besideCommand(queue),
): PassedTimes {
  const events: MessageEvent[] = [];
  const ready: MessageHead[] = [];
  const closed = new Map<string, number>();
  let freed = 0;
  for (const message of view.due(queue.name, now, limit)) {
    const event = passed(queue, message, now);
    events.push(event);
    if (event.type === "queue.released") ready.push(message);
    else if (event.type !== "queue.requeued") freed++;
    else if (event.availableAt === 0) ready.push({ ...message, retryCount: event.retryCount });
    const { consumer } = message.delivery ?? {};
    if (consumer !== undefined) closed.set(consumer, (closed.get(consumer) ?? 0) + 1);
  }
  return { events, ready, freed, closed };
}

function passed(queue: QueueHead, message: MessageHead, now: number): MessageEvent {
  if (message.state === "in_flight") return failed(queue, message, now, "deadline");
  if (hasExpired(message, now)) return { type: "queue.expired", queue: queue.name, message: message.ref };
  return { type: "queue.released", queue: queue.name, message: message.ref };
}

const hasExpired = ({ expiresAt }: MessageHead, now: number): boolean => expiredBy(expiresAt, now);

/** 0 = never. */
export const expiredBy = (expiresAt: number, now: number): boolean => expiresAt > 0 && expiresAt <= now;

/**
 * What becomes of a message whose delivery failed: dead after its last retry, gone when its ttl has passed, else it waits again,
 * after `delayMs` or the queue's backoff.
 */
export function failed(
  queue: QueueHead,
  message: MessageHead,
  now: number,
  by: "nack" | "deadline",
  delayMs?: number,
): MessageRequeued | MessageDied | MessageExpired {
  const about = { queue: queue.name, message: message.ref };
  const retryCount = message.retryCount + 1;
  if (retryCount > message.maxRetries) {
    return { type: "queue.died", ...about, by, reason: "max_retries", retryCount };
  }
  if (hasExpired(message, now)) return { type: "queue.expired", ...about };
  const delay = delayMs ?? backoffMs(queue.config.backoff, retryCount);
  return { type: "queue.requeued", ...about, by, retryCount, availableAt: delay === 0 ? 0 : now + delay };
}

function backoffMs({ type, delayMs, maxDelayMs }: Backoff, retryCount: number): number {
  if (type === "none") return 0;
  if (type === "fixed") return delayMs;
  // Past 2^40 every bound is reached; further powers are no integers.
  return Math.min(maxDelayMs, delayMs * 2 ** Math.min(40, retryCount - 1));
}
