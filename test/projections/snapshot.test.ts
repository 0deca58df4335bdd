import { createHash } from "node:crypto";
import { describe, expect, it } from "vitest";
import { crc32, offset, SNAPSHOT_DIRECTORY, snapshotName, TEMPORARY_SUFFIX } from "../../log/index.js";
import {
  Fold,
  foldTo,
  inspectSnapshot,
  kv,
  listSnapshots,
  openStore,
  queue,
  readSnapshot,
  type SnapshotError,
  type SnapshotFacts,
  stream,
  TEXT_TYPE,
  verifySnapshot,
  writeSnapshot,
} from "../../projections/index.js";
import {
  CHUNK_HEADER_BYTES,
  encodeHeader,
  FOOTER_BYTES,
  FOOTER_HASHED_BYTES,
  HEADER_BYTES,
} from "../../projections/snapshot/format.js";
import { walkSnapshot } from "../../projections/snapshot/walk.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { WORLD_RULES } from "../../props/world/store-world.js";
import { TestStore } from "../support/kv-store.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";
import { MemoryLog } from "../support/memory-log.js";
import { openTestLog } from "../support/test-log.js";

const DIRECTORY = `/data/${SNAPSHOT_DIRECTORY}`;
const rules = WORLD_RULES;

async function aStore(keys = 3): Promise<TestStore> {
  const t = await TestStore.open({ now: 1_000 });
  for (let n = 0; n < keys; n++) {
    t.now += 10;
    await t.ok(kv.set, { key: `key ${n}`, value: `value ${n}`, contentType: TEXT_TYPE });
  }
  await t.ok(queue.create, { queue: "jobs" });
  await t.ok(queue.publish, { queue: "jobs", payload: Buffer.from("work") });
  return t;
}

interface Place {
  readonly log: MemoryLog;
  readonly files: MemoryFileSystem;
  readonly made: readonly SnapshotFacts[];
}

/** Snapshots at these offsets of a log, each of every record up to there. */
async function withSnapshots(log: MemoryLog, ...offsets: number[]): Promise<Place> {
  const files = new MemoryFileSystem();
  const made: SnapshotFacts[] = [];
  for (const last of offsets) {
    const { fold } = await foldTo(log, undefined, { rules, last: offset(last) });
    made.push(
      await writeSnapshot(files, DIRECTORY, fold, await log.markAt(offset(last)), { now: () => 5_000.5 }),
    );
  }
  return { log, files, made };
}

const pathOf = ({ name }: SnapshotFacts): string => `${DIRECTORY}/${name}`;

/** A sound header that says version 3: its own checksum holds. */
function makeOfLaterFormat(files: MemoryFileSystem, facts: SnapshotFacts): void {
  const later = encodeHeader({ ...facts });
  later.writeUInt16LE(3, 8);
  later.writeUInt32LE(crc32(later.subarray(0, 84), 0), 84);
  files.own(pathOf(facts)).set(later, 0);
}

async function begin({
  log,
  files,
}: Place): Promise<{ digest: string; from: number | undefined; warnings: string[] }> {
  const warnings: string[] = [];
  const onWarning = (problem: SnapshotError): number => warnings.push(problem.code);
  const { fold, from } = await foldTo(log, { files, directory: DIRECTORY }, { rules, onWarning });
  return { digest: fold.digests().all, from: from?.offset, warnings };
}

async function digestOf(log: MemoryLog): Promise<string> {
  return (await foldTo(log, undefined, { rules })).fold.digests().all;
}

