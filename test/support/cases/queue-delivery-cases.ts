/** Cases of what consumers do. */
import { NOW, type OperationCase } from "./case.js";
import { consume, create, publish } from "./queue-cases.js";

const delivered = (payload: unknown, receipt: string) => ({
  payload,
  priority: 5,
  retry_count: 0,
  max_retries: 3,
  headers: {},
  receipt,
  attempt: 1,
  published_at: NOW,
  deadline_at: NOW + 30_000,
});

/** A message as the envelope and as REST show it. */
const one = (id: string, fields: object) => ({
  payload: { message: { id, ...fields } },
  rest: { message_id: id, ...fields },
});

const NOTHING = {
  payload: { message: null },
  rest: Object.fromEntries(["message_id", ...Object.keys(delivered("", ""))].map((name) => [name, null])),
};

const consumeCases: readonly OperationCase[] = [
  {
    operation: "queue.consume",
    says: "the payload as bytes, with everything that was published",
    given: [create(), publish("é", { headers: { a: "b" }, priority: 9, max_retries: 1 })],
    input: { queue: "q", consumer_id: "c" },
    ...one("2-0", { ...delivered([195, 169], "3-0"), headers: { a: "b" }, priority: 9, max_retries: 1 }),
  },
  {
    operation: "queue.consume",
    says: "text as text, if asked",
    given: [create(), publish("é")],
    input: { queue: "q", consumer_id: "c/1", type: "string", ack_deadline_secs: 2.5 },
    ...one("2-0", { ...delivered("é", "3-0"), deadline_at: NOW + 2500 }),
  },
  {
    operation: "queue.consume",
    says: "bytes that are no text as bytes, even if asked for text",
    given: [create(), ["queue.publish", { queue: "q", payload: [255] }]],
    input: { queue: "q", consumer_id: "c", type: "string" },
    ...one("2-0", delivered([255], "3-0")),
  },
  {
    operation: "queue.consume",
    says: "nothing when there is nothing",
    given: [create()],
    input: { queue: "q", consumer_id: "c" },
    ...NOTHING,
  },
  {
    operation: "queue.consume",
    says: "nothing before its time",
    given: [create(), publish("a", { delay_secs: 1 })],
    input: { queue: "q", consumer_id: "c" },
    ...NOTHING,
  },
  {
    operation: "queue.consume",
    says: "nothing at once, although asked to wait",
    given: [create(), publish("a")],
    input: { queue: "q", consumer_id: "c", wait_secs: 60 },
    ...one("2-0", delivered([97], "3-0")),
  },
  {
    operation: "queue.consume",
    says: "nothing after the wait",
    given: [create()],
    input: { queue: "q", consumer_id: "c", wait_secs: 0.02 },
    ...NOTHING,
  },
  {
    operation: "queue.consume",
    says: "several, the highest priority first",
    given: [create(), publish("a"), publish("b"), publish("c", { priority: 9 })],
    input: { queue: "q", consumer_id: "c", count: 2 },
    payload: {
      messages: [
        { message_id: "4-0", ...delivered([99], "5-0"), priority: 9 },
        { message_id: "2-0", ...delivered([97], "5-1") },
      ],
    },
  },
  {
    operation: "queue.consume",
    says: "none of several",
    given: [create()],
    input: { queue: "q", consumer_id: "c", count: 5 },
    payload: { messages: [] },
  },
  {
    operation: "queue.consume",
    says: "no more than it may hold",
    given: [create("q", { prefetch_limit: 1 }), publish("a"), publish("b"), consume()],
    input: { queue: "q", consumer_id: "c", count: 5 },
    payload: { messages: [] },
  },
  {
    operation: "queue.consume",
    says: "from nowhere",
    input: { queue: "q", consumer_id: "c" },
    error: "QUEUE_NOT_FOUND",
  },
  {
    operation: "queue.consume",
    says: "from nowhere, although it would wait",
    input: { queue: "q", consumer_id: "c", wait_secs: 60 },
    error: "QUEUE_NOT_FOUND",
  },
  {
    operation: "queue.consume",
    says: "by a name without end",
    given: [create()],
    input: { queue: "q", consumer_id: "c".repeat(300) },
    error: "QUEUE_CONSUMER_INVALID",
  },
  {
    operation: "queue.consume",
    says: "among too many who wait",
    given: [create()],
    input: { queue: "q", consumer_id: "c", wait_secs: 1 },
    limits: { waitingRequestsMax: 0 },
    error: "API_WAITING_FULL",
  },
  {
    operation: "queue.consume",
    says: "without time to do it",
    given: [create(), publish("a")],
    input: { queue: "q", consumer_id: "c", ack_deadline_secs: 0 },
    error: "QUEUE_TIME_INVALID",
  },
  {
    operation: "queue.consume",
    says: "too many",
    given: [create()],
    input: { queue: "q", consumer_id: "c", count: 1001 },
    error: "QUEUE_LIMIT_INVALID",
  },
];

/** Message 2-0, delivered at 3-0, and after that, at 5-0, once more. */
const inFlight = [create(), publish("a"), consume()];
const again = [...inFlight, ["queue.nack", { queue: "q", message_id: "2-0" }] as const, consume()];

