// The little language of bisect, and the first offset at which it says yes.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Offset, offset } from "../../../log/index.js";
import { firstOffsetWhere } from "../../../ops/past/bisect.js";
import { parsePredicate } from "../../../ops/past/predicate.js";
import { Fold } from "../../../projections/index.js";
import { TEST_STORE_RULES } from "../../support/kv-store.js";
import { TestServer } from "../../support/test-server.js";

let server: TestServer;
beforeEach(async () => {
  server = await TestServer.start();
});
afterEach(() => server.close());

async function run(...commands: readonly (readonly [string, object])[]): Promise<void> {
  for (const [command, payload] of commands) {
    server.now += 10;
    expect(await server.command(command, payload)).toMatchObject({ success: true });
  }
}

/** The offset that it finds from `from` on, by the text of the question. */
async function first(question: string, from = 1): Promise<number | undefined> {
  const fold = new Fold({ rules: TEST_STORE_RULES });
  for await (const batch of server.log.read(offset(1), { last: offset(from - 1) })) {
    for (const record of batch) fold.take(record);
  }
  const found = await firstOffsetWhere(
    parsePredicate(question),
    server.log,
    fold,
    server.log.endOffset,
    () => undefined,
  );
  return found.record?.offset;
}

describe("a predicate", () => {
  it("is found at the first record after which it is true", async () => {
    await run(
      ["kv.set", { key: "a", value: "1" }],
      ["kv.set", { key: "a", value: "22" }],
      ["kv.set", { key: "b", value: "x=y" }],
      ["kv.del", { key: "a" }],
      ["queue.create", { name: "q" }],
      ["queue.publish", { queue: "q", payload: "1" }],
      ["queue.publish_batch", { queue: "q", messages: [{ payload: "2" }, { payload: "3" }] }],
      ["queue.consume", { queue: "q", consumer_id: "c" }],
      ["stream.create", { room: "r" }],
      ["stream.publish", { room: "r", event: "e", data: 1 }],
      ["stream.publish", { room: "r", event: "e", data: 2 }],
      ["kv.set", { key: "a", value: "1" }],
    );
    const expected: Record<string, number | undefined> = {
      "kv.exists:a": 1,
      "kv.exists:b": 3,
      "!kv.exists:a": 4,
      "kv.equals:a=1": 1,
      "kv.equals:a=22": 2,
      "kv.equals:b=x=y": 3,
      "kv.equals:a=": undefined,
      "kv.length:a>1": 2,
      "count.keys=2": 3,
      "count.keys >= 3": undefined,
      "queue.exists:q": 5,
      "queue.depth:q>1": 7,
      "queue.depth:q=3": 7,
      "queue.in_flight:q>=1": 8,
      "queue.dead:q!=0": undefined,
      "queue.depth:q<0": undefined,
      "count.queues>0": 5,
      "stream.exists:r": 9,
      "stream.length:r>=2": 11,
      "count.streams=1": 9,
    };
    const found = Object.fromEntries(
      await Promise.all(Object.keys(expected).map(async (question) => [question, await first(question)])),
    );
    expect(found).toEqual(expected);
  });

  it("finds the first time, also when it was true and false again before the end", async () => {
    await run(
      ["kv.set", { key: "other", value: "1" }],
      ["kv.set", { key: "a", value: "1" }],
      ["kv.del", { key: "a" }],
      ["kv.set", { key: "other", value: "2" }],
      ["kv.set", { key: "a", value: "1" }],
    );
    expect(await first("kv.exists:a")).toBe(2);
    expect(await first("kv.exists:a", 3)).toBe(5);
  });

  it("is judged at each record's own time", async () => {
    await run(["kv.set", { key: "a", value: "1", ttl: 1 }]);
    server.now += 2_000;
    await run(["kv.set", { key: "b", value: "1" }]);
    expect(await first("!kv.exists:a")).toBe(2);
    expect(await first("count.keys=2")).toBeUndefined();
  });

  it("says when it was true from the first record looked at", async () => {
    await run(["kv.set", { key: "a", value: "1" }], ["kv.set", { key: "b", value: "1" }]);
    const looked: Offset[] = [];
    const at = async (from: number) => {
      const fold = new Fold({ rules: TEST_STORE_RULES });
      for (const record of (await readAll()).slice(0, from - 1)) fold.take(record);
      return firstOffsetWhere(parsePredicate("kv.exists:a"), server.log, fold, offset(2), (done) =>
        looked.push(done),
      );
    };
    expect(await at(2)).toMatchObject({ record: { offset: 2 }, fromTheStart: true });
    expect(await at(1)).toMatchObject({ record: { offset: 1 }, fromTheStart: true });
    expect(looked.length).toBeGreaterThan(0);
  });

  it("takes names with any character as JSON strings", async () => {
    await run(["kv.set", { key: 'a=b>"c"', value: "v" }], ["queue.create", { name: "q!" }]);
    expect(await first('kv.exists:"a=b>\\"c\\""')).toBe(1);
    expect(await first('kv.equals:"a=b>\\"c\\""=v')).toBe(1);
    expect(await first('queue.exists:"q!"')).toBe(2);
  });
});

async function readAll() {
  const records = [];
  for await (const batch of server.log.read(offset(1))) records.push(...batch);
  return records;
}

describe("what is no predicate", () => {
  it.each([
    ...["", "a", "kv.exists", "kv.exists:", "kv.exists:a=1", "kv.equals:a", "kv.equals:a>1", "queue.depth:q"],
    ...[
      "queue.depth:q>",
      "queue.depth:q>x",
      "queue.depth:q>1.5",
      "queue.depth>1",
      "count.keys",
      "count.keys:a>1",
    ],
    ...[
      "count.cats>1",
      "kv.constructor:a>1",
      'kv.exists:"a',
      "stream.length:r=>1",
      "kv.exists:a kv.exists:b=1",
    ],
  ])("%j is refused with what is expected", (text) => {
    expect(() => parsePredicate(text)).toThrow(RangeError);
    expect(() => parsePredicate(text)).toThrow(/expected kv\.exists:KEY/);
  });
});
