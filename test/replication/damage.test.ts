import { describe, expect, it, vi } from "vitest";
import {
  LogError,
  type LogSegments,
  listQuarantined,
  type Offset,
  offset,
  type RecordRun,
  readWholeFile,
} from "../../log/index.js";
import type { ReplicationErrorCode } from "../../replication/errors.js";
import type { ReplicationSettings } from "../../replication/settings.js";
import { startingRole } from "../../replication/starting-role.js";
import { eachSet } from "../support/each-set.js";
import { addressOf, type SetNode } from "../support/set-node.js";
import { appendMany, DISK, DISK_LOG, segmentFile, textRecord } from "../support/test-log.js";

const sets = eachSet();
const { until, settled } = sets;

const CHECKING = { checkIntervalMs: 2_000 };

/** A primary "a" and replicas of it, which have five sealed segments and more. */
async function setOf(
  names: readonly string[],
  changes: Partial<ReplicationSettings> = {},
): Promise<SetNode[]> {
  const [first, ...rest] = names.map((name) => sets.world.add(name, { ...CHECKING, ...changes }));
  await first!.start();
  for (const node of rest) await node.start({ role: "replica", masterAddress: addressOf("a") });
  await until(
    () => first!.node.stats().peers.filter(({ counts }) => counts).length === names.length,
    "all count",
  );
  await appendMany(first!.required, 200);
  await until(() => rest.every((node) => has(node, first!)), "everybody has everything");
  return [first!, ...rest];
}

const has = (node: SetNode, primary: SetNode): boolean =>
  node.log() !== undefined && node.required.durableOffset === primary.end;

async function codeOf(promise: Promise<unknown>): Promise<ReplicationErrorCode | "none"> {
  try {
    await settled(promise, "it was refused");
    return "none";
  } catch (error) {
    return (error as { code: ReplicationErrorCode }).code;
  }
}

const baseOf = (node: SetNode, which: number): number => node.logSegments()!.list().at(which)!.first;

/** Flips a bit of the segment's record bytes. */
const flip = (node: SetNode, base: number, at = 300): void =>
  node.disk.flip(`${DISK_LOG}/${segmentFile(base)}`, at, 4);

async function filesOf(node: SetNode): Promise<string[]> {
  const names = (await node.files.list(DISK_LOG)).filter((name) => name.endsWith(".log"));
  const read = async (name: string): Promise<string> => {
    const bytes = Buffer.from(await readWholeFile(node.files, `${DISK_LOG}/${name}`, 1 << 20));
    // Zeros are written ahead in the newest.
    return `${name} ${bytes.toString("hex").replace(/(00)+$/, "")}`;
  };
  return await Promise.all(names.map(read));
}

const damageOf = (node: SetNode) => node.node.stats().damage;
const countersOf = (node: SetNode) => node.node.stats().counters;

/** The first offsets of the sealed segments that this node reads whole from now on. */
function looksAt(node: SetNode): () => Offset[] {
  const check = vi.spyOn(node.logSegments()!, "check");
  return () => check.mock.calls.map(([first]) => first);
}

