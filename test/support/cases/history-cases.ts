/** Cases of histories, of keys set back to a revision, and of many set back to a moment. */
import { NOW, type OperationCase, set } from "./case.js";
import { consume, create, publish } from "./queue-cases.js";

const by = (command: string): object => ({
  asymmetricMatch: (cause: unknown) =>
    typeof cause === "object" && cause !== null && Reflect.get(cause, "command") === command,
});
const happened = (offset: number, event: string, command: string, extra: object = {}): object => ({
  offset,
  time: NOW,
  event,
  cause: by(command),
  ...extra,
});
const text = (value: string): object => ({
  value,
  content_type: "text/plain; charset=utf-8",
  value_bytes: value.length,
  expires_at: null,
});
const lived = [
  set("a", "one"),
  set("b", "-"),
  set("a", "two"),
  ["kv.del", { key: "a" }],
  set("a", "three"),
  ["kv.expire", { key: "a", expiry: { type: "unix_milliseconds", value: NOW + 60_000 } }],
] as const satisfies OperationCase["given"];

const LARGE = "x".repeat(400);
/** Room for one large value. */
const tight = { maxMemoryBytes: 700 };

const historyOfKeys: readonly OperationCase[] = [
  {
    operation: "kv.history",
    says: "newest first, through its absence",
    given: lived,
    input: { key: "a" },
    payload: {
      key: "a",
      exists: true,
      revisions: [
        happened(6, "expiry_changed", "kv.expire", { expires_at: NOW + 60_000 }),
        happened(5, "set", "kv.set", text("three")),
        happened(4, "deleted", "kv.del"),
        happened(3, "set", "kv.set", text("two")),
        happened(1, "set", "kv.set", text("one")),
      ],
      next: null,
      complete: true,
      end: "first_event",
    },
  },
  {
    operation: "kv.history",
    says: "a page of it",
    given: lived,
    input: { key: "a", limit: 2, before: 5, values: false },
    payload: {
      key: "a",
      exists: true,
      revisions: [
        happened(4, "deleted", "kv.del"),
        happened(3, "set", "kv.set", { ...text("two"), value: undefined }),
      ],
      next: 3,
      complete: false,
      end: null,
    },
  },
  {
    operation: "kv.history",
    says: "of a key that never was",
    given: lived,
    input: { key: "never" },
    payload: { key: "never", exists: false, revisions: [], next: null, complete: true, end: "first_event" },
  },
  {
    operation: "kv.history",
    says: "from a place that is far away",
    given: lived,
    limits: { historyRecordsMax: 1 },
    input: { key: "a", before: 2 },
    error: "KV_HISTORY_TOO_LONG",
  },
  {
    operation: "kv.history",
    says: "of no key",
    input: { key: "\ud800" },
    error: "KV_KEY_INVALID",
    bodyOnly: true,
  },
  {
    operation: "kv.history",
    says: "of a key that is too long",
    input: { key: "k".repeat(1025) },
    error: "KV_KEY_INVALID",
  },
];

const reverts: readonly OperationCase[] = [
  {
    operation: "kv.revert",
    says: "to a value",
    given: lived,
    input: { key: "a", revision: 3 },
    payload: { success: true, key: "a", reverted_to: 3, expires_at: null },
  },
  {
    operation: "kv.revert",
    says: "to an expiry, with the value that was there",
    given: [...lived, ["kv.del", { key: "a" }]],
    input: { key: "a", revision: 6, if_revision: 0 },
    payload: { success: true, key: "a", reverted_to: 6, expires_at: NOW + 60_000 },
  },
  ...(
    [
      ["of another key", 2, "KV_REVISION_NOT_FOUND"],
      ["beyond the end", 99, "KV_REVISION_NOT_FOUND"],
      ["that removed it", 4, "KV_REVISION_REMOVED"],
    ] as const
  ).map(
    ([says, revision, error]): OperationCase => ({
      operation: "kv.revert",
      says: `to one ${says}`,
      given: lived,
      input: { key: "a", revision },
      error,
    }),
  ),
  {
    operation: "kv.revert",
    says: "to one that retention removed",
    given: lived,
    firstOffset: 4,
    input: { key: "a", revision: 3 },
    error: "KV_REVISION_RETIRED",
  },
  {
    operation: "kv.revert",
    says: "when somebody was faster",
    given: lived,
    input: { key: "a", revision: 3, if_revision: 3 },
    error: "KV_REVISION_MISMATCH",
  },
  {
    operation: "kv.revert",
    says: "to a value too far behind its expiry",
    given: lived,
    limits: { historyRecordsMax: 1 },
    input: { key: "a", revision: 6 },
    error: "KV_HISTORY_TOO_LONG",
  },
  {
    operation: "kv.revert",
    says: "without room for it",
    given: [set("a", LARGE), ["kv.del", { key: "a" }], set("b", LARGE)],
    rules: tight,
    input: { key: "a", revision: 1 },
    error: "KV_MEMORY_FULL",
  },
  {
    operation: "kv.revert",
    says: "a key that is too long",
    input: { key: "k".repeat(1025), revision: 1 },
    error: "KV_KEY_INVALID",
  },
];

