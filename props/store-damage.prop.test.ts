/**
 * Promise: a damaged log of keys, queues, streams and batches of them is refused, or the store is exactly what it was after the
 * last record that is left – never half of a record, never a record that was not written.
 *
 * Histories are written through a real log, then left as a dead process leaves them. One byte of a segment is flipped, a segment
 * is cut, or some of its sectors become zeros or what another segment has there; with the recovery point or without.
 *
 *   1. a log that opens and replays has the model's state at the offset where it ends, and the digest of the live state there
 *   2. anything else is a coded refusal of the log
 *   3. what is left can be worked with: new records go behind it, and it opens again
 */
import { describe, expect, test } from "vitest";
import { type EventLog, type FsyncMode, LOG_DIRECTORY, LogError, openLog } from "../log/index.js";
import { kv, type OpenedStore, openStore, TEXT_TYPE } from "../projections/index.js";
import { MemoryFileSystem } from "../test/support/memory-file-system.js";
import { logOptions } from "../test/support/test-log.js";
import { PromiseBroken } from "./checkers/promise-broken.js";
import { factor, seed, seededRandom } from "./run-settings.js";
import { nextTurn } from "./world/log-lives.js";
import { DATA_DIRECTORY } from "./world/log-settings.js";
import { type Moment, type StoreStep, StoreWorkload } from "./world/store-workload.js";
import { WORLD_RULES } from "./world/store-world.js";

const random = seededRandom(seed);
const below = (end: number): number => Math.floor(random() * end);
const SECTOR_BYTES = 512;
const RECOVERY_POINT = `${DATA_DIRECTORY}/recovery-point`;
const ALIVE = { alive: true };
const START_MS = 1_700_000_000_000;

const STEPS: readonly StoreStep["type"][] = [
  "setKeys",
  "publish",
  "consume",
  "consume",
  "ack",
  "nack",
  "append",
  "trim",
  "deleteKeys",
  "batch",
  "batch",
];

interface History {
  readonly fsyncMode: FsyncMode;
  readonly files: MemoryFileSystem;
  readonly workload: StoreWorkload;
  readonly moments: readonly (readonly [number, Moment])[];
  readonly segments: readonly string[];
  readonly end: number;
}

let clockMs = START_MS;
const now = (): number => {
  clockMs += 1;
  return clockMs;
};

interface Opened {
  readonly log: EventLog;
  readonly store: OpenedStore;
}

async function open(files: MemoryFileSystem, fsyncMode: FsyncMode): Promise<Opened> {
  const { log } = await openLog(
    logOptions(DATA_DIRECTORY, { files, fsyncMode, now, fsyncIntervalMs: 60_000 }),
  );
  try {
    const onDead = (error: Error): never => {
      throw error;
    };
    return { log, store: await openStore({ log, rules: WORLD_RULES, onDead }) };
  } catch (error) {
    await log.close();
    throw error;
  }
}

/** Steps of every kind, on a log that is then left as it is. */
async function work(store: OpenedStore, workload: StoreWorkload, count: number): Promise<void> {
  await workload.create(store, ALIVE);
  for (let index = 0; index < count; index += 1) {
    const type = STEPS[below(STEPS.length)] ?? "batch";
    workload.step(store, { type, count: 1 + below(3) });
    // Answers are heard in later turns; in one turn's records nobody acks what the same turn delivered.
    if (below(3) === 0) await workload.answered();
  }
  await workload.answered();
}

async function write(fsyncMode: FsyncMode, steps: number): Promise<History> {
  const files = new MemoryFileSystem([], [DATA_DIRECTORY]);
  const workload = new StoreWorkload({ now, answered: () => undefined });
  const { log, store } = await open(files, fsyncMode);
  await work(store, workload, steps);
  for (let turn = 0; turn < 20; turn += 1) await nextTurn();
  const left = files.fork();
  const end = log.endOffset;
  await store.close();
  await log.close();
  const directory = `${DATA_DIRECTORY}/${LOG_DIRECTORY}/`;
  const segments = left.paths.filter((path) => path.startsWith(directory) && path.endsWith(".log"));
  return { fsyncMode, files: left, workload, moments: [...workload.moments], segments, end };
}

