/** The operations on many keys at once, and on the whole store: batches, scans, sizes, statistics, flush. */
import { setImmediate as nextTurn } from "node:timers/promises";
import { Type } from "@sinclair/typebox";
import { kv, type ScanQuery } from "../../projections/index.js";
import { refusal } from "../errors.js";
import { closed, Key, LogOffset, Pairs, Success, Value } from "./fields.js";
import { defineOperation } from "./operation.js";
import { type Reply, shown, written } from "./reply.js";
import { jsonValue, typedValue } from "./values.js";
import { write } from "./write.js";

interface PairInput {
  readonly key: string;
  readonly value: unknown;
}

function typedPairs(pairs: readonly PairInput[]) {
  return pairs.map(({ key, value }) => ({ key, ...typedValue(value) }));
}

const batchErrors = [
  "API_BATCH_TOO_LARGE",
  "KV_KEY_INVALID",
  "KV_VALUE_NOT_TEXT",
  "KV_VALUE_TOO_LARGE",
  "KV_MEMORY_FULL",
] as const;

export const setMany = defineOperation({
  name: "kv.mset",
  kind: "write",
  summary: "Set many keys, all or none",
  input: Type.Object({ pairs: Pairs }, closed),
  output: Type.Object({ success: Success, written: Type.Integer(), log_offset: LogOffset }),
  errors: batchErrors,
  exact: [["pairs", "value"]],
  rest: [{ method: "POST", path: "/kv/mset" }],
  prepare(input) {
    return write(kv.setMany, { pairs: typedPairs(input.pairs) }, (answer, offset) =>
      written({ success: true, written: answer.written, log_offset: offset }, offset),
    );
  },
});

export const setManyIfAbsent = defineOperation({
  name: "kv.msetnx",
  kind: "write",
  summary: "Set many keys, all or none, only if none of them is there",
  description: "Takes `pairs`, or a single `key` and `value` as clients send it for one pair.",
  input: Type.Object(
    { pairs: Type.Optional(Pairs), key: Type.Optional(Key), value: Type.Optional(Value) },
    closed,
  ),
  output: Type.Object({
    success: Type.Boolean({ description: "False: nothing was written." }),
    log_offset: LogOffset,
  }),
  errors: [...batchErrors, "KV_OPTIONS_CONFLICT"],
  exact: [["pairs", "value"], ["value"]],
  rest: [{ method: "POST", path: "/kv/msetnx" }],
  prepare(input) {
    const pairs = pairsOf(input);
    if (typeof pairs === "string") return refusal("API_FIELD_MISSING", pairs);
    if (input.pairs !== undefined && (input.key !== undefined || input.value !== undefined)) {
      return refusal("KV_OPTIONS_CONFLICT", "give pairs, or key and value, not both");
    }
    return write(kv.setManyIfAbsent, { pairs: typedPairs(pairs) }, (answer, offset) =>
      written({ success: answer.written, log_offset: offset }, offset),
    );
  },
});

/** The pairs, or what is missing. */
function pairsOf(input: {
  pairs?: PairInput[];
  key?: string;
  value?: unknown;
}): readonly PairInput[] | string {
  if (input.pairs !== undefined) return input.pairs;
  if (input.key === undefined) return 'field "pairs" (or "key" and "value") is missing';
  if (input.value === undefined) return 'field "value" is missing';
  return [{ key: input.key, value: input.value }];
}

const KeyList = Type.Object({ keys: Type.Array(Key) }, closed);

export const getMany = defineOperation({
  name: "kv.mget",
  kind: "read",
  summary: "Get many keys' values",
  description:
    "In the order asked for: text as a string, JSON as the JSON that was stored, other bytes as text if they are UTF-8, else as an array of bytes; null where the key is not there.",
  input: KeyList,
  output: Type.Object({ values: Type.Array(Type.Unknown()) }),
  errors: ["KV_KEY_INVALID", "KV_VALUES_TOO_LARGE", "API_BATCH_TOO_LARGE"],
  rest: [{ method: "POST", path: "/kv/mget" }],
  run(input, call) {
    return call.query(kv.getMany, input, (entries) => shown({ values: entries.map(jsonValue) }));
  },
});

export const deleteMany = defineOperation({
  name: "kv.mdel",
  kind: "write",
  summary: "Delete many keys",
  input: KeyList,
  output: Type.Object({ deleted: Type.Integer(), log_offset: LogOffset }),
  errors: ["KV_KEY_INVALID", "API_BATCH_TOO_LARGE"],
  rest: [{ method: "POST", path: "/kv/mdel" }],
  prepare(input) {
    return write(kv.deleteMany, input, ({ deleted }, offset) =>
      written({ deleted, log_offset: offset }, offset),
    );
  },
});

/** A page larger than this would hold up everybody else. */
const SCAN_LIMIT_MAX = 10_000;
/** kv.keys has no cursor; past this many it refuses and names kv.scan. */
const KEYS_MAX = 100_000;
/** And past so many bytes of them. */
const KEYS_BYTES_MAX = 16 << 20;