const lives: readonly OperationCase[] = [
  {
    operation: "queue.history",
    says: "from publish to ack",
    given: [
      create(),
      publish("a"),
      publish("b"),
      consume(),
      ["queue.nack", { queue: "q", message_id: "2-0" }],
      consume(),
      ["queue.ack", { queue: "q", message_id: "2-0" }],
    ],
    input: { queue: "q", message_id: "2-0" },
    payload: {
      queue: "q",
      message_id: "2-0",
      events: [
        happened(2, "published", "queue.publish", { priority: 5, payload_bytes: 1 }),
        happened(4, "delivered", "queue.consume", { consumer: "c", receipt: "4-0", deadline: NOW + 30_000 }),
        happened(5, "requeued", "queue.nack", { by: "nack", retry_count: 1 }),
        happened(6, "delivered", "queue.consume", { consumer: "c", receipt: "6-0", deadline: NOW + 30_000 }),
        happened(7, "acked", "queue.ack"),
      ],
      over: true,
      next: null,
    },
  },
  {
    operation: "queue.history",
    says: "of a message from a batch that purged its queue before it",
    given: [
      create(),
      [
        "batch",
        {
          operations: [
            { command: "queue.purge", payload: { queue: "q" } },
            { command: "queue.publish", payload: { queue: "q", payload: "a" } },
            { command: "queue.purge", payload: { queue: "q" } },
            { command: "queue.publish", payload: { queue: "q", payload: "b" } },
          ],
        },
      ],
    ],
    input: { queue: "q", message_id: "2-2" },
    payload: {
      queue: "q",
      message_id: "2-2",
      events: [happened(2, "published", "batch", { priority: 5, payload_bytes: 1 })],
      over: false,
      next: null,
    },
  },
  {
    operation: "queue.history",
    says: "as much as one request may read",
    given: [create(), publish("a"), consume(), publish("b")],
    limits: { historyRecordsMax: 1 },
    input: { queue: "q", message_id: "2-0", from: "3w" },
    payload: {
      queue: "q",
      message_id: "2-0",
      events: [
        happened(3, "delivered", "queue.consume", { consumer: "c", receipt: "3-0", deadline: NOW + 30_000 }),
      ],
      over: false,
      next: "4i",
    },
  },
  ...(["9-0", "1-0", "nothing"] as const).map(
    (message_id): OperationCase => ({
      operation: "queue.history",
      says: `of ${message_id}, which is no message`,
      given: [create()],
      input: { queue: "q", message_id },
      error: "QUEUE_MESSAGE_NOT_FOUND",
    }),
  ),
  {
    operation: "queue.history",
    says: "of a message of another queue",
    given: [create(), publish("a"), ["queue.create", { name: "other" }]],
    input: { queue: "other", message_id: "2-0" },
    error: "QUEUE_MESSAGE_NOT_FOUND",
  },
  {
    operation: "queue.history",
    says: "whose beginning retention removed",
    given: [create(), publish("a"), publish("b")],
    firstOffset: 3,
    input: { queue: "q", message_id: "2-0" },
    error: "LOG_OFFSET_RETIRED",
  },
];

