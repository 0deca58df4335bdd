/** Cases of the operations on queues themselves, and of publishing. */
import { NOW, type OperationCase } from "./case.js";

export const create = (name = "q", config: object = {}): readonly [string, object] => [
  "queue.create",
  { name, config },
];
export const publish = (text: string, extra: object = {}): readonly [string, object] => [
  "queue.publish",
  { queue: "q", payload: text, ...extra },
];
export const consume = (extra: object = {}): readonly [string, object] => [
  "queue.consume",
  { queue: "q", consumer_id: "c", ...extra },
];

const CONFIG = {
  max_depth: 100_000,
  ack_deadline_secs: 30,
  default_max_retries: 3,
  default_priority: 5,
  prefetch_limit: 0,
  backoff: { type: "none" },
  message_ttl_secs: 0,
  dedup_window_secs: 300,
};

const twoHours = { delay_secs: 7_200 };
const createCases: readonly OperationCase[] = [
  ...["fixed", "exponential"].map(
    (type): OperationCase => ({
      operation: "queue.create",
      says: `with a ${type} backoff that begins above the default of its longest delay`,
      input: { name: "q", backoff: { type, ...twoHours } },
      payload: {
        success: true,
        queue: "q",
        created: true,
        config: { ...CONFIG, backoff: { type, ...twoHours, max_delay_secs: 7_200 } },
      },
    }),
  ),
  {
    operation: "queue.create",
    says: "with the documented defaults",
    input: { name: "q" },
    payload: { success: true, queue: "q", created: true, config: CONFIG },
  },
  {
    operation: "queue.create",
    says: "as configured",
    input: {
      name: "jobs/ü",
      max_depth: 5,
      ack_deadline_secs: 1.5,
      default_max_retries: 0,
      default_priority: 12,
      prefetch_limit: 2,
      backoff: { type: "exponential", delay_secs: 1, max_delay_secs: 60 },
      message_ttl_secs: 60,
      dedup_window_secs: 0,
    },
    payload: {
      success: true,
      queue: "jobs/ü",
      created: true,
      config: {
        max_depth: 5,
        ack_deadline_secs: 1.5,
        default_max_retries: 0,
        default_priority: 9,
        prefetch_limit: 2,
        backoff: { type: "exponential", delay_secs: 1, max_delay_secs: 60 },
        message_ttl_secs: 60,
        dedup_window_secs: 0,
      },
    },
  },
  {
    operation: "queue.create",
    says: "one default alone, as the envelope gives it",
    input: { name: "q", config: { default_priority: 2 } },
    payload: { success: true, queue: "q", created: true, config: { ...CONFIG, default_priority: 2 } },
  },
  {
    operation: "queue.create",
    says: "again keeps the configuration",
    given: [create("q", { max_depth: 7 })],
    input: { name: "q", max_depth: 9 },
    payload: { success: true, queue: "q", created: false, config: { ...CONFIG, max_depth: 7 } },
  },
  {
    operation: "queue.create",
    says: "a name without end",
    input: { name: "n".repeat(300) },
    error: "QUEUE_NAME_INVALID",
  },
  {
    operation: "queue.create",
    says: "room for nothing",
    input: { name: "q", max_depth: 0 },
    error: "QUEUE_CONFIG_INVALID",
  },
  {
    operation: "queue.create",
    says: "one too many",
    given: [create("a")],
    input: { name: "q" },
    queueRules: { queuesMax: 1 },
    error: "QUEUE_TOO_MANY",
  },
  {
    operation: "queue.create",
    says: "a setting that is none",
    input: { name: "q", config: { max_dept: 5 } },
    error: "API_FIELD_UNKNOWN",
  },
];

const published = (id: string) => ({ message_id: id, duplicate: false });

const publishCases: readonly OperationCase[] = [
  {
    operation: "queue.publish",
    says: "bytes, with everything",
    given: [create()],
    input: {
      queue: "q",
      payload: [0, 255, 97],
      priority: 200,
      max_retries: 1,
      headers: { a: "b" },
      delay_secs: 0.5,
      ttl_secs: 60,
      message_key: "k",
    },
    payload: published("2-0"),
  },
  {
    operation: "queue.publish",
    says: "text",
    given: [create()],
    input: { queue: "q", payload: "é" },
    payload: published("2-0"),
  },
  {
    operation: "queue.publish",
    says: "for a time",
    given: [create()],
    input: { queue: "q", payload: [], deliver_at: NOW + 1 },
    payload: published("2-0"),
  },
  {
    operation: "queue.publish",
    says: "a key again",
    given: [create(), publish("a", { message_key: "k" })],
    input: { queue: "q", payload: "b", message_key: "k" },
    payload: { message_id: "2-0", duplicate: true },
  },
  {
    operation: "queue.publish",
    says: "to nowhere",
    input: { queue: "q", payload: [] },
    error: "QUEUE_NOT_FOUND",
  },
  {
    operation: "queue.publish",
    says: "into a full queue",
    given: [create("q", { max_depth: 1 }), publish("a")],
    input: { queue: "q", payload: [] },
    error: "QUEUE_FULL",
  },
  {
    operation: "queue.publish",
    says: "without memory for it",
    given: [create()],
    input: { queue: "q", payload: "x".repeat(5000) },
    queueRules: { memoryBytesMax: 1000 },
    error: "QUEUE_MEMORY_FULL",
  },
  {
    operation: "queue.publish",
    says: "a lone surrogate",
    given: [create()],
    input: '{"queue":"q","payload":"\\ud800"}',
    error: "QUEUE_MESSAGE_INVALID",
  },
  {
    operation: "queue.publish",
    says: "too much",
    given: [create()],
    input: { queue: "q", payload: "xxxx" },
    queueRules: { payloadBytesMax: 3 },
    error: "QUEUE_PAYLOAD_TOO_LARGE",
  },
  {
    operation: "queue.publish",
    says: "two times at once",
    given: [create()],
    input: { queue: "q", payload: [], delay_secs: 1, deliver_at: NOW + 1 },
    error: "QUEUE_TIME_INVALID",
  },
  {
    operation: "queue.publish",
    says: "a number that is no byte",
    given: [create()],
    input: { queue: "q", payload: [256] },
    error: "API_FIELD_INVALID",
  },
  {
    operation: "queue.publish",
    says: "a time in seconds",
    given: [create()],
    input: { queue: "q", payload: [], deliver_at: 1_700_000_000 },
    error: "API_FIELD_INVALID",
  },
  {
    operation: "queue.publish",
    says: "nothing",
    given: [create()],
    input: { queue: "q" },
    error: "API_FIELD_MISSING",
  },
];

