// States of a data directory: from its snapshots and its segments, also when retention takes from below.
import { beforeEach, describe, expect, it, vi } from "vitest";
import { type EventLog, LOG_DIRECTORY, offset, SNAPSHOT_DIRECTORY } from "../../../log/index.js";
import { DirectorySource } from "../../../ops/past/fold-source.js";
import { OfflinePast } from "../../../ops/past/offline-past.js";
import { PastFolds } from "../../../ops/past/past-folds.js";
import { asIs, Fold, foldTo, kv, openStore, TEXT_TYPE, writeSnapshot } from "../../../projections/index.js";
import { TEST_STORE_RULES } from "../../support/kv-store.js";
import { MemoryFileSystem } from "../../support/memory-file-system.js";
import { TEST_FOLD_LIMITS } from "../../support/past-in-process.js";
import { openTestLog } from "../../support/test-log.js";

const DATA = "/data";
const SNAPSHOTS = `${DATA}/${SNAPSHOT_DIRECTORY}`;
const rules = TEST_STORE_RULES;

let files: MemoryFileSystem;
let log: EventLog;
const digests = new Map<number, string>();

beforeEach(async () => {
  files = new MemoryFileSystem();
  ({ log } = await openTestLog(DATA, { files, now: () => 1_000 }));
  await write(200);
});

async function write(records: number): Promise<void> {
  const onDead = (error: Error): never => {
    throw error;
  };
  const store = await openStore({ log, rules, onDead });
  for (let i = 0; i < records; i++) {
    const at = log.endOffset + 1;
    const context = { now: 1_000 + at, random: 0.5, cause: { command: "test" } };
    const command = { key: `k${at % 9}`, value: `v${at}`.padEnd(80), contentType: TEXT_TYPE };
    await store.execute(kv.set, command, context, asIs);
  }
  await store.close();
  const fold = new Fold({ rules });
  for await (const batch of log.read(log.firstOffset)) {
    for (const record of batch) {
      fold.take(record);
      digests.set(record.offset, fold.digests().all);
    }
  }
}

async function snapshotAt(at: number): Promise<string> {
  const { fold } = await foldTo(log, undefined, { rules, last: offset(at) });
  const { name } = await writeSnapshot(files, SNAPSHOTS, fold, await log.markAt(offset(at)), {
    now: () => 5_000,
  });
  return `${SNAPSHOTS}/${name}`;
}

/** One bit between its ends. */
function flipIn(path: string): void {
  const bytes = Uint8Array.from(files.get(path));
  const middle = Math.floor(bytes.length / 2);
  bytes[middle] = (bytes[middle] ?? 0) ^ 1;
  files.put(path, bytes);
}

/** A read of the snapshot that is held up, and given up by who asked for it, before a row of it is there. */
async function abandonedRead(limits: Partial<typeof TEST_FOLD_LIMITS> = {}) {
  await snapshotAt(150);
  const from = source();
  const begin = vi.spyOn(from, "begin");
  const open = files.open.bind(files);
  let go = (): void => undefined;
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  const impatient = new AbortController();
  vi.spyOn(files, "open").mockImplementation(async (path, mode) => {
    if (begin.mock.calls.length > 0 && path.startsWith(SNAPSHOTS)) {
      impatient.abort();
      await gate;
    }
    return open(path, mode);
  });
  const states = new PastFolds(from, { ...TEST_FOLD_LIMITS, ...limits });
  expect(await states.lease(offset(160), impatient.signal)).toMatchObject({ code: "API_CLIENT_GONE" });
  return { states, begin, go };
}

const source = (): DirectorySource => new DirectorySource({ files, dataDirectory: DATA, rules });
const folds = (): PastFolds => new PastFolds(source(), TEST_FOLD_LIMITS);

async function digestAt(states: PastFolds, at: number): Promise<string> {
  const lease = await states.lease(offset(at), new AbortController().signal);
  if (lease.type === "refused") return lease.code;
  const digest = lease.fold.digests().all;
  lease.release();
  return digest;
}

