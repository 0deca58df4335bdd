/** How far a replica is behind; and backpressure: past the limit that is set a primary takes no writes until its replicas are near again. */
import { describe, expect, it } from "vitest";
import { eachSet } from "../support/each-set.js";
import { addressOf, type SetNode } from "../support/set-node.js";
import { appendMany } from "../support/test-log.js";

const sets = eachSet();
const { until } = sets;

async function pair(writeLagMsMax: number): Promise<[SetNode, SetNode]> {
  const [a, b] = [sets.world.add("a", { writeLagMsMax }), sets.world.add("b")];
  await a.start();
  await b.start({ role: "replica", masterAddress: addressOf("a") });
  await until(() => a.node.stats().peers.filter(({ counts }) => counts).length === 2, "b counts");
  return [a, b];
}

const lagOf = (node: SetNode): number => node.node.stats().replicas[0]!.lagMs;

describe("a primary whose replica does not keep up", () => {
  it("takes no writes past the limit, and goes on when the replica is near", async () => {
    const [a, b] = await pair(200);
    expect(a.node.writeRefusal()).toBeUndefined();
    sets.world.cut("a", "b");
    a.write("it does not get this");
    await until(() => lagOf(a) > 400, "it is far behind");
    expect(a.node.writeRefusal()).toMatchObject({ code: "REPLICATION_LAGGING" });
    sets.world.heal();
    await until(() => b.required.durableOffset === a.end, "it has it");
    await until(() => a.node.writeRefusal() === undefined, "writes are taken again");
  });

  it("goes on after a long time without a write: the replica was not behind all that time", async () => {
    const [a, b] = await pair(200);
    a.write("one");
    await until(() => b.required.durableOffset === a.end, "it has it");
    const { end } = a;
    const later = sets.world.clock.now() + 60_000;
    await until(() => sets.world.clock.now() >= later, "a minute has passed");
    a.write("two");
    await until(() => a.required.durableOffset > end, "it is durable");
    expect(b.required.durableOffset).toBe(end);
    expect(lagOf(a)).toBeLessThan(200);
    expect(a.node.writeRefusal()).toBeUndefined();
  });

  it("takes them all where no limit is set", async () => {
    const [a] = await pair(0);
    sets.world.cut("a", "b");
    a.write("it does not get this");
    await until(() => lagOf(a) > 400, "it is far behind");
    expect(a.node.writeRefusal()).toBeUndefined();
  });
});

describe("the lag of a replica in bytes", () => {
  it("is what it lacks, whatever the sizes of its records and of those that it has", async () => {
    const [a, b] = await pair(0);
    const bytes = (): number => a.logSegments()!.usage().bytes - 104 * a.logSegments()!.usage().segments;
    await appendMany(a.required, 30, 10);
    await until(() => b.required.durableOffset === a.end, "it has it");
    const lagBytes = (): number => a.node.stats().replicas[0]!.lagBytes;
    await until(() => lagBytes() === 0, "it has said so");
    sets.world.cut("a", "b");
    const before = bytes();
    await appendMany(a.required, 20, 2000);
    await appendMany(a.required, 300, 10);
    const lacks = bytes() - before;
    // At most what is in the segment that it is in is not known by its place.
    expect(Math.abs(lagBytes() - lacks)).toBeLessThan(4096);
    expect(lacks).toBeGreaterThan(40_000);
    sets.world.heal();
    await until(() => b.required.durableOffset === a.end && lagBytes() === 0, "it has everything");
  });
});