describe("damage on a replica", () => {
  it("in a sealed segment is found by looking, put aside, and fetched again from the primary", async () => {
    const [a, b] = await setOf(["a", "b"]);
    flip(b!, baseOf(b!, 2));
    await until(() => countersOf(b!).refetchedSegments === 1, "it was fetched again");
    expect(await filesOf(b!)).toEqual(await filesOf(a!));
    const [kept] = await listQuarantined(b!.files, DISK);
    expect(kept?.base).toBe(baseOf(b!, 2));
    const note = JSON.parse(
      Buffer.from(
        await readWholeFile(b!.files, `${DISK}/${kept!.file.replace(".log", ".json")}`, 4096),
      ).toString(),
    );
    expect(note).toMatchObject({ segment: `log/${segmentFile(kept!.base)}`, finding: { code: "record" } });
    expect(damageOf(b!).known).toEqual([]);
    expect(countersOf(b!)).toMatchObject({ quarantines: 1, mismatches: 0 });
    expect(countersOf(b!).refetchedBytes).toBeGreaterThan(1_000);
  });

  it("that a read meets is mended at once, without waiting for the next look", async () => {
    const [, b] = await setOf(["a", "b"], { checkIntervalMs: 86_400_000 });
    const base = baseOf(b!, 1);
    flip(b!, base);
    await expect(b!.texts()).rejects.toMatchObject({ code: "LOG_CORRUPT" });
    await until(() => countersOf(b!).refetchedSegments === 1, "it was fetched again");
    expect(await b!.texts()).toHaveLength(200);
  });

  it("found by a start is mended before the node follows, and the log is as it was", async () => {
    const [a, b] = await setOf(["a", "b"]);
    const bases = [baseOf(b!, 0), baseOf(b!, 3)];
    await b!.stop();
    flip(b!, bases[0]!);
    await b!.files.remove(`${DISK_LOG}/${segmentFile(bases[1]!)}`);
    await b!.start();
    expect(b!.log()).toBeUndefined();
    await appendMany(a!.required, 10);
    await until(() => has(b!, a!), "it follows");
    expect(await filesOf(b!)).toEqual(await filesOf(a!));
    expect(damageOf(b!)).toMatchObject({ known: [], opening: undefined, owesSince: undefined });
    expect(b!.installs).toBe(1);
  });

  it("is waited for while the primary is away, and nobody takes the node for one that has nothing", async () => {
    const [a, b, c] = await setOf(["a", "b", "c"]);
    const base = baseOf(b!, 1);
    await b!.stop();
    flip(b!, base);
    await a!.crash();
    sets.world.cut("b", "c");
    await b!.start();
    await until(() => damageOf(b!).opening?.includes("no connection") === true, "it waits");
    expect(damageOf(b!).opening).toMatch(/record|crc/);
    sets.world.heal();
    await until(() => has(b!, c!), "another replica has lent it");
    expect(countersOf(b!)).toMatchObject({ quarantines: 1, refetchedSegments: 1 });
  });

  it("keeps others from leading without force while it is not mended", async () => {
    const [a, b, c] = await setOf(["a", "b", "c"]);
    const base = baseOf(b!, 1);
    await Promise.all([b!.stop(), a!.crash()]);
    flip(b!, base);
    const segments = c!.logSegments()!;
    segments.runs = async function* (): AsyncGenerator<RecordRun> {
      yield* [];
      throw new LogError("LOG_FAILED", "c cannot lend it");
    };
    await b!.start();
    await until(() => damageOf(b!).opening?.includes("c cannot lend it") === true, "nobody can lend it");
    // Nobody knows what b has confirmed.
    const refused = settled(c!.node.promote(), "it was refused");
    await expect(refused).rejects.toMatchObject({ code: "REPLICATION_NOT_ALL_REACHED" });
    await expect(refused).rejects.toThrow(/b \(REPLICATION_LOG_DAMAGED\)/);
    expect(await codeOf(b!.node.promote())).toBe("REPLICATION_LOG_DAMAGED");
    expect(await codeOf(b!.node.promote({ force: true }))).toBe("REPLICATION_LOG_DAMAGED");
  });

  it("in the newest segment is cut off and comes again, and until then the node owes it", async () => {
    const [a, b, c] = await setOf(["a", "b", "c"]);
    const tail = b!.logSegments()!.tail;
    const before = b!.end;
    await b!.stop();
    await a!.crash();
    flip(b!, tail, 150);
    await b!.start();
    await until(() => b!.log() !== undefined, "it has opened its log");
    expect(b!.end).toBeLessThan(before);
    expect(damageOf(b!).owesSince).toBeGreaterThan(0);
    expect(await listQuarantined(b!.files, DISK)).toHaveLength(1);
    expect(await codeOf(b!.node.promote())).toBe("REPLICATION_LOG_DAMAGED");
    // What b alone had confirmed may be what it lost.
    expect(await codeOf(c!.node.promote())).toBe("REPLICATION_NOT_ALL_REACHED");
    await b!.crash();
    await settled(b!.start(), "it has started");
    expect(damageOf(b!).owesSince).toBeGreaterThan(0);

    await settled(a!.start(), "the primary is back");
    await until(() => has(b!, a!) && damageOf(b!).owesSince === undefined, "it has everything again");
    expect(await filesOf(b!)).toEqual(await filesOf(a!));
    expect(await codeOf(b!.node.promote())).toBe("none");
  });

  it("in the newest segment is owed no longer once an operator has given it up by force", async () => {
    const [a, b] = await setOf(["a", "b"]);
    const tail = b!.logSegments()!.tail;
    await b!.stop();
    await a!.crash();
    flip(b!, tail, 150);
    await b!.start();
    await until(() => b!.log() !== undefined, "it has opened its log");
    expect(await codeOf(b!.node.promote({ force: true }))).toBe("none");
    expect(damageOf(b!).owesSince).toBeUndefined();
  });

  it("in the newest segment is owed no longer when the node has all of a primary that was promoted by force with less", async () => {
    const [a, b, c] = await setOf(["a", "b", "c"]);
    sets.world.cut("c", "a", "b");
    await appendMany(a!.required, 50);
    await until(() => has(b!, a!), "the other replica has more than the one that is cut off");
    const tail = b!.logSegments()!.tail;
    await b!.stop();
    flip(b!, tail, 150);
    await b!.start();
    await until(() => b!.log() !== undefined, "it has opened its log");
    // Its disk takes long, so it hears how much there is before it has that.
    const { end } = b!;
    Object.defineProperty(b!.required, "durableOffset", { get: () => end, configurable: true });
    await sets.world.clock.advance(5_000);
    expect(damageOf(b!).owesSince).toBeGreaterThan(0);
    await a!.crash();
    sets.world.heal();
    expect(await codeOf(c!.node.promote({ force: true }))).toBe("none");
    await until(() => has(b!, c!), "it has all that there is");
    await until(() => damageOf(b!).owesSince === undefined, "it owes nothing");
  });

  it("that has left no record keeps the node from leading, also by force", async () => {
    const [a, b] = [sets.world.add("a", CHECKING), sets.world.add("b", CHECKING)];
    await a.start();
    await b.start({ role: "replica", masterAddress: addressOf("a") });
    await appendMany(a.required, 3);
    await until(() => has(b, a), "it has everything");
    await b.stop();
    await a.crash();
    flip(b, 1, 110);
    await b.start();
    await until(() => b.log() !== undefined, "it has opened its log");
    expect(b.end).toBe(0);
    expect(await codeOf(b.node.promote({ force: true }))).toBe("REPLICATION_NOT_READY");
    await settled(a.start(), "the primary is back");
    await until(() => has(b, a), "it has everything again");
    expect(await filesOf(b)).toEqual(await filesOf(a));
  });

  it("in the newest segment of a running replica closes its log for a moment, and heals", async () => {
    const [a, b] = await setOf(["a", "b"]);
    flip(b!, b!.logSegments()!.tail, 150);
    await expect(b!.texts()).rejects.toMatchObject({ code: "LOG_CORRUPT" });
    await until(() => countersOf(b!).quarantines === 1 && has(b!, a!), "it was put aside and came again");
    await until(() => damageOf(b!).owesSince === undefined, "it has everything");
    expect(await filesOf(b!)).toEqual(await filesOf(a!));
  });

  it("in the header of the newest segment, which no read of records meets, is found and heals", async () => {
    const [a, b] = await setOf(["a", "b"]);
    flip(b!, b!.logSegments()!.tail, 40);
    await until(() => countersOf(b!).quarantines === 1 && has(b!, a!), "it was put aside and came again");
    expect(await filesOf(b!)).toEqual(await filesOf(a!));
  });

  it("that nobody keeps any more is told with what to do, and does not keep the rest from being looked at and mended", async () => {
    const [a, b] = await setOf(["a", "b"]);
    const [oldest, later] = [baseOf(b!, 0), baseOf(b!, 3)];
    const segments = a!.logSegments()!;
    const { runs } = segments;
    segments.runs = async function* (first, last): AsyncGenerator<RecordRun> {
      if (first === oldest) throw new LogError("LOG_OFFSET_RETIRED", "retention was here");
      yield* runs.call(segments, first, last);
    };
    flip(b!, oldest);
    await until(() => b!.words.some((words) => words.includes("annals resync")), "it is told");
    flip(b!, later);
    await until(() => countersOf(b!).refetchedSegments === 1, "the other one was fetched again");
    expect(damageOf(b!).known.map(({ first }) => first)).toEqual([oldest]);
    // It comes again and again: somebody may have them after all.
    segments.runs = runs;
    await until(() => damageOf(b!).known.length === 0, "it was lent after all");
    expect(await filesOf(b!)).toEqual(await filesOf(a!));
  });

  it("without anything left is replaced by a full sync", async () => {
    const [a, b] = await setOf(["a", "b"]);
    await b!.stop();
    for (const name of await b!.files.list(DISK_LOG)) await b!.files.remove(`${DISK_LOG}/${name}`);
    await b!.start();
    await until(() => b!.log() !== undefined && has(b!, a!), "it has everything");
    expect(b!.installs).toBe(2);
  });

  it("that has left nothing of the log leaves the node who it is, though it ends before anything has come again", async () => {
    const [a, b] = await setOf(["a", "b"]);
    const { nodeId } = b!;
    await b!.stop();
    for (const name of await b!.files.list(DISK_LOG)) await b!.files.remove(`${DISK_LOG}/${name}`);
    expect((await startingRole(b!.files, DISK, b!.settings)).nodeId).toBe(nodeId);
    expect(a!.node.stats().peers.map((peer) => peer.nodeId)).toContain(nodeId);
  });

  it("is replaced by a full sync when an operator says so, though the link was given up", async () => {
    const [a, b] = await setOf(["a", "b"], { checkIntervalMs: 0 });
    const receive = b!.required.receive.bind(b!.required);
    b!.required.receive = () => Promise.reject(new LogError("LOG_RECORD_BAD", "damaged on the way"));
    a!.write("what cannot be taken");
    await until(() => b!.node.stats().breakers.some(({ open }) => open), "the link stays down");
    b!.required.receive = receive;
    await b!.node.resync();
    await until(() => b!.installs === 2 && has(b!, a!), "it has everything");
  });

  it("that nobody can lend is replaced by a full sync when an operator says so", async () => {
    const [a, b] = await setOf(["a", "b"]);
    const base = baseOf(b!, 1);
    await b!.stop();
    flip(b!, base);
    sets.world.cut("a", "b");
    await b!.start();
    await until(
      () => damageOf(b!).opening?.includes("REPLICATION") === true || b!.words.length > 0,
      "it waits",
    );
    expect([await b!.node.resync(), await b!.node.resync()]).toEqual([true, false]);
    sets.world.heal();
    await until(() => b!.log() !== undefined && has(b!, a!), "it has everything");
    expect(b!.installs).toBe(2);
    expect(b!.damage).toBeUndefined();
    expect(await filesOf(b!)).toEqual(await filesOf(a!));
  });
});

