/** What snapshots cost and save: making one of a million keys, reading it back, and the start of a server that begins with it. */
import { openLogView, realFileSystem, SNAPSHOT_DIRECTORY } from "../../log/index.js";
import { Fold, foldTo, readSnapshot, writeSnapshot } from "../../projections/index.js";
import { startAnnals } from "./annals.js";
import { fillDirectory, MILLION, RULES } from "./million-rows.js";
import { interleave, type Row } from "./row.js";
import { shown, spreadOf } from "./statistics.js";

const wholeMs = (value: number): string => value.toFixed(0);

/** Ms. */
async function timeOf(work: () => Promise<unknown>): Promise<number> {
  const begun = performance.now();
  await work();
  return performance.now() - begun;
}

const snapshot: Row = {
  name: "snapshot",
  run: async (bench) => {
    const data = bench.newDirectory("snapshot");
    await fillDirectory(data);
    const directory = `${data}/${SNAPSHOT_DIRECTORY}`;
    const log = await openLogView(realFileSystem, data);
    const { fold } = await foldTo(log, undefined, { rules: RULES });
    const mark = await log.markAt(log.endOffset);
    const write = () => writeSnapshot(realFileSystem, directory, fold, mark, { now: Date.now });
    const { name, bytes } = await write();
    const read = () => readSnapshot(realFileSystem, `${directory}/${name}`, new Fold({ rules: RULES }));
    const empty = bench.newDirectory("snapshot-empty");
    const start = async (dataDirectory: string): Promise<number> => {
      const annals = await startAnnals(bench, { fsyncMode: "always", dataDirectory });
      await annals.stop();
      return annals.readyMs;
    };
    const values = await interleave(bench.rounds, [
      { name: "write", measure: () => timeOf(write) },
      { name: "read", measure: () => timeOf(read) },
      { name: "start", measure: () => start(data) },
      { name: "empty", measure: () => start(empty) },
    ]);
    const of = (what: string): readonly number[] => values.get(what) ?? [];
    const writeMs = spreadOf(of("write"));
    const readPerSecond = spreadOf(of("read").map((ms) => MILLION / (ms / 1000)));
    const beyondEmpty = of("start").map((ms, round) => MILLION / ((ms - (of("empty")[round] ?? 0)) / 1000));
    const startPerSecond = spreadOf(beyondEmpty);
    return [
      {
        what: "snapshot of 1 M keys (20 B key, 100 B value), digests and sync included",
        goal: "≤ 10 s",
        measured: `${shown(writeMs, wholeMs)} ms for ${bytes} bytes`,
        reached: writeMs.median <= 10_000,
        numbers: { writeMs, bytes },
      },
      {
        what: "start from that snapshot",
        goal: "≥ 600 k keys/s",
        measured: `${shown(startPerSecond)} keys/s (beyond the start of an empty directory); reading it alone ${shown(readPerSecond)} keys/s`,
        reached: startPerSecond.median >= 600_000,
        numbers: { startPerSecond, readPerSecond, startMs: spreadOf(of("start")) },
      },
    ];
  },
};

export const SNAPSHOT_ROWS: readonly Row[] = [snapshot];