/** What is the same for everything that names a delivery. */
const deliveryCases = (operation: string, extra: object): readonly OperationCase[] => [
  {
    operation,
    says: "nowhere",
    input: { queue: "q", message_id: "2-0", ...extra },
    error: "QUEUE_NOT_FOUND",
  },
  {
    operation,
    says: "a message that nobody has",
    given: [create(), publish("a")],
    input: { queue: "q", message_id: "2-0", ...extra },
    error: "QUEUE_MESSAGE_NOT_FOUND",
  },
  {
    operation,
    says: "an id that is none",
    given: inFlight,
    input: { queue: "q", message_id: "x", ...extra },
    error: "QUEUE_MESSAGE_NOT_FOUND",
  },
  {
    operation,
    says: "an old receipt",
    given: again,
    input: { queue: "q", message_id: "2-0", receipt: "3-0", ...extra },
    error: "QUEUE_RECEIPT_STALE",
  },
];

const ackCases: readonly OperationCase[] = [
  {
    operation: "queue.ack",
    says: "by the message alone",
    given: inFlight,
    input: { queue: "q", message_id: "2-0" },
    payload: { success: true },
  },
  {
    operation: "queue.ack",
    says: "by its receipt",
    given: again,
    input: { queue: "q", message_id: "2-0", receipt: "5-0" },
    payload: { success: true },
  },
  ...deliveryCases("queue.ack", {}),
  {
    operation: "queue.ack_batch",
    says: "each for itself",
    given: [create(), publish("a"), publish("b"), consume({ count: 2 })],
    input: {
      queue: "q",
      messages: [
        { message_id: "2-0", receipt: "4-0" },
        { message_id: "2-0" },
        { message_id: "3-0", receipt: "9-9" },
        { message_id: "3-0" },
      ],
    },
    payload: { acked: 2, results: ["acked", "not_found", "stale", "acked"] },
  },
  {
    operation: "queue.ack_batch",
    says: "nowhere",
    input: { queue: "q", messages: [{ message_id: "2-0" }] },
    error: "QUEUE_NOT_FOUND",
  },
  {
    operation: "queue.ack_batch",
    says: "too many",
    given: [create()],
    input: { queue: "q", messages: [{ message_id: "2-0" }, { message_id: "3-0" }] },
    queueRules: { batchMax: 1 },
    error: "QUEUE_LIMIT_INVALID",
  },
];

const nackCases: readonly OperationCase[] = [
  {
    operation: "queue.nack",
    says: "to be delivered again",
    given: inFlight,
    input: { queue: "q", message_id: "2-0", receipt: "3-0", requeue: true },
    payload: { success: true, outcome: "waiting", retry_count: 1 },
  },
  {
    operation: "queue.nack",
    says: "later",
    given: inFlight,
    input: { queue: "q", message_id: "2-0", requeue: true, delay_secs: 5 },
    payload: { success: true, outcome: "delayed", retry_count: 1 },
  },
  {
    operation: "queue.nack",
    says: "never again",
    given: inFlight,
    input: { queue: "q", message_id: "2-0", requeue: false },
    payload: { success: true, outcome: "dead", retry_count: 1 },
  },
  {
    operation: "queue.nack",
    says: "again by default",
    given: inFlight,
    input: { queue: "q", message_id: "2-0" },
    envelopeOnly: true,
    payload: { success: true, outcome: "waiting", retry_count: 1 },
  },
  {
    operation: "queue.nack",
    says: "after the last retry",
    given: [create("q", { default_max_retries: 0 }), publish("a"), consume()],
    input: { queue: "q", message_id: "2-0", requeue: true },
    payload: { success: true, outcome: "dead", retry_count: 1 },
  },
  {
    operation: "queue.nack",
    says: "after a thousand years",
    given: inFlight,
    input: { queue: "q", message_id: "2-0", requeue: true, delay_secs: 1e9 },
    error: "QUEUE_TIME_INVALID",
  },
  ...deliveryCases("queue.nack", { requeue: true }),
];

const extendCases: readonly OperationCase[] = [
  {
    operation: "queue.extend",
    says: "as long as asked",
    given: inFlight,
    input: { queue: "q", message_id: "2-0", receipt: "3-0", ack_deadline_secs: 90 },
    payload: { success: true, deadline_at: NOW + 90_000 },
  },
  {
    operation: "queue.extend",
    says: "as long as the queue gives",
    given: [create("q", { ack_deadline_secs: 7 }), publish("a"), consume({ ack_deadline_secs: 1 })],
    input: { queue: "q", message_id: "2-0" },
    payload: { success: true, deadline_at: NOW + 7000 },
  },
  {
    operation: "queue.extend",
    says: "by nothing",
    given: inFlight,
    input: { queue: "q", message_id: "2-0", ack_deadline_secs: 0 },
    error: "QUEUE_TIME_INVALID",
  },
  ...deliveryCases("queue.extend", {}),
];

export const consumerCases: readonly OperationCase[] = [
  ...consumeCases,
  ...ackCases,
  ...nackCases,
  ...extendCases,
];
