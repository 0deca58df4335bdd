/**
 * Queries of the queue projection. Each says with its answer the offset of the last change that the answer tells of: the store
 * lets nothing leave before that is committed.
 */
import { BEFORE_FIRST, type Offset } from "../../log/index.js";
import type { Reader, Seen } from "../decision.js";
import type {
  DeadLettersAnswer,
  DeadLettersQuery,
  ListAnswer,
  MessageHead,
  MessageQuery,
  OverdueQuery,
  PeekAnswer,
  PeekQuery,
  QueueQuery,
  QueueStats,
  QueueView,
  SeenMessage,
} from "./contract.js";
import { queueNotFound, rejected } from "./decisions.js";
import { idOf, parseId } from "./ids.js";

/** Most messages of one page. */
const PAGE_MAX = 1_000;
/** Most payload bytes of one page; the first message always comes. */
const PAGE_BYTES_MAX = 8 << 20;

function seen<Answer>(answer: Answer, offset: Offset): Seen<Answer> {
  return { type: "seen", answer, seen: offset };
}

/** Sorted. */
export const list: Reader<Record<string, never>, ListAnswer> = ({ queue: view }) =>
  seen({ queues: view.names() }, view.lastListChange);

/** Refuses with QUEUE_NOT_FOUND. */
export const stats: Reader<QueueQuery, QueueStats> = ({ queue: view }, { queue }) => {
  const found = view.stats(queue);
  return found === undefined ? queueNotFound(view) : seen(found, found.lastOffset);
};

/** Whether time has passed for more than `limit` messages that no record tells of yet. It tells of nothing in the log, so it waits for none. */
export const isOverdue: Reader<OverdueQuery, boolean> = ({ queue: view }, { queue, limit }, { now }) =>
  seen(view.due(queue, now, limit + 1).length > limit, BEFORE_FIRST);

/** The next messages to be consumed, left where they are. Refuses with QUEUE_NOT_FOUND, QUEUE_LIMIT_INVALID. */
export const peek: Reader<PeekQuery, PeekAnswer> = ({ queue: view }, { queue, limit }, { now }) => {
  if (!isPage(limit)) return badPage();
  const head = view.queue(queue);
  if (head === undefined) return queueNotFound(view);
  const waiting: MessageHead[] = [];
  for (const message of view.first(queue, now)) {
    waiting.push(message);
    if (waiting.length === limit) break;
  }
  const messages = pageOf(waiting, limit).map((message) => shown(view, queue, message));
  return seen({ messages }, head.lastOffset);
};

/** Refuses with QUEUE_NOT_FOUND, QUEUE_LIMIT_INVALID, QUEUE_MESSAGE_NOT_FOUND (a cursor that no page gave). */
export const deadLetters: Reader<DeadLettersQuery, DeadLettersAnswer> = ({ queue: view }, query) => {
  const { queue, limit, cursor } = query;
  if (!isPage(limit)) return badPage();
  const head = view.queue(queue);
  if (head === undefined) return queueNotFound(view);
  const after = cursor === undefined ? undefined : parseId(cursor);
  if (cursor !== undefined && after === undefined) {
    return rejected("QUEUE_MESSAGE_NOT_FOUND", "the cursor is not one that a page gave", head.lastOffset);
  }
  const letters = view.deadLetters(queue, limit + 1, after);
  const page = pageOf(letters, limit);
  const last = letters.length > page.length ? page.at(-1)?.death : undefined;
  const messages = page.map((letter) => shown(view, queue, letter));
  return seen(last === undefined ? { messages } : { messages, cursor: idOf(last.ref) }, head.lastOffset);
};

/** One message, whatever its state. Refuses with QUEUE_NOT_FOUND, QUEUE_MESSAGE_NOT_FOUND. */
export const get: Reader<MessageQuery, SeenMessage> = ({ queue: view }, { queue, messageId }) => {
  const head = view.queue(queue);
  if (head === undefined) return queueNotFound(view);
  const ref = parseId(messageId);
  const message = ref && view.message(queue, ref);
  if (message === undefined) {
    return rejected("QUEUE_MESSAGE_NOT_FOUND", "the message is not there", head.lastOffset);
  }
  return seen(shown(view, queue, message), head.lastOffset);
};

/** The first that fit into one page. */
function pageOf(messages: readonly MessageHead[], limit: number): readonly MessageHead[] {
  let bytes = 0;
  const tooLarge = messages.findIndex(({ payloadBytes }, at) => {
    bytes += payloadBytes;
    return at > 0 && bytes > PAGE_BYTES_MAX;
  });
  return messages.slice(0, tooLarge < 0 ? limit : Math.min(limit, tooLarge));
}

function shown(view: QueueView, queue: string, message: MessageHead): SeenMessage {
  const { ref, delivery, death, payloadBytes: _, ...rest } = message;
  const body = view.body(queue, ref) ?? { payload: new Uint8Array(0), headers: {} };
  return {
    messageId: idOf(ref),
    ...rest,
    ...body,
    ...(delivery && { delivery: { consumer: delivery.consumer, deadline: delivery.deadline } }),
    ...(death && { death: { reason: death.reason, at: death.at } }),
  };
}

/** The last record that may tell of a message of this queue, whether the queue is there or not. */
export const lifeEnd: Reader<QueueQuery, Offset> = ({ queue: view }, { queue }) => {
  const last = view.queue(queue)?.lastOffset ?? view.lastListChange;
  return seen(last, last);
};

function isPage(limit: number): boolean {
  return Number.isSafeInteger(limit) && limit >= 1 && limit <= PAGE_MAX;
}

function badPage(): ReturnType<typeof rejected> {
  return rejected("QUEUE_LIMIT_INVALID", `one page has 1 to ${PAGE_MAX} messages`);
}
