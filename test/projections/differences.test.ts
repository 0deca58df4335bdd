// What two states differ in: exactly what was touched between them, and nothing at all when their digests are equal.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Offset, offset } from "../../log/index.js";
import { type Difference, differences, Fold } from "../../projections/index.js";
import { TEST_STORE_RULES } from "../support/kv-store.js";
import { TestServer } from "../support/test-server.js";

let server: TestServer;
beforeEach(async () => {
  server = await TestServer.start();
});
afterEach(() => server.close());

async function run(...commands: readonly (readonly [string, object])[]): Promise<Offset> {
  for (const [command, payload] of commands) {
    server.now += 10;
    expect(await server.command(command, payload)).toMatchObject({ success: true });
  }
  return server.log.endOffset;
}

async function foldAt(last: Offset): Promise<Fold> {
  const fold = new Fold({ rules: TEST_STORE_RULES });
  if (last === 0) return fold;
  for await (const batch of server.log.read(offset(1), { last }))
    for (const record of batch) fold.take(record);
  return fold;
}

async function between(a: Offset, b: Offset): Promise<string[]> {
  return [...differences(await foldAt(a), await foldAt(b))].map(shown);
}

const shown = ({ kind, name, change, sameValue }: Difference): string =>
  `${change} ${kind} ${name}${sameValue === true ? " (same)" : ""}`;

describe("differences", () => {
  it("are exactly the keys, queues and streams that changed, in both directions", async () => {
    const before = await run(
      [
        "kv.mset",
        {
          pairs: ["kept", "changed", "again", "typed", "aged", "gone", "back"].map((key) => ({
            key,
            value: "1",
          })),
        },
      ],
      ["queue.create", { name: "kept" }],
      ["queue.create", { name: "changed" }],
      ["queue.create", { name: "gone" }],
      ["queue.publish", { queue: "changed", payload: "1" }],
      ["stream.create", { room: "kept" }],
      ["stream.create", { room: "changed" }],
      ["stream.create", { room: "gone" }],
    );
    const after = await run(
      ["kv.set", { key: "changed", value: "2" }],
      ["kv.set", { key: "again", value: "1" }],
      ["kv.set", { key: "typed", value: 1 }],
      ["kv.expire", { key: "aged", ttl: 100 }],
      ["kv.del", { key: "gone" }],
      ["kv.set", { key: "new", value: "1" }],
      ["kv.set", { key: "passing", value: "1" }],
      ["kv.del", { key: "passing" }],
      ["queue.publish", { queue: "changed", payload: "2" }],
      ["queue.delete", { queue: "gone" }],
      ["queue.create", { name: "new" }],
      ["stream.publish", { room: "changed", event: "e", data: 1 }],
      ["stream.delete", { room: "gone" }],
      ["stream.create", { room: "new" }],
    );
    expect(await between(before, after)).toEqual([
      "changed key again (same)",
      "changed key aged (same)",
      "changed key changed",
      "removed key gone",
      "added key new",
      "changed key typed",
      "changed queue changed",
      "removed queue gone",
      "added queue new",
      "changed stream room/changed",
      "removed stream room/gone",
      "added stream room/new",
    ]);
    const back = (await between(after, before)).map((each) => each.split(" ").slice(0, 3).join(" "));
    expect(back).toContain("added key gone");
    expect(back).toContain("removed key new");
    expect(back).toHaveLength(12);
    expect(await between(after, after)).toEqual([]);
    expect(await between(offset(0), before)).toHaveLength(7 + 3 + 3);
  });

  it("judge expiry at each state's own time", async () => {
    const before = await run(["kv.set", { key: "brief", value: "1", ttl: 1 }]);
    server.now += 5_000;
    const after = await run(["kv.set", { key: "other", value: "1" }]);
    expect(await between(before, after)).toEqual(["removed key brief", "added key other"]);
  });

  it("of two logs are told also where the numbers are the same", async () => {
    const other = await TestServer.start();
    await run(["kv.set", { key: "a", value: "1" }], ["kv.set", { key: "b", value: "1", ttl: 10 }]);
    const before = await foldAt(offset(2));
    const here = server;
    server = other;
    await run(["kv.set", { key: "a", value: "2" }], ["kv.set", { key: "b", value: "1", ttl: 20 }]);
    const after = await foldAt(offset(2));
    await here.close();
    expect([...differences(before, after)].map(shown)).toEqual(["changed key a", "changed key b (same)"]);
  });

  it("of a queue are told when only the state of a message changed", async () => {
    const before = await run(
      ["queue.create", { name: "q" }],
      ["queue.publish", { queue: "q", payload: "1" }],
    );
    const after = await run(["queue.consume", { queue: "q", consumer_id: "c" }]);
    expect(await between(before, after)).toEqual(["changed queue q"]);
  });
});
