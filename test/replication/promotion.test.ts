/** How a node comes to lead: promoted, by force, or because the one that leads hands over to it. */
import { describe, expect, it } from "vitest";
import { eachSet } from "../support/each-set.js";
import { addressOf, confirmedBy, has, refusal } from "../support/set-node.js";

const sets = eachSet();
const { setOf, until, settled, codeOf } = sets;

const REPLICA = { role: "replica" } as const;

describe("a promotion", () => {
  it("makes a replica the primary; the others follow it, and so does the old one when it returns", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    await confirmedBy(a!, "one", 2);
    await a!.crash();
    const report = await settled(b!.node.promote(), "b leads");
    expect(report).toMatchObject({ epoch: 2, forced: false, recordsLost: 0 });
    expect(report.answers.map(({ name, reached, wasPrimary }) => [name, reached, wasPrimary])).toEqual([
      ["a", false, true],
      ["c", true, false],
    ]);
    expect(report.durationMs).toBeLessThanOrEqual(2_000);
    expect(await confirmedBy(b!, "two", 1)).toBe(1);
    await settled(a!.start(), "a has started");
    expect(refusal(a!)).not.toBeUndefined();
    await until(() => has(a!, b!), "a follows b");
    expect(await a!.texts()).toEqual(["one", "two"]);
    expect(await confirmedBy(b!, "three", 2)).toBe(2);
    expect(c!.node.following).toEqual(addressOf("b"));
  });

  it("waits no longer than a second for a primary that answers nothing", async () => {
    const [a, b] = await setOf("a", "b");
    sets.world.cut("a", "b");
    const report = await settled(b!.node.promote(), "b leads");
    expect(report.durationMs).toBeLessThanOrEqual(1_000);
    expect(report.answers[0]).toMatchObject({ name: "a", reached: false });
    // What was on its way to it then fences it only by what everybody says.
    sets.world.heal();
    await until(() => has(a!, b!), "a follows b");
  });

  it("puts aside what the old primary alone has, also when its log is longer", async () => {
    const [a, b] = await setOf("a", "b");
    await confirmedBy(a!, "one", 1);
    sets.world.cut("a", "b");
    for (let i = 0; i < 10; i++) a!.write(`lost ${i}`);
    await a!.required.whenCommitted(a!.required.endOffset);
    await settled(b!.node.promote(), "b leads");
    b!.write("kept");
    await b!.required.whenCommitted(b!.required.endOffset);
    expect(a!.end).toBeGreaterThan(b!.end);
    sets.world.heal();
    await until(() => has(a!, b!), "a follows b");
    expect(await a!.texts()).toEqual(["one", "kept"]);
    expect(a!.kept.map(({ records }) => records)).toEqual([10]);
    expect(a!.node.stats().counters).toMatchObject({ divergences: 1, divergedRecords: 10, timesFenced: 1 });
  });

  it("puts aside and counts the whole log of an old primary that fetches everything anew, and of a sound replica nothing", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    await confirmedBy(a!, "one", 2);
    sets.world.cut("a", "b", "c");
    for (let i = 0; i < 10; i++) a!.write(`lost ${i}`);
    await a!.required.whenCommitted(a!.required.endOffset);
    const records = a!.end;
    await settled(b!.node.promote(), "b leads");
    await settled(a!.node.follow(addressOf("b")), "a is told to follow b");
    for (const node of [a!, c!]) await node.node.resync();
    sets.world.heal();
    await until(() => a!.installs === 1 && c!.installs === 2, "both have everything anew");
    await until(() => has(a!, b!) && has(c!, b!), "both follow b");
    expect(a!.kept).toMatchObject([{ first: 1, last: records, records }]);
    expect(a!.node.stats().counters).toMatchObject({ divergences: 1, divergedRecords: records });
    expect(a!.words.join()).toContain(a!.kept[0]!.directory);
    expect(c!.kept).toEqual([]);
    expect(c!.node.stats().counters).toMatchObject({ divergences: 0, divergedRecords: 0 });
  });

  it("is refused when a known replica cannot be reached, and says so when it is forced", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    await a!.crash();
    sets.world.cut("b", "c");
    expect(await codeOf(b!.node.promote())).toBe("REPLICATION_NOT_ALL_REACHED");
    expect(b!.node.role).toBe("replica");
    expect(c!.node.heard?.epoch).toBe(1);
    const report = await settled(b!.node.promote({ force: true }), "b leads");
    expect(report.answers.find(({ name }) => name === "c")).toMatchObject({ reached: false });
    expect(report.warnings.join()).toContain("c was not fenced");
  });

  it("is refused when another replica has more, and that one can be promoted", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    sets.world.cut("a", "b");
    expect(await confirmedBy(a!, "one", 1)).toBe(1);
    await a!.crash();
    const refused = settled(b!.node.promote(), "b was refused");
    await expect(refused).rejects.toMatchObject({
      code: "REPLICATION_BETTER_REPLICA",
      context: { name: "c" },
    });
    await settled(c!.node.promote(), "c leads");
    await until(() => has(b!, c!), "b follows c");
    expect(await b!.texts()).toEqual(["one"]);
  });

  it("tells how many records it is known to leave behind: of a replica that had more", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    sets.world.cut("a", "b");
    for (const text of ["one", "two", "three"]) expect(await confirmedBy(a!, text, 1)).toBe(1);
    await a!.crash();
    const report = await settled(b!.node.promote({ force: true }), "b leads");
    expect(report).toMatchObject({ forced: true, recordsLost: 3 });
    expect(report.warnings.join()).toContain("c has more than this node");
    await until(() => has(c!, b!), "c follows b");
    expect(c!.kept.map(({ records }) => records)).toEqual([3]);
    // Of a later leadership it is not known how many; one at least.
    await b!.stop();
    await b!.start({ rejoin: false });
    sets.world.cut("b", "c");
    await settled(c!.node.promote({ force: true }), "c leads");
    for (const text of ["four", "five"]) await b!.required.whenCommitted(b!.write(text));
    expect(b!.end).toBeGreaterThan(c!.end);
    sets.world.heal();
    await until(() => refusal(b!) === "REPLICATION_FENCED", "b is fenced");
    expect((await settled(b!.node.promote({ force: true }), "b leads")).recordsLost).toBe(1);
  });

  it("and of a primary that died, by what it was last heard to have", async () => {
    const [a, b] = await setOf("a", "b");
    // Nothing of b arrives: a sends what its window holds, and then heartbeats only.
    const { stalled } = sets.world.network.faults;
    sets.world.network.faults.stalled = ({ from }) => from === "dialler";
    for (let i = 0; i < 2; i++) {
      for (let j = 0; j < 80; j++) a!.write("x".repeat(1_000));
      await a!.required.whenCommitted(a!.required.endOffset);
      await sets.world.clock.advance(100);
    }
    const end = a!.end;
    await until(() => b!.node.stats().upstream?.primaryEnd === end, "b has heard of it");
    await a!.crash();
    sets.world.network.faults.stalled = stalled!;
    sets.world.network.resume();
    const lost = end - b!.end;
    expect(lost).toBeGreaterThanOrEqual(80);
    const report = await settled(b!.node.promote(), "b leads");
    expect(report).toMatchObject({ forced: false, oldEnd: end, recordsLost: lost });
    await settled(a!.start(), "a has started");
    await until(() => has(a!, b!), "a follows b");
    expect(a!.kept.map(({ records }) => records)).toEqual([lost]);
    // It was asked, and has no more now.
    expect(await confirmedBy(b!, "one", 1)).toBe(1);
    expect((await settled(a!.node.promote(), "a leads")).recordsLost).toBe(0);
  });

  it("is refused while the primary has more, lives and was not drained; changes nothing then", async () => {
    const [a, b] = await setOf("a", "b");
    sets.world.network.faults.onWay = (bytes) => (bytes.length > 1_000 ? "cut" : bytes);
    a!.write("x".repeat(1_000));
    await a!.required.whenCommitted(a!.required.endOffset);
    expect(await codeOf(b!.node.promote())).toBe("REPLICATION_BETTER_REPLICA");
    expect(refusal(a!)).toBeUndefined();
    expect(a!.node.heard?.epoch).toBe(1);
    delete sets.world.network.faults.onWay;
    await until(() => b!.end === a!.end, "b follows on");
  });

  it("is refused on the primary, on a node without a log, and while another change is under way", async () => {
    const [a, b] = await setOf("a", "b");
    expect(await codeOf(a!.node.promote())).toBe("REPLICATION_ROLE_WRONG");
    const d = sets.world.add("d");
    await d.start({ ...REPLICA, masterAddress: addressOf("nobody") });
    expect(await codeOf(d.node.promote({ force: true }))).toBe("REPLICATION_NOT_READY");
    const first = b!.node.promote();
    expect(await codeOf(b!.node.promote())).toBe("REPLICATION_CHANGING");
    await settled(first, "b leads");
  });

  it("at two nodes at once is won by one", async () => {
    for (let round = 0; round < 3; round++) {
      const [a, b, c] = await setOf(...["a", "b", "c"].map((name) => `${name}${round}`));
      await a!.crash();
      const codes = await Promise.all([codeOf(b!.node.promote()), codeOf(c!.node.promote())]);
      expect(codes.filter((code) => code === "none")).toHaveLength(1);
      const writing = [b!, c!].filter((node) => refusal(node) === undefined);
      expect(writing).toHaveLength(1);
      expect(await confirmedBy(writing[0]!, "one", 1)).toBe(1);
    }
  });

  it("of two forced ones that knew nothing of each other leaves the higher leading", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    sets.world.cut("a", "b", "c");
    sets.world.cut("b", "c");
    await settled(b!.node.promote({ force: true }), "b leads");
    await settled(c!.node.promote({ force: true }), "c leads");
    expect([refusal(b!), refusal(c!)]).toEqual([undefined, undefined]);
    const higher = b!.node.own!.lineageId > c!.node.own!.lineageId ? b! : c!;
    sets.world.heal();
    await until(
      () => [a!, b!, c!].every((node) => node.node.own!.lineageId === higher.node.own!.lineageId),
      "all follow one",
    );
    expect(refusal(higher)).toBeUndefined();
    expect([a!, b!, c!].filter((node) => refusal(node) === undefined)).toEqual([higher]);
  });
});