export const scan = defineOperation({
  name: "kv.scan",
  kind: "read",
  summary: "List keys, a page at a time",
  description:
    "A key that is there from the first to the last page is listed exactly once. A page of very long keys ends after 4 MiB of them.",
  input: Type.Object(
    {
      prefix: Type.Optional(Type.String()),
      pattern: Type.Optional(
        Type.String({ description: "Glob: `*`, `?`, `[abc]`, `[^a]`, `[a-z]`; `\\` escapes." }),
      ),
      cursor: Type.Optional(Type.String({ description: "From the page before." })),
      limit: Type.Optional(
        Type.Integer({ minimum: 1, maximum: SCAN_LIMIT_MAX, description: "Keys on a page. Default 100." }),
      ),
    },
    closed,
  ),
  output: Type.Object({
    keys: Type.Array(Type.String()),
    count: Type.Integer({ description: "Keys on this page." }),
    cursor: Type.Union([Type.String(), Type.Null()], { description: "For the next page; null: complete." }),
  }),
  errors: ["KV_PATTERN_INVALID", "KV_CURSOR_INVALID"],
  rest: [{ method: "GET", path: "/kv/scan" }],
  run(input, call) {
    const query: ScanQuery = { ...input, limit: input.limit ?? 100 };
    return call.query(kv.scan, query, ({ keys, cursor }) =>
      shown({ keys, count: keys.length, cursor: cursor ?? null }),
    );
  },
});

export const keys = defineOperation({
  name: "kv.keys",
  kind: "read",
  summary: "List all keys that match a pattern",
  description: `Up to ${KEYS_MAX} keys, and 16 MiB of them; more are refused, page through them with kv.scan. Others are served while many are looked at: a key that is there throughout is listed, one that comes or goes meanwhile may be.`,
  input: Type.Object({ pattern: Type.Optional(Type.String({ description: "Glob. Default `*`." })) }, closed),
  output: Type.Object({ keys: Type.Array(Type.String()), count: Type.Integer() }),
  errors: ["KV_PATTERN_INVALID", "API_RESULT_TOO_LARGE"],
  rest: [{ method: "GET", path: "/kv/keys" }],
  async run({ pattern = "*" }, call): Promise<Reply> {
    const found: string[] = [];
    let bytes = 0;
    let from: Pick<ScanQuery, "cursor"> = {};
    for (;;) {
      const query = { pattern, limit: SCAN_LIMIT_MAX, ...from };
      const page = await call.query(kv.scan, query, (answer) => ({ type: "page" as const, answer }));
      if (page.type === "refused") return page;
      const { keys, cursor } = page.answer;
      found.push(...keys);
      for (const key of keys) bytes += Buffer.byteLength(key);
      if (found.length > KEYS_MAX || bytes > KEYS_BYTES_MAX) return tooManyKeys();
      if (cursor === undefined) return shown({ keys: found, count: found.length });
      from = { cursor };
      await nextTurn();
    }
  },
});

const tooManyKeys = () =>
  refusal(
    "API_RESULT_TOO_LARGE",
    `more than ${KEYS_MAX} keys match, or ${KEYS_BYTES_MAX} bytes of them; page through them with kv.scan`,
  );

const Nothing = Type.Object({}, closed);

export const size = defineOperation({
  name: "kv.dbsize",
  kind: "read",
  summary: "Count the keys",
  input: Nothing,
  output: Type.Object({ size: Type.Integer() }),
  errors: [],
  rest: [{ method: "GET", path: "/kv/dbsize" }],
  run: (_input, call) => call.query(kv.size, {}, (answer) => shown({ size: answer.size })),
});

export const stats = defineOperation({
  name: "kv.stats",
  kind: "read",
  summary: "Statistics of the key-value store",
  input: Nothing,
  output: Type.Object({
    total_keys: Type.Integer(),
    total_memory_bytes: Type.Integer(),
    max_memory_bytes: Type.Integer(),
    expiring_keys: Type.Integer(),
    expired_total: Type.Integer(),
    evicted_total: Type.Integer(),
    operations: Type.Object({
      gets: Type.Integer(),
      sets: Type.Integer(),
      dels: Type.Integer(),
      hits: Type.Integer(),
      misses: Type.Integer(),
    }),
    hit_rate: Type.Number({ description: "Hits of all gets since the start, 0 to 1." }),
  }),
  errors: [],
  rest: [{ method: "GET", path: "/kv/stats" }],
  run: (_input, call) =>
    call.query(kv.stats, {}, (answer) => {
      const { gets, sets, dels, hits, misses } = answer.operations;
      return shown({
        total_keys: answer.totalKeys,
        total_memory_bytes: answer.memoryBytes,
        max_memory_bytes: answer.maxMemoryBytes,
        expiring_keys: answer.expiringKeys,
        expired_total: answer.expiredTotal,
        evicted_total: answer.evictedTotal,
        operations: { gets, sets, dels, hits, misses },
        hit_rate: hits + misses === 0 ? 0 : hits / (hits + misses),
      });
    }),
});

export const flush = defineOperation({
  name: "kv.flushdb",
  aliases: ["kv.flushall"],
  kind: "write",
  summary: "Remove every key",
  description: "Only if the configuration allows it.",
  input: Nothing,
  output: Type.Object({ flushed: Type.Integer({ description: "Keys removed." }), log_offset: LogOffset }),
  errors: ["KV_FLUSH_NOT_ALLOWED"],
  rest: [
    { method: "POST", path: "/kv/flushdb" },
    { method: "POST", path: "/kv/flushall" },
  ],
  prepare: () =>
    write(kv.flush, {}, ({ flushed }, offset) => written({ flushed, log_offset: offset }, offset)),
});

export const batchOperations = [
  setMany,
  setManyIfAbsent,
  getMany,
  deleteMany,
  scan,
  keys,
  size,
  stats,
  flush,
];
