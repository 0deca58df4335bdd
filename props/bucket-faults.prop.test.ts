/**
 * Promise: whatever the service does with the requests of backups, prunes, archiving, restores and verifications – fail, hang, cut
 * off, be slow, lose the answer, do it later –
 *
 *   1. a backup that was reported is there, whole, and a restore from it gives back the log up to there, as long as it is not pruned
 *   2. a restore that was reported is exactly what was asked for; one that was not says so with a code
 *   3. a service in trouble is never reported as damage
 *   4. nothing is ever replaced but the heads and the lock, and when the faults stop, all works and nothing is left over
 *   5. one fault at one request, whichever, is not noticed at all
 *   6. whoever is killed at one request, whichever – never done, done, or done later – leaves nothing that the next one trips over
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { EventLog, LogRecord, Offset } from "../log/index.js";
import type { RestoreTarget } from "../ops/backup/restore-plan.js";
import { verifyBackups } from "../ops/backup/verify.js";
import {
  BucketBench,
  isReplaceable,
  isServiceFailure,
  PATIENT,
  settled,
} from "../test/support/bucket-bench.js";
import { MemoryFileSystem } from "../test/support/memory-file-system.js";
import { lookInto } from "../test/support/restore-bench.js";
import { type S3Fault, S3Server } from "../test/support/s3-server.js";
import { readAll } from "../test/support/test-log.js";
import { factor, seed, seededRandom } from "./run-settings.js";
import { anyBucketFault } from "./world/any-bucket-fault.js";

const STEPS = 16;
const KEPT = 3;

const happened: Record<string, number> = {};
const note = (what: string): void => {
  happened[what] = (happened[what] ?? 0) + 1;
};

let server: S3Server;
let before: Awaited<ReturnType<typeof filled>>;
beforeAll(async () => {
  server = await S3Server.start();
  before = await filled();
});
afterAll(() => server.close());

interface Backed {
  readonly id: string;
  readonly lastOffset: number;
}

class FaultyBucket {
  readonly #random: () => number;
  readonly #bench: BucketBench;
  /** Of another process, which waits as long as it takes. */
  readonly #patient: BucketBench;
  /** What was reported and not pruned, oldest first. */
  #reported: Backed[] = [];

  constructor(worldSeed: number) {
    this.#random = seededRandom(worldSeed);
    const [prefix, files] = [`faults-${worldSeed}`, new MemoryFileSystem()];
    const { partBytes } = PARTS[worldSeed % 2]!;
    this.#bench = new BucketBench(server, prefix, files, { worldSeed, partBytes });
    this.#patient = new BucketBench(server, prefix, files, { worldSeed: worldSeed + 1, limits: PATIENT });
    server.fault = (call) => {
      const fault = anyBucketFault(this.#random, call, 0.15);
      if (fault !== undefined) note(fault.type);
      return fault;
    };
  }

  #below(count: number): number {
    return Math.floor(this.#random() * count);
  }

  async run(): Promise<void> {
    const { log } = await this.#bench.openLog();
    await this.#bench.append(log, 20);
    while (this.#reported.length === 0) await this.#backup(log);
    for (let step = 0; step < STEPS; step++) await this.#step(log);
    server.fault = () => undefined;
    await settled();
    await this.#finish(log);
    await log.close();
  }

  async #step(log: EventLog): Promise<void> {
    const bench = this.#bench;
    if (this.#random() < 0.5) await bench.append(log, 1 + this.#below(30));
    if (this.#random() < 0.15) await bench.putSnapshot(log.durableOffset);
    const drawn = this.#random();
    if (drawn < 0.4) await this.#backup(log);
    else if (drawn < 0.5) await this.#prune();
    else if (drawn < 0.65) await unlessFailed("archive", () => bench.archive(log));
    else if (drawn < 0.75) await this.#verify();
    else await this.#restore(log);
  }

  async #backup(log: EventLog): Promise<void> {
    const last = log.durableOffset;
    const bench = this.#bench;
    const made = await unlessFailed("backup", () => bench.backup({ store: bench.bucket }));
    if (made === undefined) return;
    expect(made).toMatchObject({ lastOffset: last, warnings: [] });
    this.#reported.push(made);
  }

  async #prune(): Promise<void> {
    if (this.#reported.length === 0) return;
    const before = await this.#faultless(() => this.#ids());
    const pruned = await unlessFailed("prune", () => this.#bench.prune(KEPT));
    // One that failed may have pruned as much, or do so yet.
    await settled();
    const after = await this.#faultless(() => this.#ids());
    if (pruned !== undefined) expect(after).toEqual(pruned.keptBackups);
    expect(after).toEqual(before.slice(-after.length));
    expect(after.length).toBeGreaterThanOrEqual(Math.min(KEPT, before.length));
    this.#reported = this.#reported.filter(({ id }) => after.includes(id));
  }

  async #ids(): Promise<string[]> {
    const ids: string[] = [];
    for await (const { name } of this.#patient.bucket.list("backups/2")) ids.push(name.slice(8, -5));
    return ids;
  }

  async #faultless<T>(run: () => Promise<T>): Promise<T> {
    const { fault } = server;
    server.fault = () => undefined;
    const result = await run();
    server.fault = fault;
    return result;
  }

  async #verify(): Promise<void> {
    if (this.#reported.length === 0) return;
    const found = await unlessFailed("verify", () => verifyBackups(this.#bench.bucket, { which: "all" }));
    if (found !== undefined) expect(found.findings).toEqual([]);
  }

  async #restore(log: EventLog): Promise<void> {
    const backed = this.#reported[this.#below(this.#reported.length)];
    if (backed === undefined) return;
    const records = await readAll(log);
    const last = 1 + this.#below(backed.lastOffset);
    const { timestamp } = records[last - 1]!;
    const targets: readonly [RestoreTarget, number][] = [
      [{ type: "latest" }, backed.lastOffset],
      [{ type: "offset", offset: last }, last],
      [{ type: "time", time: timestamp }, records.findLastIndex((each) => each.timestamp <= timestamp) + 1],
    ];
    const [target, expected] = targets[this.#below(3)]!;
    await this.#expectRestored(
      target,
      { backup: backed.id, last: Math.min(expected, backed.lastOffset) },
      records,
    );
  }

  async #expectRestored(
    target: RestoreTarget,
    { backup, last }: { backup: string; last: number },
    records: readonly LogRecord[],
    by = this.#bench,
  ): Promise<void> {
    const restorer = by.restorer();
    const report = await unlessFailed("restore", () => restorer.restore(target, "/new", { backup }));
    if (report === undefined) return;
    expect(report.lastOffset).toBe(last);
    expect(await lookInto(restorer, "/new")).toMatchObject({
      firstOffset: 1,
      endOffset: last + 1,
      lastCrc: records[last - 1]!.crc,
      start: { reason: "restored", offset: last },
    });
  }

  /** Nothing goes wrong any more. */
  async #finish(log: EventLog): Promise<void> {
    const bench = this.#patient;
    bench.nowMs = this.#bench.nowMs + 1000;
    await bench.append(log, 5);
    const records = await readAll(log);
    for (const { id, lastOffset } of this.#reported)
      await this.#expectRestored({ type: "latest" }, { backup: id, last: lastOffset }, records, bench);
    const { lastOffset } = await bench.backup({ store: bench.bucket });
    expect(lastOffset).toBe(log.endOffset);
    expect(await bench.archive(log)).toBe(log.endOffset);
    await bench.prune(KEPT);
    const { findings, notes } = await verifyBackups(bench.bucket, { which: "all" });
    expect({ findings, notes }).toEqual({ findings: [], notes: [] });
    expect(server.overwritten.filter((key) => !isReplaceable(key))).toEqual([]);
    expect(server.badSignatures).toEqual([]);
  }
}

const FAULT_TYPES = ["refuse", "hang", "reset", "lose-answer", "late", "cut", "slow", "error-in-body"];
const FAULTS: readonly S3Fault[] = [
  { type: "refuse", status: 500, code: "InternalError" },
  { type: "refuse", status: 409, code: "ConditionalRequestConflict" },
  { type: "reset" },
  { type: "lose-answer" },
  { type: "late", ms: 10 },
  { type: "cut", bytes: 70 },
  { type: "error-in-body" },
];

/** What runs in a bucket that has a backup and an archive of before. */
const WORKS: Readonly<Record<string, (bench: BucketBench, last: Offset) => Promise<unknown>>> = {
  backup: (bench) => bench.backup({ store: bench.bucket }),
  archive: (bench, last) => bench.archive({ durableOffset: last }),
  prune: (bench) => bench.prune(1),
  sweep: (bench) => bench.sweep(),
  verify: (bench) => verifyBackups(bench.bucket, { which: "all" }),
  restore: (bench) => bench.restorer().restore({ type: "latest" }),
};

const READS: ReadonlySet<string> = new Set(["verify", "restore"]);
const FILLED = "filled";

/** The log's files and its last offset; the bucket is filled, and the log has grown since. */
async function filled(): Promise<{ files: MemoryFileSystem; last: Offset; nowMs: number }> {
  const files = new MemoryFileSystem();
  const bench = new BucketBench(server, FILLED, files, { worldSeed: seed, limits: PATIENT });
  const { log } = await bench.openLog();
  for (const records of [30, 20]) {
    await bench.append(log, records);
    await bench.putSnapshot(log.durableOffset);
    await bench.backup({ store: bench.bucket });
    await bench.archive(log);
  }
  await bench.append(log, 9);
  const last = log.durableOffset;
  await log.close();
  return { files, last, nowMs: bench.nowMs };
}

/** Objects in several parts, and all in one. */
const PARTS = [
  { limits: PATIENT, partBytes: 700 },
  { limits: PATIENT, partBytes: 1 << 20 },
];

/** Number of requests that the work sent, with this fault at the n-th of them. */
async function withOneFault(work: string, n: number, fault: S3Fault, part: number): Promise<number> {
  const prefix = `one-${work}-${n}-${FAULTS.indexOf(fault)}-${part}`;
  server.copy(FILLED, prefix);
  const { files, last, nowMs } = before;
  const bench = new BucketBench(server, prefix, files.fork(), { ...PARTS[part]!, worldSeed: seed + n });
  bench.nowMs = nowMs;
  let requests = 0;
  server.fault = () => (++requests === n ? fault : undefined);
  await WORKS[work]?.(bench, last);
  server.fault = () => undefined;
  const met = requests;
  expect(server.overwritten.filter((key) => !isReplaceable(key))).toEqual([]);
  if (READS.has(work)) return met;
  await bench.backup({ store: bench.bucket });
  await bench.archive({ durableOffset: last });
  expect((await verifyBackups(bench.bucket, { which: "all" })).findings).toEqual([]);
  return met;
}

const WRITES = Object.keys(WORKS).filter((work) => !READS.has(work));
const LAST_WORDS: readonly S3Fault[] = [{ type: "reset" }, { type: "lose-answer" }, { type: "late", ms: 20 }];

/** Whether the work came as far as the n-th request, at which its process is killed. */
async function killedAt(work: string, n: number, lastWord: S3Fault, part: number): Promise<boolean> {
  const prefix = `killed-${work}-${n}-${lastWord.type}-${part}`;
  server.copy(FILLED, prefix);
  const { files, last, nowMs } = before;
  const killed = new BucketBench(server, prefix, files.fork(), { ...PARTS[part]!, worldSeed: seed + n });
  killed.nowMs = nowMs;
  let requests = 0;
  server.fault = () => {
    if (++requests !== n) return undefined;
    setImmediate(() => killed.bucket.close());
    return lastWord;
  };
  const reported = await WORKS[work]?.(killed, last).catch((error: unknown) => {
    if (!isServiceFailure(error)) throw error;
  });
  server.fault = () => undefined;
  if (requests < n) return false;
  // A lease outlasts what its holder had under way; an archive has none.
  if (work !== "archive") await settled();

  const next = new BucketBench(server, prefix, files.fork(), { worldSeed: seed - n, limits: PATIENT });
  next.nowMs = nowMs + 100_000;
  const archive = (): Promise<number> => next.archive({ durableOffset: last });
  if (work === "archive" && typeof reported === "number") expect(reported).toBe(last);
  expect(
    await archive().catch((error) => (isServiceFailure(error) ? archive() : Promise.reject(error))),
  ).toBe(last);
  await settled();
  await next.backup({ store: next.bucket });
  await next.prune(1);
  await next.sweep();
  const { findings, notes } = await verifyBackups(next.bucket, { which: "all" });
  expect({ findings, notes }).toEqual({ findings: [], notes: [] });
  expect(server.overwritten.filter((key) => !isReplaceable(key))).toEqual([]);
  const restorer = next.restorer();
  expect(await restorer.restore({ type: "latest" }, "/new")).toMatchObject({
    firstOffset: 1,
    lastOffset: last,
  });
  expect((await lookInto(restorer, "/new")).start).toMatchObject({ reason: "restored", offset: last });
  return true;
}

/** What it gave, or undefined when the service was in the way. */
async function unlessFailed<T>(what: string, run: () => Promise<T>): Promise<T | undefined> {
  try {
    const result = await run();
    note(`${what} done`);
    return result;
  } catch (error) {
    if (!isServiceFailure(error)) throw error;
    note(`${what} failed`);
    return undefined;
  }
}

describe("a bucket in trouble", () => {
  test("harms no backup and no restore", { timeout: 600_000 }, async () => {
    for (let run = 0; run < factor; run++)
      try {
        await new FaultyBucket(seed + run).run();
      } catch (error) {
        throw new Error(`world ${seed + run}`, { cause: error });
      }
    const outcomes = ["backup", "restore", "archive", "verify", "prune"].flatMap((work) => [
      `${work} done`,
      `${work} failed`,
    ]);
    const expected = factor > 1 ? [...FAULT_TYPES, ...outcomes] : ["refuse", "backup done"];
    for (const what of expected)
      expect(happened[what] ?? 0, `${what} of ${JSON.stringify(happened)}`).toBeGreaterThan(0);
  });

  for (const work of Object.keys(WORKS))
    test(`is not noticed by a ${work} when it is one fault at the n-th request`, {
      timeout: 600_000,
    }, async () => {
      let met = 0;
      const [stride, together] = factor > 1 ? [1, 2 * FAULTS.length] : [23, 1];
      for (let n = 1 + (seed % stride), over = false; !over; n += stride)
        for (let i = 0; i < together && !over; i++) {
          const fault = FAULTS[(seed + n + (i >> 1)) % FAULTS.length]!;
          try {
            const part = (together === 1 ? n : i) % 2;
            const isOver = (await withOneFault(work, n, fault, part)) < n;
            // In parts it takes more requests.
            over = isOver && part === 0;
            if (isOver) continue;
          } catch (error) {
            throw new Error(`${JSON.stringify(fault)} at request ${n} of a ${work}`, { cause: error });
          }
          if (!over) met += 1;
        }
      // The short form may step over the few requests of one work.
      if (stride === 1) expect(met).toBeGreaterThan(50);
    });

  for (const work of WRITES)
    test(`is left in order by a ${work} that is killed at the n-th request`, {
      timeout: 600_000,
    }, async () => {
      const [stride, together] = factor > 1 ? [1, 2 * LAST_WORDS.length] : [27, 1];
      let met = 0;
      for (let n = 1 + (seed % stride), over = false; !over; n += stride)
        for (let i = 0; i < together && !over; i++) {
          const lastWord = LAST_WORDS[(seed + n + (i >> 1)) % LAST_WORDS.length]!;
          try {
            const part = (together === 1 ? n : i) % 2;
            const isOver = !(await killedAt(work, n, lastWord, part));
            // In parts it takes more requests.
            over = isOver && part === 0;
            if (isOver) continue;
          } catch (error) {
            throw new Error(`${JSON.stringify(lastWord)} at request ${n} of a ${work}`, { cause: error });
          }
          if (!over) met += 1;
        }
      if (stride === 1) expect(met).toBeGreaterThan(20);
    });
});
