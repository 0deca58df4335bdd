/**
 * Promise: a restore gives back exactly the past that was asked for.
 *
 *   1. restored to an offset, the directory opens, and its log is the live one up to there, to the byte (chained crc); its state is
 *      the fold of that prefix, by digest, whichever backup and snapshot it was made from
 *   2. restored to a time, it holds every record with a timestamp up to that millisecond, and no other
 *   3. behind the last record a new epoch begins, which says where the log came from
 *   4. what the live directory shows of the past (`?at=`) is the same state, at every offset and time
 *
 * At a sample of offsets and every border of a segment in `npm test`; at every offset in `npm run props`.
 */
import { beforeAll, describe, expect, test } from "vitest";
import { openLogView } from "../log/index.js";
import { DirectorySource } from "../ops/past/fold-source.js";
import { pointOf } from "../ops/past/moment.js";
import { PastFolds } from "../ops/past/past-folds.js";
import { DATA, RULES } from "../test/support/backup-bench.js";
import {
  lookInto,
  prefixDigests,
  RESTORED_AT_MS,
  RestoreBench,
  type RestoreWorld,
  wholeHistoryRecords,
  worldOf,
} from "../test/support/restore-bench.js";
import { at } from "../test/support/test-log.js";
import { factor, seed, seededRandom } from "./run-settings.js";

const RECORDS = 5_000;
const SAMPLE = 30;
const FOLD_LIMITS = { foldsMax: 2, bytesMax: 1 << 30, recordsMax: RECORDS };

let world: RestoreWorld;

beforeAll(async () => {
  world = await worldOf(await wholeHistoryRecords(RECORDS, seed), { worldSeed: seed });
});

/** The borders of segments with their neighbours, and a sample; all of them in the long form. */
function offsets(): number[] {
  const { records, borders } = world;
  const all = records.map(({ offset }) => offset as number);
  if (factor > 1) return all;
  const random = seededRandom(seed);
  const chosen = new Set([
    1,
    2,
    RECORDS - 1,
    RECORDS,
    ...borders.flatMap((border) => [border - 1, border, border + 1]),
  ]);
  while (chosen.size < SAMPLE + 3 * borders.length) chosen.add(1 + Math.floor(random() * RECORDS));
  return all.filter((offset) => chosen.has(offset));
}

describe("restore", () => {
  test("to an offset gives the log and the state up to there", async () => {
    const { records, borders, files, bench } = world;
    expect(records).toHaveLength(RECORDS);
    expect(borders.length).toBeGreaterThan(8);
    const chosen = offsets();
    // Not before the clock of any of the states: the record of the new epoch has the time of the restore.
    const when = RESTORED_AT_MS + 1;
    const expected = prefixDigests(records, new Set(chosen), when);
    const [states, snapshots] = [new Set<string>(), new Set<number | null>()];
    const past = new PastFolds(
      new DirectorySource({ files, dataDirectory: DATA, rules: RULES }),
      FOLD_LIMITS,
    );
    for (const offset of chosen) {
      const restorer = new RestoreBench(files.fork(), bench, seed + offset);
      const report = await restorer.restore({ type: "offset", offset }, "/restored");
      const found = await lookInto(restorer, "/restored", when);
      expect(found, `offset ${offset}`).toMatchObject({
        firstOffset: 1,
        endOffset: offset + 1,
        lastCrc: records[offset - 1]!.crc,
        start: { reason: "restored", offset },
        digests: expected.get(offset)!,
      });
      expect(report.warnings).toEqual([]);
      const looked = await past.lease(at(offset), new AbortController().signal);
      if (looked.type !== "lease") throw new Error(`offset ${offset}: ${looked.code}`);
      expect(looked.fold.digests(when), `the past at ${offset}`).toEqual(found.digests);
      looked.release();
      states.add(found.digests.all);
      snapshots.add(report.snapshotOffset);
    }
    expect(states.size).toBeGreaterThan(chosen.length / 3);
    expect(snapshots.size).toBeGreaterThan(1);
  }, 1_800_000);

  test("to a time takes every record up to that millisecond and no other", async () => {
    const { records, files, bench } = world;
    const restorer = new RestoreBench(files, bench, seed);
    const endOf = (time: number): number => records.findLastIndex(({ timestamp }) => timestamp <= time) + 1;
    const newest = records.at(-1)!.timestamp;
    const stride = factor > 1 ? 1 : 17;
    const view = await openLogView(files, DATA);
    const horizon = { log: view, end: view.endOffset, now: Number.MAX_SAFE_INTEGER };
    let [restored, number] = [0, 0];
    const times = new Set<number>();
    for (let i = 0; i < records.length; i += stride)
      for (const time of [-1, 0, 1]) times.add(records[i]!.timestamp + time);
    let tied = 0;
    for (const time of times) {
      if (time > newest || endOf(time) === 0) {
        const code = time > newest ? "RESTORE_TARGET_BEYOND" : "RESTORE_TARGET_RETIRED";
        await expect(restorer.plan({ type: "time", time })).rejects.toMatchObject({ code });
        if (time < newest)
          expect(await pointOf({ type: "time", time }, horizon)).toMatchObject({
            code: "API_AT_BEFORE_FIRST",
          });
        continue;
      }
      const { last, warnings } = await restorer.plan({ type: "time", time });
      expect(last, `time ${time}`).toBe(endOf(time));
      expect(warnings.length).toBe(time === newest ? 1 : 0);
      expect(await pointOf({ type: "time", time }, horizon)).toMatchObject({ at: last });
      if (++number % 40 === seed % 40) {
        const into = new RestoreBench(files.fork(), bench, seed + number);
        await into.restore({ type: "time", time }, "/restored");
        expect(await lookInto(into, "/restored"), `time ${time}`).toMatchObject({
          endOffset: last + 1,
          lastCrc: records[last - 1]!.crc,
        });
        restored += 1;
      }
      if (records[last - 2]?.timestamp === records[last - 1]!.timestamp) tied += 1;
    }
    expect(times.size).toBeGreaterThan(100);
    expect(tied).toBeGreaterThan(10);
    expect(restored).toBeGreaterThan(2);
  }, 1_800_000);
});