type Damage = "flip" | "cut" | "sectors";

/** Damages one file of a copy; the tail as often as all sealed segments together. Says which, for whoever reads a failure. */
async function damage(history: History, kind: Damage): Promise<{ files: MemoryFileSystem; what: string }> {
  const files = history.files.fork();
  if (below(2) === 0 && files.paths.includes(RECOVERY_POINT)) await files.remove(RECOVERY_POINT);
  const { segments } = history;
  const at = below(2) === 0 ? segments.length - 1 : below(segments.length);
  const path = segments[at] ?? "";
  const size = files.get(path).length;
  const position = below(size);
  switch (kind) {
    case "flip": {
      const bytes = files.own(path);
      bytes[position] = (bytes[position] ?? 0) ^ (1 + below(255));
      break;
    }
    case "cut":
      files.put(path, files.get(path).subarray(0, position));
      break;
    case "sectors": {
      const from = position - (position % SECTOR_BYTES);
      const other = below(2) === 0 ? undefined : files.get(segments[below(segments.length)] ?? path);
      files.own(path).set(sectorOf(other, from, Math.min(SECTOR_BYTES, size - from)), from);
      break;
    }
  }
  return { files, what: `${kind} at ${position} of ${path} (${history.fsyncMode})` };
}

function sectorOf(other: Uint8Array | undefined, from: number, length: number): Uint8Array {
  const sector = new Uint8Array(length);
  if (other !== undefined) sector.set(other.subarray(from, from + length));
  return sector;
}

const happened: Record<string, number> = {};
const count = (what: string): void => {
  happened[what] = (happened[what] ?? 0) + 1;
};

/** Opens what is left and holds it to the promises. */
async function look(history: History, files: MemoryFileSystem): Promise<void> {
  let opened: Opened;
  try {
    opened = await open(files, history.fsyncMode);
  } catch (error) {
    if (!(error instanceof LogError)) throw error;
    count("refused");
    return;
  }
  const { log, store } = opened;
  const end = store.offset;
  if (end > history.end) throw new PromiseBroken("prefix", `${history.end} records became ${end}`);
  const moment = history.moments.findLast(([offset]) => offset <= end)?.[1];
  await history.workload.compare(store, ALIVE, moment);
  count(end === history.end ? "whole" : "shorter");
  if (end < history.end) count(`after ${moment?.step ?? "nothing"}`);
  if (below(8) === 0) await goOn(files, history.fsyncMode, opened);
  else await log.close();
}

/** New records go behind what is left. */
async function goOn(files: MemoryFileSystem, fsyncMode: FsyncMode, { log, store }: Opened): Promise<void> {
  const context = { now: now(), random: 0.5, cause: { command: "test" } };
  const pair = { key: "new", value: "value", contentType: TEXT_TYPE };
  await store.execute(kv.set, pair, context, () => undefined);
  const digest = store.digest();
  await log.close();
  const again = await open(files, fsyncMode);
  expect(again.store.digest()).toBe(digest);
  await again.log.close();
  count("went on");
}

describe("a damaged log", () => {
  for (const fsyncMode of ["always", "never"] as const)
    test(`${fsyncMode}: is refused, or the store is what it was after the last record that is left`, async () => {
      for (let round = 0; round < 4 * factor; round += 1) {
        const history = await write(fsyncMode, 90);
        expect(history.segments.length, "segments").toBeGreaterThan(1);
        for (let index = 0; index < 90; index += 1) {
          const kind = (["flip", "cut", "sectors"] as const)[index % 3] ?? "flip";
          const { files, what } = await damage(history, kind);
          try {
            await look(history, files);
          } catch (error) {
            throw new Error(`${String(error)}\n${what} (ANNALS_PROPS_SEED=${seed})`, { cause: error });
          }
        }
      }
    });

  test("was interesting", () => {
    const left = Object.keys(happened).filter((what) => what.startsWith("after "));
    expect(left.length, `kinds of last records: ${left.join(", ")}`).toBeGreaterThan(4);
    for (const what of ["refused", "whole", "shorter", "went on", "after batch"])
      expect(happened[what] ?? 0, what).toBeGreaterThan(3);
  });
});