describe("a handover", () => {
  it("loses nothing: the primary holds its writes until the other leads", async () => {
    const [a, b] = await setOf("a", "b");
    for (let i = 0; i < 50; i++) a!.write(`text ${i}`);
    const end = await settled(a!.node.drain(b!.nodeId, 3_000), "b has everything");
    expect(refusal(a!)).toBe("REPLICATION_CHANGING");
    expect(a!.writesByItself).toBe(false);
    const report = await settled(b!.node.promote({ from: a!.nodeId }), "b leads");
    expect(report).toMatchObject({ oldEnd: end, recordsLost: 0 });
    expect(a!.node.endDrain()).not.toBe("kept");
    await until(() => has(a!, b!), "a follows b");
    expect(a!.kept).toEqual([]);
    expect(a!.node.endDrain()).toBe("led");
  });

  it("is to whom writes are held for, while they are: nobody else leads by it, nor later", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    const handedOver = { from: a!.nodeId };
    const changedNothing = (): void => {
      expect(refusal(a!)).toBeUndefined();
      expect([a!, b!, c!].map(({ node }) => node.heard?.epoch)).toEqual([1, 1, 1]);
    };
    expect(await codeOf(b!.node.promote(handedOver))).toBe("REPLICATION_NOT_ALL_REACHED");
    changedNothing();
    await settled(a!.node.drain(b!.nodeId, 3_000), "b has everything");
    expect(await codeOf(c!.node.promote(handedOver))).toBe("REPLICATION_NOT_ALL_REACHED");
    await sets.world.clock.advance(3_000);
    expect(await codeOf(b!.node.promote(handedOver))).toBe("REPLICATION_NOT_ALL_REACHED");
    changedNothing();
    expect(a!.node.endDrain()).toBe("kept");
    await until(() => has(b!, a!) && has(c!, a!), "both follow on");
  });

  it("waits for the primary's word, without which any other promotion goes on", async () => {
    const [a, b] = await setOf("a", "b", "c");
    await settled(a!.node.drain(b!.nodeId, 3_000), "b has everything");
    sets.world.cut("a", "b");
    expect(await codeOf(b!.node.promote({ from: a!.nodeId }))).toBe("REPLICATION_NOT_ALL_REACHED");
    expect(await codeOf(b!.node.promote({ from: "0".repeat(32) }))).toBe("REPLICATION_NOT_ALL_REACHED");
    expect(b!.node.heard?.epoch).toBe(1);
    await settled(b!.node.promote(), "b leads");
    expect(refusal(b!)).toBeUndefined();
  });

  it("that the other did not live to see is taken back once it says so, not before", async () => {
    const [a, b] = await setOf("a", "b");
    await settled(a!.node.drain(b!.nodeId, 3_000), "b has everything");
    const promoting = b!.node.promote({ from: a!.nodeId });
    await until(() => a!.node.fence !== undefined, "a has given its lead up");
    void promoting.catch(() => undefined);
    await b!.crash("power");
    expect(a!.node.endDrain()).toBe("open");
    await sets.world.clock.advance(30_000);
    expect([a!.node.endDrain(), refusal(a!)]).toEqual(["open", "REPLICATION_FENCED"]);
    await settled(b!.start(), "b has started");
    const told = new Set<string>();
    await until(() => {
      told.add(a!.node.endDrain());
      return refusal(a!) === undefined;
    }, "a leads again");
    told.delete("back");
    expect([...told], "what it promotes itself under is nobody else's leadership").toEqual(["open"]);
    expect([a!.node.endDrain(), a!.node.own?.epoch]).toEqual(["back", 3]);
    await until(() => has(b!, a!), "b follows a");
  });

  it("is taken back by another try where the first one could not fence all", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    await settled(a!.node.drain(b!.nodeId, 3_000), "b has everything");
    void b!.node.promote({ from: a!.nodeId }).catch(() => undefined);
    await until(() => a!.node.fence !== undefined, "a has given its lead up");
    await b!.crash("power");
    await settled(b!.start(), "b has started");
    await until(() => a!.node.heard?.epoch === 3, "a has been asking, and promotes itself");
    sets.world.cut("a", "c");
    await sets.world.clock.advance(5_000);
    expect([a!.node.endDrain(), refusal(a!)]).toEqual(["open", "REPLICATION_FENCED"]);
    sets.world.heal();
    await until(() => refusal(a!) === undefined, "a leads again");
    expect(a!.node.endDrain()).toBe("back");
    await until(() => has(b!, a!) && has(c!, a!), "both follow a");
  });

  it("is over when somebody tells the primary to follow another node meanwhile", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    await settled(a!.node.drain(b!.nodeId, 3_000), "b has everything");
    await settled(a!.node.follow(addressOf("x")), "a looks for x");
    expect(a!.node.endDrain(), "nobody else's leadership was heard of").toBe("told");
    await settled(b!.node.promote(), "b leads");
    await until(() => has(a!, b!) && has(c!, b!), "both follow b");
  });

  it("that comes to nothing lets the primary go on", async () => {
    const [a, b] = await setOf("a", "b");
    sets.world.cut("a", "b");
    a!.write("one");
    expect(await codeOf(a!.node.drain(b!.nodeId, 1_000))).toBe("REPLICATION_NOT_CONFIRMED");
    expect(refusal(a!)).toBeUndefined();
    await sets.world.clock.advance(10);
    expect(a!.writesByItself).toBe(true);
  });
});
