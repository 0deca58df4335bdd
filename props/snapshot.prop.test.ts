/**
 * A snapshot is the state.
 *
 * 1. Of a history over all projections, at every offset: what is read back is what was written, by digest and by everything that
 *    readers and deciders can see.
 * 2. Snapshot and the rest of the log give what the whole log gives, whatever the sizes of the batches, also when the snapshot was
 *    made of a state that began with a snapshot.
 * 3. Rows are MessagePack: any library reads them.
 */
import { decodeMulti } from "@msgpack/msgpack";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { type LogRecord, type Offset, offset } from "../log/index.js";
import {
  DEFAULT_QUEUE_RULES,
  DEFAULT_STREAM_RULES,
  Fold,
  foldTo,
  readSnapshot,
  type SnapshotFacts,
  type StoreRules,
  writeSnapshot,
} from "../projections/index.js";
import { walkSnapshot } from "../projections/snapshot/walk.js";
import { TEST_RULES, TestStore } from "../test/support/kv-store.js";
import { MemoryFileSystem } from "../test/support/memory-file-system.js";
import { MemoryLog } from "../test/support/memory-log.js";
import { wholeState } from "./checkers/whole-state.js";
import { MODEL_START_MS } from "./model/kv-operations.js";
import { factor, runs } from "./run-settings.js";
import { WholeHistory, type WholeStep, wholeStep } from "./world/whole-histories.js";

/** So few answers are kept that the oldest goes. */
const RULES: StoreRules = {
  kv: TEST_RULES,
  queue: DEFAULT_QUEUE_RULES,
  stream: DEFAULT_STREAM_RULES,
  idempotency: { windowMs: 1, answersMax: 2, bytesMax: 1 << 20 },
};
const DIRECTORY = "/data/snapshots";

const happened = {
  snapshots: 0,
  expiredHeld: 0,
  deleted: 0,
  remembered: 0,
  delayed: 0,
  inFlight: 0,
  retried: 0,
  dead: 0,
  deduplicated: 0,
  vacant: 0,
  forks: 0,
  gone: 0,
  trimmed: 0,
  partlyTrimmed: 0,
  producers: 0,
  closed: 0,
  mortal: 0,
  answers: 0,
  otherTypes: 0,
};

const steps = fc.array(wholeStep, { minLength: 60, maxLength: 120, size: "max" });
/** Always the same: with it everything below comes at least once in every run. */
const [KNOWN = []] = fc.sample(fc.array(wholeStep, { minLength: 200, maxLength: 200, size: "max" }), {
  numRuns: 1,
  seed: 12,
});

async function recordsOf(history: readonly WholeStep[]): Promise<readonly LogRecord[]> {
  const t = await TestStore.open({ now: MODEL_START_MS });
  const whole = new WholeHistory(t);
  await whole.begin();
  for (const step of history) await whole.run(step);
  expect(t.deaths).toEqual([]);
  return t.log.records;
}

function note({ kv, queue, stream, idempotency, clock }: Fold): void {
  happened.snapshots++;
  if (kv.keysHeld > kv.size(clock)) happened.expiredHeld++;
  if (kv.lastRemoval > 0) happened.deleted++;
  happened.remembered += kv.removed.size;
  for (const slot of kv.table.slots())
    if (kv.table.contentTypeAt(slot) === "image/png") happened.otherTypes++;
  if (queue.vacantNumbers.length > 0) happened.vacant++;
  for (const each of queue.queues()) {
    happened.delayed += each.delayed;
    happened.inFlight += each.deadlines.size;
    happened.dead += each.deaths.size;
    happened.deduplicated += [...each.keys.remembered(clock)].length;
    for (const slot of each.eachSlot()) happened.retried += each.headOf(slot).retryCount;
  }
  for (const each of stream.streams.values()) {
    happened.forks += each.forks;
    if (each.gone) happened.gone++;
    if (each.dropped !== undefined) happened.trimmed++;
    if ((each.index.oldest?.first ?? each.trimmed) < each.trimmed) happened.partlyTrimmed++;
    happened.producers += each.producers?.size ?? 0;
    if (each.closedBy !== undefined) happened.closed++;
  }
  happened.mortal += stream.mortal.size;
  happened.answers += idempotency.size;
}

/** What one snapshot leaves behind is another one's beginning. */
class Snapshots {
  readonly files = new MemoryFileSystem();

  constructor(readonly log: MemoryLog) {}

  async write(fold: Fold): Promise<SnapshotFacts> {
    const mark = await this.log.markAt(fold.offset);
    return writeSnapshot(this.files, DIRECTORY, fold, mark, { now: () => MODEL_START_MS });
  }

  async only(name: string): Promise<void> {
    for (const other of await this.files.list(DIRECTORY)) {
      if (other !== name) await this.files.remove(`${DIRECTORY}/${other}`);
    }
  }