describe("damage on a primary", () => {
  it("is found when a replica compares, told on both, never sent, and keeps it from being promoted", async () => {
    const [a, b] = await setOf(["a", "b"]);
    const base = baseOf(a!, 3);
    flip(a!, base);
    await until(() => damageOf(b!).upstream !== undefined, "the replica has heard of it");
    expect(damageOf(b!).upstream?.first).toBe(base);
    await until(() => damageOf(a!).known.length === 1, "the primary knows it");
    expect(damageOf(a!).known[0]).toMatchObject({ first: base, file: `log/${segmentFile(base)}` });
    expect(countersOf(a!)).toMatchObject({ quarantines: 0, refetchedSegments: 0 });
    const { comparisons } = countersOf(b!);
    await until(() => countersOf(b!).comparisons > comparisons + 3, "time has passed");
    expect(damageOf(a!).known).toHaveLength(1);
    expect(countersOf(a!)).toMatchObject({ quarantines: 0, refetchedSegments: 0 });
    flip(b!, base, 200);
    const { checks } = countersOf(b!);
    await until(() => countersOf(b!).checks > checks + 3, "it was looked at again");
    expect(countersOf(b!).refetchedSegments).toBe(0);
    expect(damageOf(b!).known).toHaveLength(1);
  });

  it("is told no longer, by either, once retention has taken it", async () => {
    const [a, b] = await setOf(["a", "b"]);
    const base = baseOf(a!, 1);
    flip(a!, base);
    await until(() => damageOf(b!).upstream !== undefined, "the replica has heard of it");
    await until(() => damageOf(a!).known.length === 1, "the primary knows it");
    await a!.required.retain(offset(baseOf(a!, 3)));
    await until(() => damageOf(b!).upstream === undefined, "the replica tells of it no longer");
    expect(damageOf(a!).known).toEqual([]);
  });

  it("heals when another one leads and it follows", async () => {
    const [a, b] = await setOf(["a", "b"]);
    flip(a!, baseOf(a!, 3));
    await expect(a!.texts()).rejects.toMatchObject({ code: "LOG_CORRUPT" });
    await until(() => damageOf(a!).known.length === 1, "the primary knows it");
    expect(await codeOf(b!.node.promote())).toBe("none");
    await until(() => has(a!, b!) && countersOf(a!).refetchedSegments === 1, "it has healed");
    expect(await filesOf(a!)).toEqual(await filesOf(b!));
  });
});

