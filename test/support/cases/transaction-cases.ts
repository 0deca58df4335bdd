/** Cases of atomic batches and of the documented transactions. */
import { type OperationCase, set } from "./case.js";

const operation = (command: string, payload: object) => ({ command, payload });
const client = { client_id: "c" };
const open = ["transaction.multi", client] as const;

/** More than half of what the test server takes. */
const listOf = <Item>(item: Item): Item[] => Array.from({ length: 501 }, () => item);

/** Two MiB: the 33rd copy of it is one too many for a batch, and of something longer the 32nd. */
const large = set("large", "x".repeat(2 << 20));

const batches: readonly OperationCase[] = [
  {
    operation: "batch",
    says: "each sees what those before it did",
    input: {
      operations: [
        operation("kv.set", { key: "n", value: "41" }),
        operation("kv.incr", { key: "n" }),
        operation("kv.append", { key: "n", value: "!" }),
        operation("key.rename", { key: "n", destination: "m" }),
        operation("kv.del", { key: "n" }),
        operation("kv.getset", { key: "m", value: { a: 1 } }),
      ],
    },
    payload: {
      success: true,
      results: [
        { success: true, key: "n", written: true },
        { value: 42 },
        { length: 3 },
        { success: true, key: "n", destination: "m" },
        { deleted: false, key: "n" },
        "42!",
      ],
    },
  },
  {
    operation: "batch",
    says: "a precondition that holds",
    given: [set("a", "1")],
    input: {
      operations: [operation("kv.del", { key: "a" })],
      preconditions: [
        { key: "a", revision: 1 },
        { key: "b", revision: 0 },
        { stream: "room/none", length: 0 },
      ],
    },
    payload: { success: true, results: [{ deleted: true, key: "a" }] },
  },
  {
    operation: "batch",
    says: "a key that changed",
    given: [set("a", "1")],
    input: {
      operations: [operation("kv.del", { key: "a" })],
      preconditions: [{ key: "a", revision: 0 }],
    },
    error: "BATCH_PRECONDITION_FAILED",
    details: { precondition_index: 0 },
  },
  ...["events", "room/", "rooms/events", "/ds/events"].map((stream) => ({
    operation: "batch",
    says: `a stream that cannot be one, ${stream}`,
    given: [
      ["stream.create", { room: "events" }],
      ["stream.publish", { room: "events", event: "e", data: 1 }],
    ] as const,
    input: {
      operations: [operation("kv.set", { key: "a", value: "b" })],
      preconditions: [
        { key: "a", revision: 0 },
        { stream, length: 0 },
      ],
    },
    error: "API_FIELD_INVALID" as const,
    details: { precondition_index: 1 },
  })),
  ...[
    ["no text at all", '{"key":"","revision":0}', "KV_KEY_INVALID"],
    ["a key that is no Unicode", '{"key":"\\ud800","revision":0}', "KV_KEY_INVALID"],
    ["a key that is too long", `{"key":"${"k".repeat(70_000)}","revision":0}`, "KV_KEY_INVALID"],
    ["a stream that is no Unicode", '{"stream":"room/\\ud800","length":0}', "API_FIELD_INVALID"],
  ].map(([what, precondition, error]) => ({
    operation: "batch",
    says: `a precondition on ${what}`,
    input: `{"operations":[{"command":"kv.set","payload":{"key":"a","value":1}}],"preconditions":[${precondition}]}`,
    error: error ?? "",
    details: { precondition_index: 0 },
  })),
  {
    operation: "batch",
    says: "a stream of another length",
    given: [
      ["stream.create", { room: "events" }],
      ["stream.publish", { room: "events", event: "e", data: 1 }],
    ],
    input: {
      operations: [operation("kv.set", { key: "a", value: "b" })],
      preconditions: [{ stream: "room/events", length: 0 }],
    },
    error: "BATCH_PRECONDITION_FAILED",
    details: { precondition_index: 0 },
  },
  {
    operation: "batch",
    says: "a delivery that is not open",
    input: {
      operations: [operation("kv.del", { key: "a" })],
      preconditions: [{ queue: "q", message_id: "1-0", receipt: "2-0" }],
    },
    error: "BATCH_PRECONDITION_FAILED",
    details: { precondition_index: 0 },
  },
  {
    operation: "batch",
    says: "the second is refused",
    input: {
      operations: [
        operation("kv.set", { key: "a", value: "b" }),
        operation("kv.incr", { key: "a" }),
        operation("kv.set", { key: "c", value: "d" }),
      ],
    },
    error: "KV_NOT_AN_INTEGER",
    details: { operation_index: 1 },
  },
  {
    operation: "batch",
    says: "the last is no input",
    input: { operations: [operation("kv.set", { key: "a", value: "b" }), operation("kv.set", { key: "a" })] },
    error: "API_FIELD_MISSING",
    details: { operation_index: 1 },
  },
  {
    operation: "batch",
    says: "a read",
    input: { operations: [operation("kv.get", { key: "a" })] },
    error: "API_BATCH_OPERATION_UNSUPPORTED",
    details: { operation_index: 0 },
  },
  {
    operation: "batch",
    says: "a batch in a batch",
    input: { operations: [operation("batch", { operations: [] })] },
    error: "API_BATCH_OPERATION_UNSUPPORTED",
    details: { operation_index: 0 },
  },
  {
    operation: "batch",
    says: "the end of a transaction in a batch",
    input: { operations: [operation("transaction.exec", { client_id: "c" })] },
    error: "API_BATCH_OPERATION_UNSUPPORTED",
    details: { operation_index: 0 },
  },
  {
    operation: "batch",
    says: "too many",
    input: { operations: Array.from({ length: 1_001 }, () => operation("kv.del", { key: "a" })) },
    error: "API_BATCH_TOO_LARGE",
  },
  ...[
    ["kv.mset", { pairs: listOf({ key: "a", value: 1 }) }],
    ["kv.mdel", { keys: listOf("a") }],
    ["queue.publish_batch", { queue: "q", messages: listOf({ payload: "a" }) }],
    ["queue.ack_batch", { queue: "q", messages: listOf({ message_id: "1-0" }) }],
    ["stream.publish_batch", { room: "r", events: listOf({ event: "e", data: 1 }) }],
  ].map(([name, payload]) => ({
    operation: "batch",
    says: `too many in two ${name}`,
    input: {
      operations: [
        operation("kv.set", { key: "a", value: 1 }),
        operation("queue.create", { name: "q" }),
        operation("stream.create", { room: "r" }),
        operation(String(name), Object(payload)),
        operation(String(name), Object(payload)),
      ],
    },
    error: "API_BATCH_TOO_LARGE",
    details: { operation_index: 4 },
  })),
  ...(
    [
      ["writes", operation("kv.append", { key: "large", value: "x" }), 31],
      ["shows", operation("kv.set", { key: "large", value: "x", nx: true, get: true }), 32],
    ] as const
  ).map(([does, each, operation_index]) => ({
    operation: "batch",
    says: `that ${does} more than any record holds`,
    given: [large],
    input: { operations: Array.from({ length: 40 }, () => each) },
    limits: { bodyBytesMax: 4 << 20 },
    rules: { valueBytesMax: 4 << 20 },
    error: "BATCH_VALUES_TOO_LARGE",
    details: { operation_index },
  })),
  {
    operation: "batch",
    says: "too many preconditions",
    input: {
      operations: [operation("kv.del", { key: "a" })],
      preconditions: Array.from({ length: 1_001 }, () => ({ key: "a", revision: 0 })),
    },
    error: "API_BATCH_TOO_LARGE",
  },
  { operation: "batch", says: "nothing", input: { operations: [] }, error: "API_FIELD_INVALID" },
];