const batchOf = (...messages: object[]) => ({ queue: "q", messages });

const publishBatchCases: readonly OperationCase[] = [
  {
    operation: "queue.publish_batch",
    says: "in order",
    given: [create()],
    input: batchOf({ payload: "a" }, { payload: [98], priority: 9 }),
    payload: { messages: [published("2-0"), published("2-1")] },
  },
  {
    operation: "queue.publish_batch",
    says: "none if one does not fit",
    given: [create("q", { max_depth: 1 })],
    input: batchOf({ payload: "a" }, { payload: "b" }),
    error: "QUEUE_FULL",
  },
  {
    operation: "queue.publish_batch",
    says: "to nowhere",
    input: batchOf({ payload: "a" }),
    error: "QUEUE_NOT_FOUND",
  },
  {
    operation: "queue.publish_batch",
    says: "too many",
    given: [create()],
    input: batchOf({ payload: "a" }, { payload: "b" }),
    queueRules: { batchMax: 1 },
    error: "QUEUE_LIMIT_INVALID",
  },
  {
    operation: "queue.publish_batch",
    says: "without memory for one",
    given: [create()],
    input: batchOf({ payload: "a" }, { payload: "x".repeat(5000) }),
    queueRules: { memoryBytesMax: 1000 },
    error: "QUEUE_MEMORY_FULL",
  },
  {
    operation: "queue.publish_batch",
    says: "one lone surrogate",
    given: [create()],
    input: '{"queue":"q","messages":[{"payload":"a"},{"payload":"\\udfff"}]}',
    error: "QUEUE_MESSAGE_INVALID",
  },
  {
    operation: "queue.publish_batch",
    says: "one too large",
    given: [create()],
    input: batchOf({ payload: "a" }, { payload: "xxxx" }),
    queueRules: { payloadBytesMax: 3 },
    error: "QUEUE_PAYLOAD_TOO_LARGE",
  },
  {
    operation: "queue.publish_batch",
    says: "one with two times",
    given: [create()],
    input: batchOf({ payload: "a", delay_secs: 1, deliver_at: NOW + 1 }),
    error: "QUEUE_TIME_INVALID",
  },
];

const TOTALS = {
  depth: 0,
  delayed: 0,
  in_flight: 0,
  dlq_count: 0,
  consumers: 0,
  published: 0,
  consumed: 0,
  acked: 0,
  nacked: 0,
  timed_out: 0,
  dead_lettered: 0,
  dead_requeued: 0,
  purged: 0,
  expired: 0,
  config: CONFIG,
};

export const queueCases: readonly OperationCase[] = [
  ...createCases,
  ...publishCases,
  ...publishBatchCases,
  {
    operation: "queue.list",
    says: "sorted",
    given: [create("b"), create("a")],
    input: {},
    payload: { queues: ["a", "b"] },
  },
  {
    operation: "queue.stats",
    says: "every state and total",
    given: [
      create(),
      publish("1"),
      publish("2"),
      publish("3", { delay_secs: 9 }),
      publish("4"),
      consume({ count: 3 }),
      ["queue.ack", { queue: "q", message_id: "2-0" }],
      ["queue.nack", { queue: "q", message_id: "3-0", requeue: false }],
    ],
    input: { queue: "q" },
    payload: {
      ...TOTALS,
      delayed: 1,
      in_flight: 1,
      dlq_count: 1,
      consumers: 1,
      published: 4,
      consumed: 3,
      acked: 1,
      nacked: 1,
      dead_lettered: 1,
    },
  },
  { operation: "queue.stats", says: "of nothing", input: { queue: "q" }, error: "QUEUE_NOT_FOUND" },
  {
    operation: "queue.purge",
    says: "what waits, not what is in flight",
    given: [create(), publish("1"), consume(), publish("2"), publish("3", { delay_secs: 9 })],
    input: { queue: "q" },
    payload: { success: true, purged: 2 },
  },
  { operation: "queue.purge", says: "nowhere", input: { queue: "q" }, error: "QUEUE_NOT_FOUND" },
  {
    operation: "queue.delete",
    says: "one that is there",
    given: [create(), publish("1")],
    input: { queue: "q" },
    payload: { success: true, deleted: true },
  },
  {
    operation: "queue.delete",
    says: "one that is not",
    input: { queue: "q" },
    payload: { success: true, deleted: false },
  },
  {
    operation: "queue.delete",
    says: "by the other name of the field",
    given: [create()],
    input: { name: "q" },
    envelopeOnly: true,
    payload: { success: true, deleted: true },
  },
  { operation: "queue.delete", says: "no name", input: {}, envelopeOnly: true, error: "API_FIELD_MISSING" },
  {
    operation: "queue.delete",
    says: "two names",
    input: { queue: "q", name: "q" },
    envelopeOnly: true,
    error: "API_FIELD_INVALID",
  },
];