describe("a promotion", () => {
  it("reads the own log first, and says from where on", async () => {
    const [, b] = await setOf(["a", "b"]);
    const report = await settled(b!.node.promote(), "it leads");
    expect(report.verifiedFrom).toBe(1);
  });

  it("is refused for damage that only this reading finds, also by force, and has changed nothing", async () => {
    const [a, b] = await setOf(["a", "b"], { checkIntervalMs: 0 });
    const { heard } = a!.node;
    flip(b!, baseOf(b!, 2));
    expect(await codeOf(b!.node.promote())).toBe("REPLICATION_LOG_DAMAGED");
    expect(await codeOf(b!.node.promote({ force: true }))).toBe("REPLICATION_LOG_DAMAGED");
    expect([a!.node.heard, b!.node.role, b!.node.own]).toEqual([heard, "replica", a!.node.own]);
  });
});

describe("comparing", () => {
  it("goes over every sealed segment, the newest first, and then begins again", async () => {
    const [a, b] = await setOf(["a", "b"]);
    const bases: number[] = b!
      .logSegments()!
      .list()
      .map(({ first }) => first)
      .reverse();
    const asked = looksAt(a!);
    const compared = (): number => countersOf(b!).comparisons;
    const before = compared();
    for (let i = 1; i <= bases.length + 4; i++)
      await until(() => compared() >= before + i, "the next was compared");
    // It may have begun before the last of them was sealed; then it goes from the newest to the oldest, and around.
    const round = asked().slice(-bases.length - 1);
    const start = bases.indexOf(round[0]!);
    expect(round).toEqual([...bases.slice(start), ...bases.slice(0, start), round[0]]);
    expect(damageOf(b!).comparedAt).toBeGreaterThan(0);
    expect(countersOf(b!).mismatches).toBe(0);
  });

  it("comes to the oldest segments, and around, also where others are sealed faster than it looks at one", async () => {
    const [a, b] = await setOf(["a", "b"]);
    const oldest = baseOf(b!, 0);
    const asked = looksAt(a!);
    const looks = (): number => asked().filter((first) => first === oldest).length;
    for (let i = 0; i < 60 && looks() < 2; i++) {
      const before = countersOf(b!).checks;
      await appendMany(a!.required, 50);
      await until(() => has(b!, a!) && countersOf(b!).checks > before, "the next was looked at");
    }
    expect(looks()).toBe(2);
  });

  it("does not hold up a node that stops while the other one is silent", async () => {
    const [, b] = await setOf(["a", "b"]);
    sets.world.cut("a", "b");
    const { checks } = countersOf(b!);
    await until(() => countersOf(b!).checks > checks, "it asks");
    const before = sets.world.clock.now();
    await settled(b!.stop(), "it has stopped");
    expect(sets.world.clock.now() - before).toBeLessThan(2_000);
  });

  it("alarms nobody over an end that is about to be cut", async () => {
    const [a, b] = await setOf(["a", "b"], { checkIntervalMs: 200 });
    sets.world.cut("a", "b");
    expect(await codeOf(b!.node.promote({ force: true }))).toBe("none");
    await appendMany(a!.required, 60);
    await appendMany(b!.required, 90);
    let goOn = (): void => undefined;
    const cut = a!.cut.bind(a!);
    a!.cut = async (after) => {
      await new Promise<void>((resolve) => {
        goOn = resolve;
      });
      return await cut(after);
    };
    sets.world.heal();
    await until(() => a!.node.stats().upstream?.phase === "cutting", "it is told to cut");
    const { checks } = countersOf(a!);
    await until(() => countersOf(a!).checks > checks + 15, "it has looked at everything");
    goOn();
    await until(() => has(a!, b!), "it has cut it");
    expect([countersOf(a!).mismatches, countersOf(b!).mismatches]).toEqual([0, 0]);
    expect(await filesOf(a!)).toEqual(await filesOf(b!));
  });

  it("tells when two sound segments are not the same, and changes nothing", async () => {
    const [a, b] = await setOf(["a", "b"]);
    const before = await filesOf(b!);
    const segments: LogSegments = a!.logSegments()!;
    const { check } = segments;
    segments.check = async (first, pace) => {
      const found = await check.call(segments, first, pace);
      return found.type === "sound"
        ? { ...found, end: { ...found.end, crc: (found.end.crc ^ 1) >>> 0 } }
        : found;
    };
    await until(() => countersOf(b!).mismatches > 0, "it was noticed");
    expect(damageOf(b!).mismatch?.offset).toBeGreaterThan(0);
    expect(b!.words.some((words) => words.includes("annals diff"))).toBe(true);
    expect(await filesOf(b!)).toEqual(before);
    expect(countersOf(b!).quarantines).toBe(0);
  });
});

