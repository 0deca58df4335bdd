import { describe, expect, it } from "vitest";
import { hasPrimarysLog } from "../../replication/behind.js";
import { mayStandAlone } from "../../replication/standing-alone.js";
import { eachSet } from "../support/each-set.js";
import { addressOf, confirmedBy, has, refusal, type SetNode } from "../support/set-node.js";
import { DISK } from "../support/test-log.js";
import { turns } from "../support/virtual-clock.js";

const sets = eachSet();
const { setOf, until, settled, codeOf } = sets;

const REPLICA = { role: "replica" } as const;

describe("a set", () => {
  it("is joined by fresh nodes, which come onto the list and confirm writes", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    expect(await confirmedBy(a!, "one", 2)).toBe(2);
    expect(a!.node.quorum()).toBe(1);
    expect(b!.node.stats().peers.map(({ name }) => name)).toEqual(["a", "b", "c"]);
    expect(refusal(b!)).toBe("REPLICATION_READ_ONLY");
    expect(c!.node.primaryHttp).toBe("http://a:15500");
    await until(() => has(c!, a!), "c has it");
    expect(await c!.texts()).toEqual(["one"]);
    expect([a!.writesByItself, b!.writesByItself]).toEqual([true, false]);
    expect(b!.node.primaryTime).toBeCloseTo(sets.world.clock.now(), -4);
  });

  it("whose nodes serve HTTP on every address of their hosts knows each where it is reached", async () => {
    const httpAddress = () => "http://0.0.0.0:15500";
    const [a, b, c] = ["a", "b", "c"].map((name) => sets.world.add(name, { httpAddress }));
    await a!.start();
    await b!.start({ ...REPLICA, masterAddress: addressOf("a") });
    await c!.start({ ...REPLICA, masterAddress: addressOf("b") });
    const isThere = (node: SetNode, other: string) =>
      node.node.stats().peers.find(({ name }) => name === other)?.http === `http://${other}:15500`;
    await until(() => isThere(c!, "a") && isThere(c!, "b"), "c knows where the others are");
    expect([b!, c!].map(({ node }) => node.primaryHttp)).toEqual(["http://a:15500", "http://a:15500"]);
    await until(() => b!.node.stats().peers.every(({ counts }) => counts), "all count");
    await settled(b!.node.promote(), "b leads");
    await until(() => has(a!, b!) && has(c!, b!), "they follow");
    expect([a!, c!].map(({ node }) => node.primaryHttp)).toEqual(["http://b:15500", "http://b:15500"]);
    expect(b!.node.stats().http).toBe("http://b:15500");
  });

  it("goes on after every node was restarted", async () => {
    const [a, b] = await setOf("a", "b");
    await confirmedBy(a!, "one", 1);
    for (const node of [a!, b!]) {
      await node.crash("power");
      await settled(node.start(), "it has started");
    }
    expect(await confirmedBy(a!, "two", 1)).toBe(1);
    expect(await b!.texts()).toEqual(["one", "two"]);
  });

  it("confirms at once, also right after records that nobody waits for", async () => {
    const [a, b] = await setOf("a", "b", "c");
    await confirmedBy(a!, "one", 2);
    const since = sets.world.clock.now();
    for (const text of ["two", "three"]) await a!.required.whenCommitted(a!.write(text));
    expect(await confirmedBy(a!, "four", 2)).toBe(2);
    for (const text of ["five", "six"]) await a!.required.whenCommitted(a!.write(text));
    await turns(60);
    expect(await settled(a!.node.drain(b!.nodeId, 3_000), "b has everything")).toBe(a!.end);
    expect(sets.world.clock.now()).toBe(since);
    a!.node.endDrain();
  });

  it("tells how many hold a write when not enough do in time", async () => {
    const [a, b] = await setOf("a", "b");
    sets.world.cut("a", "b");
    expect(await confirmedBy(a!, "one", 1, 500)).toBe(0);
    sets.world.heal();
    await until(() => b!.end === a!.end, "b has it");
  });

  it("counts those that do have it, however long the write waits for more", async () => {
    const [a] = await setOf("a", "b", "c");
    for (const ms of [700, 900, 2_900, 5_000]) expect(await confirmedBy(a!, `${ms} ms`, 3, ms)).toBe(2);
  });

  it("takes no writes while fewer replicas were heard of than it must have", async () => {
    const [a, b] = await setOf("a", "b");
    await a!.stop();
    await a!.start({ minReplicasForWrite: 1 });
    await until(() => refusal(a!) === undefined, "b is heard of");
    await b!.crash();
    expect(refusal(a!)).toBeUndefined();
    await sets.world.clock.advance(10_001);
    expect(refusal(a!)).toBe("REPLICATION_TOO_FEW_REPLICAS");
    expect(a!.node.writeRefusal()?.context).toMatchObject({ found: 0, wanted: 1 });
    expect(a!.node.stats().replicas).toMatchObject([{ name: "b", connected: false, counts: false }]);
    await b!.start();
    await until(() => refusal(a!) === undefined, "b is heard of again");
  });
});