describe("a snapshot", () => {
  it("tells which log it is of, up to where, what is in it and when it was made", async () => {
    const { log } = await aStore();
    const { files, made } = await withSnapshots(log, 5);
    const [facts] = made as [SnapshotFacts];
    expect(facts).toMatchObject({
      name: snapshotName(1_030, offset(5)),
      ...(await log.markAt(offset(5))),
      clock: 1_030,
      createdAt: 5_000,
      formatVersion: 2,
      bytes: files.get(pathOf(facts)).length,
      counts: { keys: 3, queues: 1, messages: 1, streams: 0, answers: 0 },
    });
    expect(await inspectSnapshot(files, pathOf(facts))).toEqual(facts);
    expect(await verifySnapshot(files, pathOf(facts))).toEqual({ info: facts });
    expect(await files.list(DIRECTORY)).toEqual([facts.name]);
  });

  it("holds values larger than a chunk", async () => {
    const t = await aStore();
    const value = Buffer.alloc(900_000, 7);
    await t.ok(kv.set, { key: "large", value, contentType: "image/png" });
    await t.ok(kv.set, { key: "after", value: "x", contentType: TEXT_TYPE });
    const place = await withSnapshots(t.log, 7);
    expect(await begin(place)).toEqual({ digest: await digestOf(t.log), from: 7, warnings: [] });
  });

  it("replaces what a crash has left unfinished, and nothing else", async () => {
    const { log } = await aStore();
    const { files } = await withSnapshots(log, 2);
    const leftover = `${DIRECTORY}/${snapshotName(9, offset(9))}${TEMPORARY_SUFFIX}`;
    files.put(leftover, Buffer.from("half"));
    files.put(`${DIRECTORY}/notes.tmp`, Buffer.from("somebody's"));
    const { fold } = await foldTo(log, undefined, { rules });
    await writeSnapshot(files, DIRECTORY, fold, await log.markAt(fold.offset), { now: () => 1 });
    expect(await files.list(DIRECTORY)).toEqual([
      "notes.tmp",
      snapshotName(1_020, offset(2)),
      snapshotName(1_030, offset(5)),
    ]);
  });

  it("that is given up leaves no file", async () => {
    const { log } = await aStore();
    const files = new MemoryFileSystem();
    const { fold } = await foldTo(log, undefined, { rules });
    const mark = await log.markAt(fold.offset);
    const signal = AbortSignal.abort(new Error("given up"));
    await expect(writeSnapshot(files, DIRECTORY, fold, mark, { now: () => 1, signal })).rejects.toThrow(
      "given up",
    );
    expect(await files.list(DIRECTORY)).toEqual([]);
  });

  it("shows every flipped byte and every cut end, and a start does without it", async () => {
    const { log } = await aStore();
    const { files, made } = await withSnapshots(log, 4);
    const path = pathOf(made[0] as SnapshotFacts);
    const whole = files.get(path);
    const expected = await digestOf(log);
    const damages: Uint8Array[] = [];
    for (let at = 0; at < whole.length; at++) {
      const flipped = Uint8Array.from(whole);
      flipped[at]! ^= 1 << (at % 8);
      damages.push(flipped, whole.slice(0, at));
    }
    damages.push(
      Buffer.concat([whole, Buffer.alloc(1)]),
      Buffer.concat([whole, whole]),
      new Uint8Array(whole.length),
    );
    for (const damaged of damages) {
      files.put(path, damaged);
      const { info, problem } = await verifySnapshot(files, path);
      expect([info, problem?.code]).toEqual([undefined, "SNAPSHOT_DAMAGED"]);
      const fold = new Fold({ rules });
      await expect(readSnapshot(files, path, fold)).rejects.toMatchObject({ code: "SNAPSHOT_DAMAGED" });
      expect(await begin({ log, files, made })).toEqual({
        digest: expected,
        from: undefined,
        warnings: ["SNAPSHOT_DAMAGED"],
      });
    }
    expect(damages.length).toBeGreaterThan(900);
  });

  it("has a header and an end that hold by themselves: no flipped byte of theirs is told as a fact", async () => {
    const { log } = await aStore();
    const { files, made } = await withSnapshots(log, 4);
    const path = pathOf(made[0] as SnapshotFacts);
    const whole = files.get(path);
    const ends = Array.from({ length: HEADER_BYTES + FOOTER_HASHED_BYTES }, (_, at) =>
      at < HEADER_BYTES ? at : whole.length - FOOTER_BYTES + at - HEADER_BYTES,
    );
    for (const at of ends) {
      const flipped = Uint8Array.from(whole);
      flipped[at]! ^= 0x10;
      files.put(path, flipped);
      await expect(inspectSnapshot(files, path)).rejects.toMatchObject({ code: "SNAPSHOT_DAMAGED" });
    }
  });

  it("gives no row of a damaged chunk away, whatever the hash of the file says", async () => {
    const { log } = await aStore(3_000);
    const { files, made } = await withSnapshots(log, 3_002);
    const [facts] = made as [SnapshotFacts];
    const bytes = files.own(pathOf(facts));
    const chunks: number[] = [];
    const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
    for (
      let at = HEADER_BYTES;
      at < bytes.length - FOOTER_BYTES;
      at += CHUNK_HEADER_BYTES + view.readUInt32LE(at + 4)
    ) {
      chunks.push(at);
    }
    const last = chunks.at(-1) ?? 0;
    expect(chunks.length).toBeGreaterThan(2);
    bytes[last + CHUNK_HEADER_BYTES + 3]! ^= 1;
    const hashed = bytes.length - (FOOTER_BYTES - FOOTER_HASHED_BYTES);
    bytes.set(createHash("sha256").update(bytes.subarray(0, hashed)).digest(), hashed);
    const sections: number[] = [];
    const walked = walkSnapshot(files, pathOf(facts), (section) => sections.push(section), {});
    await expect(walked).rejects.toMatchObject({ code: "SNAPSHOT_DAMAGED", context: { position: last } });
    expect(sections).toHaveLength(chunks.length - 1);
  });

  it("of a later format is refused in other words than a damaged one", async () => {
    const { log } = await aStore();
    const { files, made } = await withSnapshots(log, 4);
    const [facts] = made as [SnapshotFacts];
    makeOfLaterFormat(files, facts);
    const { problem } = await verifySnapshot(files, pathOf(facts));
    expect(problem?.code).toBe("SNAPSHOT_VERSION_UNKNOWN");
    expect(problem?.message).toMatch(
      /has format version 3, this release reads 1 to 2; start the release that wrote it/,
    );
    expect(await begin({ log, files, made })).toMatchObject({ warnings: ["SNAPSHOT_VERSION_UNKNOWN"] });
  });

  it("of a later format is not replaced by one of the same record, a damaged one is", async () => {
    const { log } = await aStore();
    const { files, made } = await withSnapshots(log, 4);
    const [facts] = made as [SnapshotFacts];
    const again = async () => {
      const { fold } = await foldTo(log, undefined, { rules, last: facts.offset });
      return writeSnapshot(files, DIRECTORY, fold, await log.markAt(facts.offset), { now: () => 5_000 });
    };
    files.own(pathOf(facts)).fill(0, 100, 200);
    expect(await again()).toEqual({ ...facts, createdAt: 5_000 });
    makeOfLaterFormat(files, facts);
    const later = Buffer.from(files.get(pathOf(facts)));
    await expect(again()).rejects.toMatchObject({ code: "SNAPSHOT_VERSION_UNKNOWN" });
    expect(later.equals(files.get(pathOf(facts)))).toBe(true);
    expect(await files.list(DIRECTORY)).toEqual([facts.name]);
  });

  it("under another one's name is not taken for it", async () => {
    const { log } = await aStore();
    const { files, made } = await withSnapshots(log, 2);
    const [facts] = made as [SnapshotFacts];
    const wrong = snapshotName(facts.timestamp, offset(4));
    await files.rename(pathOf(facts), `${DIRECTORY}/${wrong}`);
    expect((await listSnapshots(files, DIRECTORY)).map(({ name, problem }) => [name, problem?.code])).toEqual(
      [[wrong, "SNAPSHOT_FOREIGN"]],
    );
    expect(await begin({ log, files, made })).toMatchObject({
      from: undefined,
      warnings: ["SNAPSHOT_FOREIGN"],
    });
  });
});