  goOn(last: Offset): Promise<{ fold: Fold; from: SnapshotFacts | undefined }> {
    return foldTo(this.log, { files: this.files, directory: DIRECTORY }, { rules: RULES, last });
  }
}

/** What is local and invisible is made equal: expired keys that one has reclaimed and the other has not yet. */
function comparable(fold: Fold): unknown {
  fold.reclaimExpired(fold.clock, 1_000);
  return wholeState(fold, RULES, fold.clock);
}

/** As `toEqual`, which takes most of the time: only asked to show the difference. */
function expectSame(found: unknown, expected: unknown): void {
  if (JSON.stringify(found) === JSON.stringify(expected)) return;
  expect(found).toEqual(expected);
  expect.unreachable("equal, but not in the same order");
}

describe("snapshot", () => {
  // In the long form everything that can be seen is compared at every offset; in the short one at some, and digests at all.
  it("reads back as it was written, and goes on as the whole log, at every offset", async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 1, max: 9 }), async (history, batchRecords) => {
        const records = await recordsOf(history);
        const log = new MemoryLog({ records, batchRecords });
        const whole = await foldTo(log, undefined, { rules: RULES });
        const expected = comparable(whole.fold);
        const expectedDigests = whole.fold.digests();
        const fold = new Fold({ rules: RULES });
        const snapshots = new Snapshots(log);
        for (const record of records) {
          fold.take(record);
          const written = await snapshots.write(fold);
          await snapshots.only(written.name);

          const read = new Fold({ rules: RULES, hashSeed: Buffer.from("another!") });
          const info = await readSnapshot(snapshots.files, `${DIRECTORY}/${written.name}`, read);
          expect(info).toEqual(written);
          expect(read.digests()).toEqual(fold.digests());
          expect(read.digests()).toEqual(info.digests);
          expect([read.offset, read.clock]).toEqual([fold.offset, fold.clock]);
          expect(read.kv.lastRemoval).toBe(fold.kv.lastRemoval);
          expect(read.queue.vacantNumbers).toEqual(fold.queue.vacantNumbers);
          expectSame(wholeState(read, RULES, fold.clock), wholeState(fold, RULES, fold.clock));

          const on = await snapshots.goOn(log.endOffset);
          expect(on.from?.name).toBe(written.name);
          expect(on.fold.digests()).toEqual(expectedDigests);
          if (factor > 1 || record.offset % 4 === 0) expectSame(comparable(on.fold), expected);
          note(fold);
        }
      }),
      { ...(runs(6) as fc.Parameters<[WholeStep[], number]>), examples: [[KNOWN, 4]] },
    );
  });

  it("of a state that began with a snapshot is that of the state that read every record", async () => {
    await fc.assert(
      fc.asyncProperty(steps, fc.integer({ min: 1, max: 7 }), async (history, every) => {
        const records = await recordsOf(history);
        const log = new MemoryLog({ records, batchRecords: 3 });
        const snapshots = new Snapshots(log);
        for (let last = every; last <= log.endOffset; last += every) {
          const { fold, from } = await snapshots.goOn(offset(last));
          expect(from?.offset).toBe(last === every ? undefined : last - every);
          await snapshots.write(fold);
        }
        const { fold } = await snapshots.goOn(log.endOffset);
        const whole = await foldTo(log, undefined, { rules: RULES });
        expect(fold.digests()).toEqual(whole.fold.digests());
        expectSame(comparable(fold), comparable(whole.fold));
      }),
      runs(12) as fc.Parameters<[WholeStep[], number]>,
    );
  });

  it("has rows that any MessagePack library reads, each with as many fields as it says", async () => {
    const log = new MemoryLog({ records: await recordsOf(KNOWN) });
    const { fold } = await foldTo(log, undefined, { rules: RULES });
    const snapshots = new Snapshots(log);
    const { name } = await snapshots.write(fold);
    const rows = new Map<number, unknown[]>();
    const take = (section: number, bytes: Buffer): void => {
      rows.set(section, [...(rows.get(section) ?? []), ...decodeMulti(bytes)]);
    };
    await walkSnapshot(snapshots.files, `${DIRECTORY}/${name}`, take, {});
    expect([...rows.keys()]).toEqual([1, 2, 3, 4]);
    for (const row of [...rows.values()].flat()) expect(Array.isArray(row)).toBe(true);
    const counted = (section: number, tag: number): number =>
      (rows.get(section) ?? []).filter((row) => (row as unknown[])[0] === tag).length;
    expect(rows.get(1)?.length).toBe(1 + fold.kv.keysHeld + fold.kv.removed.size);
    expect(fold.kv.removed.size).toBeGreaterThan(0);
    expect(counted(2, 1)).toBe(fold.queue.queueCount);
    expect(counted(2, 3)).toBe(fold.queue.table.size);
    expect(counted(3, 1)).toBe(fold.stream.count);
    expect(rows.get(4)?.length).toBe(fold.idempotency.size);
  });

  afterAll(() => {
    for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(3);
  });
});
