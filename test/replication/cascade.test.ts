/** Replicas of replicas are members of the set as all others: listed, counted, asked, and promoted without force. */
import { describe, expect, it } from "vitest";
import { eachSet } from "../support/each-set.js";
import { addressOf, confirmedBy, has, type SetNode } from "../support/set-node.js";

const sets = eachSet();
const { until, settled } = sets;

const follows = (name: string) => ({ role: "replica", masterAddress: addressOf(name) }) as const;

const listIsWhole = (primary: SetNode, count: number): boolean => {
  const { peers } = primary.node.stats();
  return peers.length === count && peers.every(({ counts }) => counts);
};

/** Each follows the one before; with `beside`, these follow the first. */
async function chainOf(names: string, beside = ""): Promise<Record<string, SetNode>> {
  const nodes: Record<string, SetNode> = {};
  for (const [index, name] of [...names].entries()) {
    nodes[name] = sets.world.add(name);
    await nodes[name].start(index === 0 ? {} : follows(names[index - 1]!));
  }
  for (const name of beside) {
    nodes[name] = sets.world.add(name);
    await nodes[name].start(follows(names[0]!));
  }
  const count = names.length + beside.length;
  await until(() => listIsWhole(nodes[names[0]!]!, count), "all are listed, and count");
  const knowsAll = ({ node }: SetNode): boolean => node.stats().peers.length === count;
  await until(() => Object.values(nodes).every(knowsAll), "each knows the list");
  return nodes;
}

const tree = (node: SetNode): Record<string, string | undefined> => {
  const { peers } = node.node.stats();
  const nameOf = (id: string | undefined) => peers.find(({ nodeId }) => nodeId === id)?.name;
  return Object.fromEntries(peers.map(({ name, follows: feeder }) => [name, nameOf(feeder)]));
};

describe("a chain of replicas", () => {
  it("is listed as a whole, and every node knows the list", async () => {
    const { a, b, c, d } = await chainOf("abcd");
    expect(tree(a!)).toEqual({ a: undefined, b: "a", c: "b", d: "c" });
    await until(() => d!.node.stats().peers.length === 4, "the last one knows them all");
    expect(d!.node.stats().peers.map(({ name }) => name)).toEqual(["a", "b", "c", "d"]);
    expect(tree(b!)).toEqual({ a: undefined, b: "a", c: "b", d: "c" });
    expect(tree(c!)).toEqual({ a: undefined, b: undefined, c: "b", d: "c" });
    expect([a!.node.quorum(), d!.node.primaryHttp]).toEqual([2, "http://a:15500"]);
  });

  it("confirms writes as far as it reaches, without waiting for a heartbeat", async () => {
    const { a, d } = await chainOf("abcd");
    const since = sets.world.clock.stopwatch();
    expect(await confirmedBy(a!, "one", 3)).toBe(3);
    expect(sets.world.clock.stopwatch() - since).toBeLessThan(500);
    expect(d!.required.durableOffset).toBe(a!.end);
    sets.world.cut("c", "d");
    expect(await confirmedBy(a!, "two", 3, 500)).toBe(2);
  });

  it("its last node is promoted without force, and all others are asked", async () => {
    const { a, b, c } = await chainOf("abc");
    expect(await confirmedBy(a!, "one", 2)).toBe(2);
    await a!.crash();
    const report = await settled(c!.node.promote(), "c leads");
    expect(report).toMatchObject({ epoch: 2, forced: false, recordsLost: 0 });
    expect(report.answers.map(({ name, reached }) => [name, reached])).toEqual([
      ["a", false],
      ["b", true],
    ]);
    await until(() => has(b!, c!), "b follows c");
    await settled(a!.start(), "a has started");
    await until(() => has(a!, c!), "a follows c");
    expect(await confirmedBy(c!, "two", 2)).toBe(2);
    expect(await a!.texts()).toEqual(["one", "two"]);
  });

  it("keeps a promotion from passing over what only its last node has", async () => {
    const { a, b, c, x } = await chainOf("abc", "x");
    sets.world.cut("a", "x");
    // Two of three: the chain.
    expect(await confirmedBy(a!, "one", 2)).toBe(2);
    await a!.crash();
    await b!.crash();
    sets.world.heal();
    await expect(settled(x!.node.promote(), "it was refused")).rejects.toMatchObject({
      code: "REPLICATION_NOT_ALL_REACHED",
    });
    await b!.start();
    await expect(settled(x!.node.promote(), "it was refused")).rejects.toMatchObject({
      code: "REPLICATION_BETTER_REPLICA",
    });
    await settled(c!.node.promote(), "c leads");
    expect(await c!.texts()).toEqual(["one"]);
  });

  it("states the list also for a node that was listed before it came to stand behind another", async () => {
    const { a, b, c } = await chainOf("ab", "c");
    await settled(c!.node.follow(addressOf("b")), "c follows b");
    await until(() => tree(a!)["c"] === "b", "a is told");
    const d = sets.world.add("d");
    await d.start(follows("a"));
    // Its confirmations count when c is known to have it on its list.
    await until(() => listIsWhole(a!, 4), "the newcomer counts");
    expect(await confirmedBy(a!, "one", 3)).toBe(3);
    expect([b!, c!, d].map((node) => has(node, a!))).toEqual([true, true, true]);
  });

  it("counts for how many replicas a primary must have heard of", async () => {
    const { a, b, c } = await chainOf("abc");
    await a!.stop();
    await a!.start({ minReplicasForWrite: 2 });
    await until(() => a!.node.writeRefusal() === undefined, "both are heard of");
    await c!.crash();
    expect(a!.node.writeRefusal()).toBeUndefined();
    await sets.world.clock.advance(25_000);
    expect(a!.node.writeRefusal()?.code).toBe("REPLICATION_TOO_FEW_REPLICAS");
    await c!.start();
    await until(() => a!.node.writeRefusal() === undefined, "c is heard of again");
    // The link to the middle breaks for a moment: neither is gone for that.
    await b!.node.follow(addressOf("a"));
    expect(a!.node.writeRefusal()).toBeUndefined();
  });

  it("is handed the lead at its end, and nobody who is there can be forgotten", async () => {
    const { a, c } = await chainOf("abc");
    await expect(a!.node.forget(c!.nodeId)).rejects.toMatchObject({ code: "REPLICATION_ROLE_WRONG" });
    a!.write("one");
    const end = await settled(a!.node.drain(c!.nodeId, 3_000), "c has everything");
    expect(c!.required.durableOffset).toBe(end);
    expect((await settled(c!.node.promote(), "c leads")).recordsLost).toBe(0);
  });

  it("forgets a node behind another once that is gone", async () => {
    const { a, c } = await chainOf("abc");
    await c!.crash();
    await until(() => tree(a!)["c"] === undefined, "the middle has told");
    expect(await settled(a!.node.forget(c!.nodeId), "it is struck off")).toBe(true);
    await sets.world.clock.advance(5_000);
    expect(a!.node.stats().peers.map(({ name }) => name)).toEqual(["a", "b"]);
  });
});