describe("records that are lent", () => {
  it("and are not this log's are not put in place", async () => {
    const [a, b] = await setOf(["a", "b"]);
    const base = baseOf(b!, 1);
    const segments = a!.logSegments()!;
    const { runs } = segments;
    segments.runs = async function* (first, last): AsyncGenerator<RecordRun> {
      for await (const run of runs.call(segments, first, last))
        yield { ...run, bytes: Uint8Array.from(run.bytes).fill(9, 60, 70) };
    };
    flip(b!, base);
    await until(
      () => b!.words.some((words) => words.includes("could not be replaced yet")),
      "it was refused",
    );
    expect(damageOf(b!).known).toHaveLength(1);
    expect(await listQuarantined(b!.files, DISK)).toEqual([]);
    segments.runs = runs;
    await until(() => countersOf(b!).refetchedSegments === 1, "the right ones came");
    expect(await filesOf(b!)).toEqual(await filesOf(a!));
  });

  it("are not lent by a node that was replaced", async () => {
    const [a, b, c] = await setOf(["a", "b", "c"]);
    sets.world.cut("a", "b", "c");
    expect(await codeOf(b!.node.promote({ force: true }))).toBe("none");
    a!.required.append(textRecord("nobody else has this"));
    sets.world.heal();
    await until(() => has(c!, b!) && has(a!, b!), "everybody follows b");
    flip(c!, baseOf(c!, 1));
    await until(() => countersOf(c!).refetchedSegments === 1, "b has lent it");
    expect(await filesOf(c!)).toEqual(await filesOf(b!));
    expect(offset(c!.end)).toBe(b!.end);
  });
});