describe("a replica that has lost its primary", () => {
  it("says what it knows to lack, never that it lacks nothing, and once it has greeted how much that is", async () => {
    const [a, b] = await setOf("a", "b");
    const upstream = () => b!.node.stats().upstream;
    expect(upstream()).toMatchObject({ connected: true, lagRecords: 0, lagMs: 0 });
    sets.world.cut("a", "b");
    await until(() => upstream()?.connected === false, "b has given it up");
    expect(upstream()).toMatchObject({ primaryEnd: a!.end, lagRecords: undefined });
    expect(upstream()?.lagMs).toBeGreaterThan(0);
    for (let i = 0; i < 5; i++) a!.write(`text ${i}`);
    await sets.world.clock.advance(60_000);
    sets.world.heal();
    let first: ReturnType<typeof upstream>;
    await until(() => {
      if (upstream()?.connected === true) first ??= upstream();
      return first !== undefined;
    }, "they have greeted");
    expect(first).toMatchObject({ lagRecords: 5 });
    expect(first?.lagMs).toBeGreaterThan(60_000);
    await until(() => upstream()?.lagRecords === 0, "b has it");
  });
});

describe("a replica that is lost", () => {
  const told = (node: SetNode): string[] => node.node.stats().replicas.map(({ name }) => name);

  it("is told of by its primary, further and further behind, until it is back, or struck off", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    await c!.crash();
    for (let i = 0; i < 5; i++) a!.write(`text ${i}`);
    await until(() => b!.end === a!.end, "b has it");
    await sets.world.clock.advance(60_000);
    const replica = a!.node.stats().replicas.find(({ name }) => name === "c");
    expect(replica).toMatchObject({ connected: false, phase: "gone", counts: false, lagRecords: 5 });
    expect(replica!.lagMs).toBeGreaterThan(50_000);
    expect(replica!.lagBytes).toBeGreaterThan(0);
    // It is not waited for, and does not count.
    expect(await confirmedBy(a!, "one", 2, 1_000)).toBe(1);
    await c!.start();
    await until(() => a!.node.stats().replicas.every(({ lagRecords }) => lagRecords === 0), "c is back");
    expect(told(a!).sort()).toEqual(["b", "c"]);
    await c!.crash();
    await until(() => !a!.node.stats().replicas.every(({ connected }) => connected), "c is gone");
    await settled(a!.node.forget(c!.nodeId), "c is forgotten");
    expect(told(a!)).toEqual(["b"]);
  });

  it("is not missed by whom it followed before: it follows another now, or leads, or that one does not lead", async () => {
    const [a, b, c, d] = await setOf("a", "b", "c", "d");
    await settled(c!.node.follow(addressOf("b")), "c follows b");
    await until(() => told(b!).includes("c"), "b feeds c");
    await until(() => told(a!).sort().join() === "b,d", "a has heard of it");
    await d!.crash();
    await settled(b!.node.promote({ force: true }), "b leads");
    await until(() => has(a!, b!), "a follows b");
    expect(told(a!)).not.toContain("b");
    await sets.world.clock.advance(20_000);
    expect(told(a!)).toEqual([]);
    expect(told(b!).sort()).toEqual(["a", "c"]);
  });
});