const transactions: readonly OperationCase[] = [
  {
    operation: "transaction.multi",
    says: "opens",
    input: client,
    payload: { success: true, client_id: "c" },
  },
  {
    operation: "transaction.multi",
    says: "twice",
    given: [open],
    input: client,
    error: "API_TRANSACTION_OPEN",
  },
  {
    operation: "transaction.exec",
    says: "runs what was queued",
    given: [open, ["kv.set", { key: "n", value: "1", ...client }], ["kv.incr", { key: "n", ...client }]],
    input: client,
    payload: { success: true, results: [{ success: true, key: "n", written: true }, { value: 2 }] },
  },
  {
    operation: "transaction.exec",
    says: "none open",
    input: client,
    error: "BATCH_TRANSACTION_NOT_FOUND",
  },
  {
    operation: "transaction.exec",
    says: "none open for this client",
    given: [open],
    input: { client_id: "another" },
    error: "BATCH_TRANSACTION_NOT_FOUND",
  },
  {
    operation: "transaction.discard",
    says: "forgets",
    given: [open],
    input: client,
    payload: { success: true },
  },
  {
    operation: "transaction.discard",
    says: "none open",
    input: client,
    error: "BATCH_TRANSACTION_NOT_FOUND",
  },
  {
    operation: "transaction.multi",
    says: "one more than there may be",
    given: [open],
    limits: { transactionsMax: 1 },
    input: { client_id: "another" },
    error: "API_TRANSACTIONS_FULL",
  },
  {
    operation: "transaction.watch",
    says: "one more than there may be",
    given: [open],
    limits: { transactionsMax: 1 },
    input: { client_id: "another", keys: ["a"] },
    error: "API_TRANSACTIONS_FULL",
  },
  {
    operation: "transaction.watch",
    says: "watches",
    input: { ...client, keys: ["a", "b"] },
    payload: { success: true, client_id: "c" },
  },
  {
    operation: "transaction.watch",
    says: "after multi",
    given: [open],
    input: { ...client, keys: ["a"] },
    error: "API_TRANSACTION_OPEN",
  },
  {
    operation: "transaction.watch",
    says: "an empty key",
    input: { ...client, keys: [""] },
    error: "KV_KEY_INVALID",
  },
  {
    operation: "transaction.watch",
    says: "too many",
    input: { ...client, keys: Array.from({ length: 1_001 }, (_, index) => `k${index}`) },
    error: "API_BATCH_TOO_LARGE",
  },
  {
    operation: "transaction.exec",
    says: "that writes more than any record holds",
    given: [
      large,
      open,
      ...Array.from({ length: 33 }, () => ["kv.append", { key: "large", value: "x", ...client }] as const),
    ],
    input: client,
    limits: { bodyBytesMax: 4 << 20 },
    rules: { valueBytesMax: 4 << 20 },
    error: "BATCH_VALUES_TOO_LARGE",
    details: { operation_index: 31 },
  },
  { operation: "transaction.unwatch", says: "forgets", input: client, payload: { success: true } },
];

export const transactionCases: readonly OperationCase[] = [...batches, ...transactions];