describe("what is read back", () => {
  it("keeps a stream that is only there for its forks out of what time ends", async () => {
    const t = await TestStore.open({ now: 1_000 });
    const short = { name: "ds/short", contentType: "text/plain", lifetime: { ttlMs: 500 } };
    const { id } = await t.ok(stream.create, { ...short, messages: [{ bytes: "one" }] });
    const fork = { source: "ds/short", sourceId: id, at: 1 };
    await t.ok(stream.create, { name: "ds/fork", contentType: "text/plain", fork });
    await t.ok(stream.delete, { name: "ds/short" });
    const { files, made } = await withSnapshots(t.log, 3);
    const fold = new Fold({ rules });
    await readSnapshot(files, pathOf(made[0] as SnapshotFacts), fold);
    expect(fold.stream.find("ds/short")).toMatchObject({ gone: true, forks: 1 });
    expect(fold.stream.expired(1_000_000, 10)).toEqual([]);
    // The last fork takes it along.
    t.now += 10;
    await t.ok(stream.delete, { name: "ds/fork" });
    expect(await begin({ log: t.log, files, made })).toEqual({
      digest: await digestOf(t.log),
      from: 3,
      warnings: [],
    });
  });
});

describe("a list of snapshots", () => {
  it("is empty where there is no directory, and goes from the oldest to the newest, damaged ones included", async () => {
    expect(await listSnapshots(new MemoryFileSystem(), DIRECTORY)).toEqual([]);
    const { log } = await aStore(12);
    const { files, made } = await withSnapshots(log, 12, 9, 10);
    files.put(`${DIRECTORY}/snapshot_1_11.snap`, Buffer.from("no snapshot"));
    files.put(`${DIRECTORY}/snapshot_01_11.snap`, Buffer.from("no snapshot's name"));
    const listed = await listSnapshots(files, DIRECTORY);
    expect(
      listed.map(({ offset: at, bytes, info, problem }) => [at, bytes, info?.offset, problem?.code]),
    ).toEqual([
      [9, made[1]?.bytes, 9, undefined],
      [10, made[2]?.bytes, 10, undefined],
      [11, 11, undefined, "SNAPSHOT_DAMAGED"],
      [12, made[0]?.bytes, 12, undefined],
    ]);
  });
});