describe("a fence", () => {
  it("holds after a restart, until the node follows", async () => {
    const [a, b] = await setOf("a", "b");
    await a!.stop();
    await a!.start({ rejoin: false });
    await settled(b!.node.promote(), "b leads");
    await until(() => refusal(a!) === "REPLICATION_FENCED", "a is fenced");
    expect(a!.node.fence).toMatchObject({ heard: { epoch: 2 } });
    expect([a!.writesByItself, a!.rests, b!.rests]).toEqual([false, 1, 0]);
    await a!.crash("power");
    sets.world.cut("a", "b");
    await settled(a!.start(), "a has started");
    expect(refusal(a!)).toBe("REPLICATION_FENCED");
    expect(a!.writesByItself).toBe(false);
    await expect(mayStandAlone(a!.files, DISK, a!.required.epochs.at(-1))).rejects.toMatchObject({
      code: "REPLICATION_NOT_ALONE",
      message: expect.stringMatching(/ends under epoch 1 .*, and epoch 2 .* was heard of from b/),
      context: { own: 1, epoch: 2 },
    });
    sets.world.heal();
    await settled(a!.node.follow(addressOf("b")), "a follows");
    await until(() => has(a!, b!), "a has everything");
    await a!.crash();
    await settled(a!.start(), "a has started");
    expect(a!.node.role).toBe("replica");
  });

  it("lets a zombie confirm nothing", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    const knowers = () => [a!, b!, c!].filter(({ node }) => hasPrimarysLog(node.stats()));
    await until(() => knowers().length === 2, "both replicas stream");
    sets.world.cut("a", "b", "c");
    const waiting = a!.node.confirmed(a!.write("nobody's"), 1, 60_000);
    await settled(b!.node.promote(), "b leads");
    expect(refusal(a!)).toBeUndefined();
    // c was told of b's leadership, and has none of its records yet.
    expect([c!.node.heard?.epoch, c!.node.own?.epoch, knowers()]).toEqual([2, 1, []]);
    // Its link to c was never closed: what it wrote arrives there, and c was fenced.
    sets.world.heal();
    await expect(settled(waiting, "it was refused")).rejects.toMatchObject({ code: "REPLICATION_FENCED" });
    expect(refusal(a!)).toBe("REPLICATION_FENCED");
    await until(() => has(c!, b!) && has(a!, b!), "all follow b");
    expect(a!.kept.map(({ records }) => records)).toEqual([1]);
    await until(
      () =>
        knowers()
          .map(({ name }) => name)
          .join() === "a,c",
      "both have b's",
    );
  });

  it("stops a primary that nobody tells, as soon as it looks around", async () => {
    const [a, b] = await setOf("a", "b");
    sets.world.cut("a", "b");
    await settled(b!.node.promote(), "b leads");
    await sets.world.clock.advance(20_000);
    expect(refusal(a!)).toBeUndefined();
    sets.world.heal();
    await until(() => a!.node.role === "replica", "a was told");
  });

  it("stops a primary at its start that was replaced while it was away, before it takes a write", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    await a!.stop();
    await settled(c!.node.promote(), "c leads");
    await until(() => has(b!, c!), "b follows c");
    await c!.crash();
    // Only b can tell.
    await settled(a!.start({ rejoin: false }), "a has started");
    expect(refusal(a!)).toBe("REPLICATION_FENCED");
    expect(a!.writesByItself).toBe(false);
  });

  it("can be left by promoting the fenced node again", async () => {
    const [a, b] = await setOf("a", "b");
    await a!.stop();
    await a!.start({ rejoin: false });
    await settled(b!.node.promote(), "b leads");
    await until(() => refusal(a!) === "REPLICATION_FENCED", "a is fenced");
    expect(await codeOf(a!.node.promote())).toBe("REPLICATION_BETTER_REPLICA");
    const report = await settled(a!.node.promote({ force: true }), "a leads");
    expect(report.epoch).toBe(3);
    expect(refusal(a!)).toBeUndefined();
    await until(() => has(b!, a!), "b follows a");
  });
});

