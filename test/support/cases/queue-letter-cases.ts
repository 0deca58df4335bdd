/** Cases of looking at messages, and of dead letters. */
import { NOW, type OperationCase } from "./case.js";
import { consume, create, publish } from "./queue-cases.js";

const seen = (id: string, payload: unknown, state: string) => ({
  message_id: id,
  state,
  payload,
  priority: 5,
  retry_count: 0,
  max_retries: 3,
  headers: {},
  published_at: NOW,
});

/** Publishes and buries, one record each: message ids 2-0, 5-0, … */
const dead = (text: string, id: string): readonly (readonly [string, object])[] => [
  publish(text),
  consume(),
  ["queue.nack", { queue: "q", message_id: id, requeue: false }],
];
const two = [create(), ...dead("a", "2-0"), ...dead("b", "5-0")];

const letter = (id: string, payload: unknown) => ({
  ...seen(id, payload, "dead"),
  retry_count: 1,
  died_at: NOW,
  reason: "rejected",
});

const nowhere = (operation: string, extra: object = {}): OperationCase => ({
  operation,
  says: "nowhere",
  input: { queue: "q", ...extra },
  error: "QUEUE_NOT_FOUND",
});
const notThere = (operation: string): OperationCase => ({
  operation,
  says: "a message that is not there",
  given: [create()],
  input: { queue: "q", message_id: "9-0" },
  error: "QUEUE_MESSAGE_NOT_FOUND",
});
const tooMany = (operation: string): OperationCase => ({
  operation,
  says: "too many",
  given: [create()],
  input: { queue: "q", limit: 1001 },
  error: "QUEUE_LIMIT_INVALID",
});

export const letterCases: readonly OperationCase[] = [
  {
    operation: "queue.peek",
    says: "what comes next, and takes nothing",
    given: [create(), publish("a"), publish("b", { priority: 9, ttl_secs: 60 }), publish("c")],
    input: { queue: "q", limit: 2 },
    payload: {
      messages: [
        { ...seen("3-0", [98], "waiting"), priority: 9, expires_at: NOW + 60_000 },
        seen("2-0", [97], "waiting"),
      ],
      count: 2,
    },
  },
  {
    operation: "queue.peek",
    says: "text as text, if asked",
    given: [create(), publish("a")],
    input: { queue: "q", type: "string" },
    payload: { messages: [seen("2-0", "a", "waiting")], count: 1 },
  },
  nowhere("queue.peek"),
  tooMany("queue.peek"),
  {
    operation: "queue.get",
    says: "one in flight, and who has it",
    given: [create(), publish("a"), consume()],
    input: { queue: "q", message_id: "2-0", type: "string" },
    payload: { ...seen("2-0", "a", "in_flight"), consumer_id: "c", deadline_at: NOW + 30_000 },
  },
  {
    operation: "queue.get",
    says: "a delayed one",
    given: [create(), publish("a", { delay_secs: 2 })],
    input: { queue: "q", message_id: "2-0" },
    payload: { ...seen("2-0", [97], "delayed"), available_at: NOW + 2000 },
  },
  nowhere("queue.get", { message_id: "2-0" }),
  notThere("queue.get"),
  {
    operation: "queue.dlq_list",
    says: "in the order of death",
    given: two,
    input: { queue: "q" },
    payload: { messages: [letter("2-0", [97]), letter("5-0", [98])], count: 2, cursor: null },
  },
  {
    operation: "queue.dlq_list",
    says: "nothing",
    given: [create()],
    input: { queue: "q", type: "string" },
    payload: { messages: [], count: 0, cursor: null },
  },
  nowhere("queue.dlq_list"),
  tooMany("queue.dlq_list"),
  {
    operation: "queue.dlq_read",
    says: "one",
    given: two,
    input: { queue: "q", message_id: "5-0", type: "string" },
    payload: letter("5-0", "b"),
  },
  {
    operation: "queue.dlq_read",
    says: "not one that lives",
    given: [create(), publish("a")],
    input: { queue: "q", message_id: "2-0" },
    error: "QUEUE_MESSAGE_NOT_FOUND",
  },
  nowhere("queue.dlq_read", { message_id: "2-0" }),
  {
    operation: "queue.dlq_requeue",
    says: "one",
    given: two,
    input: { queue: "q", message_id: "5-0" },
    payload: { success: true, requeued: 1, remaining: 1 },
  },
  {
    operation: "queue.dlq_requeue",
    says: "all",
    given: two,
    input: { queue: "q" },
    payload: { success: true, requeued: 2, remaining: 0 },
  },
  {
    operation: "queue.dlq_requeue",
    says: "the oldest",
    given: two,
    input: { queue: "q", limit: 1 },
    payload: { success: true, requeued: 1, remaining: 1 },
  },
  {
    operation: "queue.dlq_requeue",
    says: "into a full queue",
    given: [create("q", { max_depth: 1 }), ...dead("a", "2-0"), publish("b")],
    input: { queue: "q", message_id: "2-0" },
    error: "QUEUE_FULL",
  },
  nowhere("queue.dlq_requeue"),
  notThere("queue.dlq_requeue"),
  tooMany("queue.dlq_requeue"),
  {
    operation: "queue.dlq_purge",
    says: "all",
    given: two,
    input: { queue: "q" },
    payload: { success: true, purged: 2 },
  },
  nowhere("queue.dlq_purge"),
];