describe("a state at an offset", () => {
  it("begins with the newest snapshot up to it", async () => {
    const { log } = await aStore(6);
    const { files } = await withSnapshots(log, 2, 4, 7);
    const begunAt = async (last: number): Promise<number | undefined> => {
      const at = { rules, last: offset(last) };
      const { fold, from } = await foldTo(log, { files, directory: DIRECTORY }, at);
      expect(fold.offset).toBe(last);
      expect(fold.digests()).toEqual((await foldTo(log, undefined, at)).fold.digests());
      return from?.offset;
    };
    const begun = [];
    for (const last of [1, 2, 3, 4, 6, 7, 8]) begun.push(await begunAt(last));
    expect(begun).toEqual([undefined, 2, 2, 4, 4, 7, 7]);
  });

  it("passes over a damaged snapshot for the one before", async () => {
    const { log } = await aStore(6);
    const place = await withSnapshots(log, 3, 6);
    const newest = place.files.own(pathOf(place.made[1] as SnapshotFacts));
    newest[HEADER_BYTES + 40]! ^= 4;
    expect(await begin(place)).toEqual({
      digest: await digestOf(log),
      from: 3,
      warnings: ["SNAPSHOT_DAMAGED"],
    });
  });

  it("passes over a snapshot that the disk does not give back", async () => {
    const { log } = await aStore(6);
    const place = await withSnapshots(log, 6);
    const path = pathOf(place.made[0] as SnapshotFacts);
    const open = place.files.open.bind(place.files);
    place.files.open = async (at, mode) => {
      if (at === path) throw Object.assign(new Error("EIO"), { code: "EIO" });
      return open(at, mode);
    };
    expect(await begin(place)).toMatchObject({ from: undefined, warnings: ["SNAPSHOT_DAMAGED"] });
  });

  it("takes what the disk does not give back for damage, whoever reads it", async () => {
    const { log } = await aStore(6);
    const { files, made } = await withSnapshots(log, 3, 6);
    const path = pathOf(made[1] as SnapshotFacts);
    const open = files.open.bind(files);
    const lost = Object.assign(new Error("EIO"), { code: "EIO" });
    files.open = async (at, mode) => {
      const handle = await open(at, mode);
      if (at === path) handle.read = () => Promise.reject(lost);
      return handle;
    };
    const listed = await listSnapshots(files, DIRECTORY);
    expect(listed.map(({ info, problem }) => info?.offset ?? problem?.code)).toEqual([3, "SNAPSHOT_DAMAGED"]);
    expect(await verifySnapshot(files, path)).toMatchObject({ problem: { code: "SNAPSHOT_DAMAGED" } });
    const fold = new Fold({ rules });
    await expect(readSnapshot(files, path, fold)).rejects.toMatchObject({ code: "SNAPSHOT_DAMAGED" });
    fold.close();
  });

  it("uses no snapshot of another log, or of a future that this one has lost", async () => {
    const mine = (await aStore(6)).log;
    const other = await TestStore.open({ now: 1_000 });
    for (let n = 0; n < 8; n++) {
      other.now += 10;
      await other.ok(kv.set, { key: `key ${n}`, value: `other ${n}`, contentType: TEXT_TYPE });
    }
    const { files } = await withSnapshots(other.log, 5);
    expect(await begin({ log: mine, files, made: [] })).toEqual({
      digest: await digestOf(mine),
      from: undefined,
      warnings: ["SNAPSHOT_FOREIGN"],
    });
  });

  it("is told how far it is, in the snapshot and in the log", async () => {
    const { log } = await aStore(6);
    const { files } = await withSnapshots(log, 4);
    const told: string[] = [];
    await foldTo(
      new MemoryLog({ records: log.records, batchRecords: 2 }),
      { files, directory: DIRECTORY },
      {
        rules,
        onProgress: ({ step, done, total }) =>
          told.push(`${step} ${step === "log" ? `${done}/${total}` : done <= total}`),
      },
    );
    expect(told.filter((text) => text.startsWith("log"))).toEqual(["log 6/8", "log 8/8"]);
    expect(new Set(told.filter((text) => text.startsWith("snapshot")))).toEqual(new Set(["snapshot true"]));
  });

  it("can be given up", async () => {
    const { log } = await aStore(6);
    const { files } = await withSnapshots(log, 4);
    const signal = AbortSignal.abort(new Error("given up"));
    await expect(foldTo(log, { files, directory: DIRECTORY }, { rules, signal })).rejects.toThrow("given up");
    await expect(foldTo(log, undefined, { rules, signal })).rejects.toThrow("given up");
  });
});