describe("the list of nodes", () => {
  it("keeps a new replica from confirming until every other node knows it", async () => {
    const [a, , c] = await setOf("a", "b", "c");
    await c!.crash();
    const d = sets.world.add("d");
    await d.start({ ...REPLICA, masterAddress: addressOf("a") });
    await until(() => d.end === a!.end && d.node.stats().peers.length === 4, "d has everything");
    expect(await confirmedBy(a!, "one", 2, 2_000)).toBe(1);
    await c!.start();
    expect(await confirmedBy(a!, "two", 3, 10_000)).toBe(3);
  });

  it("lets go of a node that never comes back", async () => {
    const [a, b, c] = await setOf("a", "b", "c");
    expect(await codeOf(a!.node.forget(c!.nodeId))).toBe("REPLICATION_ROLE_WRONG");
    await c!.crash();
    await until(
      () => !a!.node.stats().replicas.some(({ name, connected }) => name === "c" && connected),
      "c is gone",
    );
    expect(await settled(a!.node.forget(c!.nodeId), "c is forgotten")).toBe(true);
    await until(() => b!.node.stats().peers.length === 2, "b knows");
    await a!.crash();
    const report = await settled(b!.node.promote(), "b leads");
    expect(report.answers.map(({ name }) => name)).toEqual(["a"]);
  });
});

describe("the settings", () => {
  it("that make a replica a master make it win a leadership when it starts", async () => {
    const [a, b] = await setOf("a", "b");
    await confirmedBy(a!, "one", 1);
    await a!.stop();
    await b!.stop();
    await settled(b!.start({ role: "master" }), "b has started");
    expect(b!.node.own?.epoch).toBe(2);
    expect(refusal(b!)).toBeUndefined();
    expect(b!.writesByItself).toBe(true);
  });

  it("are overruled by what the node was told, until they change", async () => {
    const [a, b] = await setOf("a", "b");
    await settled(b!.node.promote(), "b leads");
    await until(() => a!.node.role === "replica", "a follows");
    for (const node of [a!, b!]) {
      await node.crash("power");
      await settled(node.start(), "it has started");
    }
    expect([a!.node.role, b!.node.role]).toEqual(["replica", "master"]);
    expect(await confirmedBy(b!, "one", 1)).toBe(1);
    await b!.stop();
    await settled(b!.start({ masterAddress: addressOf("c") }), "it has started");
    expect([b!.node.role, b!.node.following?.host]).toEqual(["replica", "c"]);
  });

  it("that changed while the node ran are overruled by what it was told since, over a restart", async () => {
    const [a, b] = await setOf("a", "b");
    await settled(b!.node.promote(), "b leads");
    await until(() => has(a!, b!), "a follows");
    a!.settings = { ...a!.settings, role: "replica", masterAddress: addressOf("b") };
    await settled(a!.node.turnTo(addressOf("b")), "a was told what its settings say");
    await until(() => has(a!, b!), "a follows");
    await settled(a!.node.promote(), "a leads again");
    await a!.stop();
    await settled(a!.start(), "a has started");
    expect([a!.node.role, refusal(a!)]).toEqual(["master", undefined]);
  });

  it("that make a node stand alone are for one that leads, or never was in a set", async () => {
    const [a, b] = await setOf("a", "b");
    const alone = ({ files, required }: SetNode) => mayStandAlone(files, DISK, required.epochs.at(-1));
    await alone(a!);
    // What its log holds is the primary's; an epoch of its own would end that one's when it comes back.
    expect(await codeOf(alone(b!))).toBe("REPLICATION_NOT_ALONE");
    await settled(b!.node.promote(), "b leads");
    await alone(b!);
    const c = sets.world.add("c");
    await mayStandAlone(c.files, DISK, undefined);
    await c.start({ ...REPLICA, masterAddress: addressOf("nobody") });
    await mayStandAlone(c.files, DISK, undefined);
    await c.crash();
    await settled(c.start({ masterAddress: addressOf("b") }), "c has started");
    await until(() => c.end === b!.end, "c has everything");
    expect(await codeOf(mayStandAlone(c.files, DISK, undefined))).toBe("REPLICATION_NOT_ALONE");
  });
});