describe("a full sync from a node that is late itself", () => {
  it("waits until that has as much: nothing that was confirmed is taken back", async () => {
    const { a, b, c } = await chainOf("a", "bc");
    sets.world.cut("a", "b");
    expect(await confirmedBy(a!, "one", 1)).toBe(1);
    const { end } = c!;
    expect(b!.end).toBeLessThan(end);
    await settled(c!.node.follow(addressOf("b")), "c follows b");
    await until(() => c!.node.stats().upstream?.phase === "comparing", "b is asked");
    const reconnects = (): number => c!.node.stats().counters.reconnects;
    const before = reconnects();
    await settled(c!.node.resync(), "everything is wanted anew");
    await until(() => reconnects() > before + 1, "b was asked for it");
    const now = sets.world.clock.now();
    await until(() => sets.world.clock.now() > now + 500, "time has passed");
    expect(c!.end).toBe(end);
    sets.world.heal();
    await until(() => c!.installs === 2 && has(b!, a!) && has(c!, a!), "everybody has everything");
  });
});

describe("a fail-over beside a chain", () => {
  it("leaves a replica of a replica where it is: its link does not even end", async () => {
    const { a, b, c, x } = await chainOf("abc", "x");
    expect(await confirmedBy(a!, "one", 3)).toBe(3);
    const { reconnects } = c!.node.stats().counters;
    await a!.crash();
    await settled(x!.node.promote(), "x leads");
    // Fenced, and its feeder does not have the new leadership yet: it waits, and acknowledges nothing.
    expect(c!.node.heard?.epoch).toBe(2);
    expect(await confirmedBy(x!, "two", 2, 30_000)).toBe(2);
    expect([has(b!, x!), has(c!, x!)]).toEqual([true, true]);
    expect(c!.node.following).toEqual(addressOf("b"));
    expect(c!.node.stats().counters.reconnects).toBe(reconnects);
    expect(tree(x!)).toMatchObject({ b: "x", c: "b" });
  });

  it("turns it to the primary itself when the one between does not come back", async () => {
    const { a, b, c, x } = await chainOf("abc", "x");
    expect(await confirmedBy(a!, "one", 3)).toBe(3);
    await a!.crash();
    await settled(x!.node.promote(), "x leads");
    await b!.crash();
    await until(() => has(c!, x!), "c follows x");
    expect(c!.node.following).toEqual(addressOf("x"));
  });

  it("nothing that a node behind another holds of an end that is cut counts as the new primary's", async () => {
    const { a, b, c } = await chainOf("abc");
    expect(await confirmedBy(a!, "one", 2)).toBe(2);
    sets.world.cut("a", "b", "c");
    await settled(b!.node.promote({ force: true }), "b leads");
    for (let i = 0; i < 10; i++) b!.write(`of b ${i}`);
    await until(() => has(c!, b!), "c has it");
    // Neither hears of the other: a goes on, under a leadership of its own.
    sets.world.cut("a", "b", "c");
    await a!.stop();
    await settled(a!.start(), "a has started");
    await b!.crash();
    await c!.crash();
    sets.world.heal();
    await settled(a!.node.promote({ force: true }), "a leads anew").catch(() => undefined);
    await b!.start();
    await c!.start();
    await until(
      () => [a!, b!, c!].filter((node) => node.node.writeRefusal() === undefined).length === 1,
      "one leads",
    );
    const [leader] = [a!, b!, c!].filter((node) => node.node.writeRefusal() === undefined);
    expect(await confirmedBy(leader!, "last", 2, 60_000)).toBe(2);
    for (const node of [a!, b!, c!]) if (node !== leader) expect(has(node, leader!)).toBe(true);
  });
});
