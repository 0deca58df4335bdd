/** Random operations on few keys, so that they meet; and how the real store runs one. */
import fc from "fast-check";
import {
  BYTES_TYPE,
  type Expiry,
  JSON_TYPE,
  kv,
  type Outcome,
  type Step,
  TEXT_TYPE,
  type ValueInput,
} from "../../projections/index.js";
import type { TestStore } from "../../test/support/kv-store.js";
import { stepOf } from "./batches.js";
import type { Expected, Operation } from "./kv-model.js";

export const MODEL_START_MS = 1_700_000_000_000;
export const MODEL_KEYS = ["a", "b", "c", "d", "é", "鍵", "__proto__", "k\u0000", "\ufeffbom"];

const key = fc.constantFrom(...MODEL_KEYS);
const value: fc.Arbitrary<ValueInput> = fc.oneof(
  fc.integer({ min: -20, max: 20 }).map(String),
  fc.constantFrom(
    "9223372036854775807",
    "-9223372036854775808",
    "007",
    "-0",
    "1e3",
    "é\u{1f600}",
    "",
    "\u0000",
  ),
  fc.string({ unit: "grapheme", maxLength: 12 }),
  fc.uint8Array({ maxLength: 12 }),
);
const contentType = fc.constantFrom(TEXT_TYPE, JSON_TYPE, BYTES_TYPE, "image/png");
const pair = fc.record({ key, value, contentType });
const keys = fc.array(key, { maxLength: 5 });
const revision = fc.nat({ max: 40 });
const position = fc.integer({ min: -15, max: 15 });

const expiry: fc.Arbitrary<Expiry> = fc.oneof(
  fc.record({ type: fc.constant("seconds" as const), value: fc.integer({ min: -1, max: 3 }) }),
  fc.record({ type: fc.constant("milliseconds" as const), value: fc.integer({ min: 0, max: 2_000 }) }),
  fc.record({
    type: fc.constant("unix_milliseconds" as const),
    value: fc.integer({ min: -1_000, max: 5_000 }).map((ms) => MODEL_START_MS + ms),
  }),
  fc.record({
    type: fc.constant("unix_seconds" as const),
    value: fc.integer({ min: -1, max: 6 }).map((s) => MODEL_START_MS / 1000 + s),
  }),
);

/** Each field is there or not, so that all combinations come. */
const options = fc.record(
  {
    expiry,
    nx: fc.boolean(),
    xx: fc.boolean(),
    keepTtl: fc.boolean(),
    get: fc.boolean(),
    ifRevision: revision,
  },
  { requiredKeys: [] },
);

const named = <Name extends Operation["op"], Fields>(op: Name, fields: fc.Arbitrary<Fields>) =>
  fields.map((given) => ({ op, ...given }) as unknown as Operation);

export const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc
      .tuple(pair, fc.oneof({ weight: 2, arbitrary: fc.constant({}) }, options))
      .map(([set, more]): Operation => ({ op: "set", command: { ...set, ...more } })),
  },
  {
    weight: 2,
    arbitrary: named(
      "set",
      fc.record({ command: fc.tuple(pair, expiry).map(([p, e]) => ({ ...p, expiry: e })) }),
    ),
  },
  named("getSet", pair),
  named("setMany", fc.record({ pairs: fc.array(pair, { maxLength: 4 }) })),
  named("setManyIfAbsent", fc.record({ pairs: fc.array(pair, { maxLength: 3 }) })),
  named("delete", fc.record({ key, ifRevision: fc.option(revision, { nil: undefined }) })),
  named("deleteMany", fc.record({ keys })),
  named(
    "increment",
    fc.record({ key, amount: fc.oneof(fc.bigInt(-9n, 9n), fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n)) }),
  ),
  named("expire", fc.record({ key, expiry })),
  named("persist", fc.record({ key })),
  named("append", fc.record({ key, value })),
  named("setRange", fc.record({ key, value, offset: fc.nat({ max: 15 }) })),
  named("getRange", fc.record({ key, start: position, end: position })),
  named("rename", fc.record({ key, destination: key })),
  named("renameIfAbsent", fc.record({ key, destination: key })),
  named("copy", fc.record({ key, destination: key, replace: fc.boolean() })),
  named("getMany", fc.record({ keys })),
  fc
    .tuple(fc.constantFrom("get", "exists", "ttl", "length", "type"), key)
    .map(([op, k]) => ({ op, key: k }) as Operation),
  fc.constantFrom<Operation>({ op: "size" }, { op: "size" }, { op: "flush" }),
);

const READS = new Set(["get", "exists", "ttl", "length", "type", "getMany", "getRange", "size"]);

export const writeOperation = operation.filter(({ op }) => !READS.has(op));

/** What the real store says, in the model's form. */
export async function runOperation(t: TestStore, o: Operation): Promise<Expected> {
  return expectedForm(await outcomeOf(t, o));
}

function expectedForm(outcome: Outcome<unknown>): Expected {
  return outcome.type === "done" ? { answer: outcome.answer } : { refused: outcome.code };
}

/** What runs deciders and readers: a store, or a test that wants to see what would be run. */
export type Runs = Pick<TestStore, "run" | "ask">;

export function outcomeOf(t: Runs, o: Operation): Promise<Outcome<unknown>> {
  switch (o.op) {
    case "set":
      return t.run(kv.set, o.command);
    case "getSet":
      return t.run(kv.getSet, o);
    case "setMany":
      return t.run(kv.setMany, o);
    case "setManyIfAbsent":
      return t.run(kv.setManyIfAbsent, o);
    case "delete":
      return t.run(
        kv.delete,
        o.ifRevision === undefined ? { key: o.key } : { key: o.key, ifRevision: o.ifRevision },
      );
    case "deleteMany":
      return t.run(kv.deleteMany, o);
    case "increment":
      return t.run(kv.increment, o);
    case "expire":
      return t.run(kv.expire, o);
    case "persist":
      return t.run(kv.persist, o);
    case "append":
      return t.run(kv.append, o);
    case "setRange":
      return t.run(kv.setRange, o);
    case "rename":
      return t.run(kv.rename, o);
    case "renameIfAbsent":
      return t.run(kv.renameIfAbsent, o);
    case "copy":
      return t.run(kv.copy, o);
    case "flush":
      return t.run(kv.flush, {});
    case "getMany":
      return t.ask(kv.getMany, o);
    case "getRange":
      return t.ask(kv.getRange, o);
    case "size":
      return t.ask(kv.size, {});
    case "get":
    case "exists":
    case "ttl":
    case "length":
    case "type":
      return t.ask<{ key: string }, unknown>(kv[o.op], o);
  }
}

/** What the operation would run. */
export function stepOfOperation(o: Operation): Step<unknown> {
  let step: Step<unknown> | undefined;
  void outcomeOf(
    {
      run: async (decide, command) => {
        step = stepOf(decide, command);
        return { type: "rejected", code: "KV_KEY_INVALID", message: "only looked at", seen: 0 as never };
      },
      ask: () => Promise.reject(new Error("a write asks nothing")),
    },
    o,
  );
  if (step === undefined) throw new Error(`${o.op} is no write`);
  return step;
}