describe("a log whose beginning was removed", () => {
  /** A log on a simulated disk, a snapshot at `snapshotAt`, and everything removed that `needed` does not need. */
  async function cutLog(snapshotAt: number | undefined, needed: number) {
    const files = new SimulatedDisk(3).mount();
    const { log } = await openTestLog("/data", { files });
    const t = await openStore({ log, rules, onDead: (error) => expect.unreachable(error.message) });
    const context = { now: 9_000, random: 0.5, cause: { command: "test" } };
    for (let n = 0; n < 150; n++) {
      const command = { key: `key ${n % 40}`, value: `value ${n}`, contentType: TEXT_TYPE };
      await t.execute(kv.set, command, context, () => undefined);
    }
    const digest = t.digest();
    if (snapshotAt !== undefined) {
      const { fold } = await foldTo(log, undefined, { rules, last: offset(snapshotAt) });
      await writeSnapshot(files, DIRECTORY, fold, await log.markAt(fold.offset), { now: () => 1 });
    }
    const first = await log.retain(offset(needed));
    const warnings: string[] = [];
    const onWarning = (problem: SnapshotError): number => warnings.push(problem.code);
    const again = () =>
      openStore({
        log,
        rules,
        snapshots: { files, directory: DIRECTORY },
        onWarning,
        onDead: (error) => expect.unreachable(error.message),
      });
    return { files, log, digest, first, warnings, again };
  }

  it("is begun with a snapshot that reaches up to it, also one that ends just before it", async () => {
    const { first } = await cutLog(undefined, 100);
    expect(first).toBeGreaterThan(50);
    for (const snapshotAt of [100, first, first - 1]) {
      const { again, digest, warnings } = await cutLog(snapshotAt, 100);
      expect((await again()).digest()).toBe(digest);
      expect(warnings).toEqual([]);
    }
  });

  it("is never begun empty: without such a snapshot the start is refused, and says what is needed", async () => {
    const { first } = await cutLog(undefined, 100);
    for (const snapshotAt of [undefined, first - 2, 3]) {
      const { again } = await cutLog(snapshotAt, 100);
      await expect(again()).rejects.toMatchObject({
        code: "SNAPSHOT_MISSING",
        message: expect.stringContaining(
          `begins at offset ${first}, and a snapshot of offset ${first - 1} to 151`,
        ),
      });
    }
  });

  it("is never begun with a damaged snapshot either", async () => {
    const { again, files, warnings } = await cutLog(100, 100);
    const [name] = await files.list(DIRECTORY);
    const handle = await files.open(`${DIRECTORY}/${name}`, "write");
    await handle.write(Buffer.from("x"), HEADER_BYTES + 100);
    await handle.close();
    await expect(again()).rejects.toMatchObject({
      code: "SNAPSHOT_MISSING",
      message: expect.stringContaining(`these could not be used: ${name}`),
    });
    expect(warnings).toEqual(["SNAPSHOT_DAMAGED"]);
  });
});

describe("a store that begins with a snapshot", () => {
  it("goes on as one that has read every record", async () => {
    const t = await aStore(6);
    const { files } = await withSnapshots(t.log, 7);
    const log = new MemoryLog({ records: t.log.records });
    const store = await openStore({
      log,
      rules,
      snapshots: { files, directory: DIRECTORY },
      onDead: (error) => expect.unreachable(error.message),
    });
    expect([store.offset, store.digest()]).toEqual([8, await digestOf(t.log)]);
    const context = { now: 9_000, random: 0.5, cause: { command: "test" } };
    await store.execute(queue.consume, { queue: "jobs", consumer: "c" }, context, (outcome) =>
      expect(outcome).toMatchObject({ type: "done", answer: { messages: [{ messageId: "8-0" }] } }),
    );
    expect(store.digest()).toBe(await digestOf(log));
    expect(store.kvStats(9_000).operations.sets).toBe(0);
  });
});