const base64 = (value: string): string => Buffer.from(value).toString("base64");
const entry = (key: string, value: string, revision: number): object => ({
  key,
  value: base64(value),
  content_type: "text/plain; charset=utf-8",
  value_bytes: value.length,
  expires_at: null,
  revision,
});

const listings: readonly OperationCase[] = [
  {
    operation: "kv.entries",
    says: "by pattern",
    given: [set("user:1", "one"), set("other", "-")],
    input: { pattern: "user:*" },
    payload: { entries: [entry("user:1", "one", 1)], cursor: null },
  },
  {
    operation: "kv.entries",
    says: "by name, without values",
    given: [set("a", "one"), set("b", "two")],
    input: { keys: ["b", "none"], values: false },
    payload: { entries: [{ ...entry("b", "two", 2), value: undefined }], cursor: null },
  },
  {
    operation: "kv.entries",
    says: "by name, with values that are too large together",
    given: [set("a", "x".repeat(1 << 20))],
    input: { keys: Array.from({ length: 65 }, () => "a") },
    limits: { bodyBytesMax: 4 << 20 },
    rules: { valueBytesMax: 4 << 20 },
    error: "KV_VALUES_TOO_LARGE",
  },
  { operation: "kv.entries", says: "a bad pattern", input: { pattern: "[" }, error: "KV_PATTERN_INVALID" },
  { operation: "kv.entries", says: "a bad cursor", input: { cursor: "x" }, error: "KV_CURSOR_INVALID" },
  { operation: "kv.entries", says: "no key", input: { keys: [""] }, error: "KV_KEY_INVALID" },
  {
    operation: "kv.entries",
    says: "too many",
    limits: { batchItemsMax: 1 },
    input: { keys: ["a", "b"] },
    error: "API_BATCH_TOO_LARGE",
  },
];

const changed = [
  set("a", "one"),
  set("b", "one"),
  set("a", "two"),
  ["kv.del", { key: "b" }],
] as const satisfies OperationCase["given"];
const refusedAt = (says: string, input: object, error: string): OperationCase => ({
  operation: "kv.restore",
  says,
  given: changed,
  input: { pattern: "*", at: 2, ...input },
  error,
});

const bounds = { first_offset: 1, end_offset: 4 };

const restores: readonly OperationCase[] = [
  {
    operation: "kv.restore",
    says: "what came later, and only says so",
    given: [...changed, set("c", "new")],
    input: { pattern: "*", at: `${NOW}ms`, cursor: "now", dry_run: true },
    payload: { at: 5, dry_run: true, changes: [], cursor: null },
  },
  {
    operation: "kv.restore",
    says: "what is different",
    given: changed,
    input: { pattern: "*", at: 2 },
    payload: {
      at: 2,
      dry_run: false,
      changes: [
        { key: "a", change: "replaced", revision: 3 },
        { key: "b", change: "created", revision: 0 },
      ],
      cursor: "now",
    },
  },
  {
    operation: "kv.restore",
    says: "what came later",
    given: [...changed, set("c", "new")],
    input: { pattern: "*", at: "2", cursor: "now" },
    payload: { at: 2, dry_run: false, changes: [{ key: "c", change: "deleted", revision: 5 }], cursor: null },
  },
  refusedAt("a bad pattern", { pattern: "[" }, "KV_PATTERN_INVALID"),
  refusedAt("a bad cursor", { cursor: "later" }, "KV_CURSOR_INVALID"),
  refusedAt("no moment", { at: "yesterday" }, "API_AT_INVALID"),
  { ...refusedAt("before there was anything", { at: 0 }, "API_AT_BEFORE_FIRST"), details: bounds },
  { ...refusedAt("beyond the end", { at: 99 }, "LOG_OFFSET_BEYOND_END"), details: bounds },
  {
    operation: "kv.restore",
    says: "without room for it",
    given: [set("a", LARGE), ["kv.del", { key: "a" }], set("b", LARGE)],
    rules: tight,
    input: { pattern: "a", at: 1 },
    error: "KV_MEMORY_FULL",
  },
];

export const historyCases: readonly OperationCase[] = [
  ...historyOfKeys,
  ...reverts,
  ...lives,
  ...listings,
  ...restores,
];