describe("the past of a directory", () => {
  it("begins with the nearest earlier snapshot, and replays no more than what is behind it", async () => {
    await snapshotAt(50);
    await snapshotAt(150);
    const states = folds();
    for (const [at, replayed] of [
      [160, 10],
      [150, 10],
      [149, 109],
      [20, 129],
    ] as const) {
      expect(await digestAt(states, at), `at ${at}`).toBe(digests.get(at));
      expect(states.replayedRecords, `at ${at}`).toBe(replayed);
    }
  });

  it("passes over a damaged snapshot for the one before it", async () => {
    await snapshotAt(50);
    flipIn(await snapshotAt(150));
    expect(await digestAt(folds(), 160)).toBe(digests.get(160));
  });

  it("replays no more than may be behind a damaged snapshot either, and passes over it from then on", async () => {
    await snapshotAt(50);
    flipIn(await snapshotAt(150));
    const few = new PastFolds(source(), { ...TEST_FOLD_LIMITS, recordsMax: 109 });
    expect(await digestAt(few, 160)).toBe("API_PAST_TOO_FAR");
    expect(few.replayedRecords).toBe(0);
    const states = folds();
    for (const [at, replayed] of [
      [160, 110],
      [100, 160],
      [153, 213],
    ] as const) {
      expect(await digestAt(states, at), `at ${at}`).toBe(digests.get(at));
      expect(states.replayedRecords, `at ${at}`).toBe(replayed);
    }
  });

  it("reads a snapshot to its end also when nobody waits any more, so that asking again finds it", async () => {
    const { states, begin, go } = await abandonedRead();
    const again = digestAt(states, 160);
    go();
    expect(await again).toBe(digests.get(160));
    expect(begin).toHaveBeenCalledTimes(1);
  });

  it("says of a snapshot that was read, and is too large, at once that it is", async () => {
    const { states, begin, go } = await abandonedRead({ bytesMax: 10 });
    const again = digestAt(states, 160);
    go();
    expect(await again).toBe("API_PAST_TOO_LARGE");
    expect(begin).toHaveBeenCalledTimes(1);
    expect(states.count).toBe(0);
  });

  it("does not open the log again for what the last view shows", async () => {
    const states = source();
    states.reaches(offset(180));
    const view = await states.view(offset(20), false);
    expect(view.endOffset).toBe(180);
    expect(await states.view(offset(180), false)).toBe(view);
    expect(await states.view(offset(180), true)).not.toBe(view);
    expect((await states.view(offset(190), false)).endOffset).toBe(190);
  });

  it("is there as far back as log and snapshots reach, also when retention was quicker than a view", async () => {
    await snapshotAt(100);
    const states = folds();
    expect(await digestAt(states, 30)).toBe(digests.get(30));
    const first = await log.retain(offset(101));
    expect(first).toBeGreaterThan(60);
    expect(first).toBeLessThanOrEqual(101);
    // Kept in memory, whatever happened to its records.
    expect(await digestAt(states, 30)).toBe(digests.get(30));
    // The view of before still shows what is gone.
    expect(await digestAt(states, 99)).toBe("LOG_OFFSET_RETIRED");
    expect(await digestAt(states, 100)).toBe(digests.get(100));
    expect(await digestAt(states, 170)).toBe(digests.get(170));
    expect(await digestAt(folds(), 99)).toBe("LOG_OFFSET_RETIRED");
    expect(await digestAt(folds(), 170)).toBe(digests.get(170));
  });

  it("grows with the log", async () => {
    const states = folds();
    expect(await digestAt(states, 200)).toBe(digests.get(200));
    await write(50);
    expect(await digestAt(states, 240)).toBe(digests.get(240));
    expect(states.replayedRecords).toBe(240);
  });

  it("offline: has a time before the first record that is left, if the snapshot before it is as old", async () => {
    for (let at = 61; at <= 100; at++) await snapshotAt(at);
    const before = (await log.retain(offset(101))) - 1;
    const past = await OfflinePast.open({ files, dataDirectory: DATA, rules, now: () => 9_999_999 });
    const stateAt = async (time: number) => {
      const point = await past.point({ type: "time", time });
      if (point.type === "refused") return point;
      const fold = await past.stateAt(point);
      return "type" in fold ? fold : fold.digests().all;
    };
    expect(await stateAt(1_000 + before)).toBe(digests.get(before));
    expect(await stateAt(1_000 + before - 1)).toMatchObject({ code: "LOG_OFFSET_RETIRED" });
  });

  it("offline: is the same, and refuses what nothing reaches back to", async () => {
    const open = () => OfflinePast.open({ files, dataDirectory: DATA, rules, now: () => 9_999_999 });
    const past = await open();
    for (const at of [1, 77, 201]) {
      const point = await past.point({ type: "offset", offset: at });
      expect(point).toMatchObject({ type: "point", at });
      expect((await past.foldAt(offset(at))).digests().all).toBe(digests.get(at));
    }
    expect(await past.point(undefined)).toMatchObject({ at: past.log.endOffset });
    await log.retain(offset(101));
    const cut = await open();
    await expect(cut.foldAt(offset(150))).rejects.toMatchObject({ code: "SNAPSHOT_MISSING" });
    const first = cut.log.firstOffset;
    for (const [at, why] of [
      [3, "the state at offset 3 lies before all that is known"],
      [first - 1, `a snapshot of offset ${first - 1} is needed`],
      [first, `a snapshot of offset ${first - 1} to ${first} is needed`],
    ] as const)
      await expect(cut.foldAt(offset(at))).rejects.toThrow(`the log begins at offset ${first}, and ${why}`);
    expect((await files.list(`${DATA}/${LOG_DIRECTORY}`)).length).toBeGreaterThan(1);
  });
});
