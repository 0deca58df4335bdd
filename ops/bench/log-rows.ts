/** Rows without HTTP: the log in this process, and the raw files below it. */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { join } from "node:path";
import {
  type EventLog,
  type FsyncMode,
  type OpenedLog,
  offset,
  openLog,
  realFileSystem,
} from "../../log/index.js";
import type { Bench } from "./processes.js";
import { type Finding, interleave, type Row } from "./row.js";
import { percentile, ratios, shown, spreadOf } from "./statistics.js";

export function openBenchLog(dataDirectory: string, fsyncMode: FsyncMode): Promise<OpenedLog> {
  return openLog({
    dataDirectory,
    files: realFileSystem,
    now: Date.now,
    stopwatch: () => performance.now(),
    randomBytes,
    holder: `annals bench, pid ${process.pid}`,
    fsyncMode,
    fsyncIntervalMs: 1000,
    segmentBytes: 64 << 20,
    segmentAgeMs: 0,
    reserveBytes: 128 << 20,
    recordBytesMax: 32 << 20,
    pendingBytesMax: 64 << 20,
  });
}

const OUTSTANDING = 1000;
/** About what one SET of a 20 B key and a 100 B value takes. */
const BODY_BYTES = 140;

/** Keeps 1,000 appends outstanding and counts those committed. */
async function appendFor(log: EventLog, seconds: number): Promise<number> {
  const body = randomBytes(BODY_BYTES);
  const started = performance.now();
  const first = log.committedOffset;
  const end = started + seconds * 1000;
  while (performance.now() < end) {
    const timestamp = Date.now();
    while (log.endOffset - log.committedOffset < OUTSTANDING) {
      log.append({ kind: 0x7000, version: 1, timestamp, body });
    }
    await log.whenCommitted(offset(log.committedOffset + 1));
  }
  const elapsed = (performance.now() - started) / 1000;
  const committed = log.committedOffset - first;
  await log.whenCommitted(log.endOffset);
  return committed / elapsed;
}

const durableAppend: Row = {
  name: "append",
  run: async (bench) => {
    const { log } = await openBenchLog(bench.newDirectory("append"), "always");
    const measure = (warmUp: boolean): Promise<number> => appendFor(log, warmUp ? 1 : bench.seconds);
    const rate = spreadOf((await interleave(bench.rounds, [{ name: "log", measure }])).get("log") ?? []);
    await log.close();
    return [
      {
        what: "in-process durable append, 1,000 outstanding, 140 B",
        goal: "≥ 350 k events/s",
        measured: `${shown(rate)} events/s`,
        reached: rate.median >= 350_000,
        numbers: { eventsPerSecond: rate },
      },
    ];
  },
};

interface Candidate {
  readonly name: string;
  readonly zeroFilled: boolean;
  open(path: string): Promise<FileHandle>;
  append(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void>;
}

const SPACE_BYTES = 64 << 20;

async function writeAll(handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  const { bytesWritten } = await handle.write(bytes, 0, bytes.length, position);
  if (bytesWritten !== bytes.length)
    throw new Error(`only ${bytesWritten} of ${bytes.length} bytes were written`);
}

const plain = (path: string): Promise<FileHandle> => open(path, constants.O_RDWR | constants.O_CREAT);
const dsync = (path: string): Promise<FileHandle> =>
  open(path, constants.O_RDWR | constants.O_CREAT | constants.O_DSYNC);
const writeThenSync = async (handle: FileHandle, bytes: Uint8Array, position: number): Promise<void> => {
  await writeAll(handle, bytes, position);
  await handle.datasync();
};

const CANDIDATES: readonly Candidate[] = [
  { name: "write + fdatasync", zeroFilled: false, open: plain, append: writeThenSync },
  { name: "O_DSYNC", zeroFilled: false, open: dsync, append: writeAll },
  { name: "write + fdatasync, zero-filled", zeroFilled: true, open: plain, append: writeThenSync },
  { name: "O_DSYNC, zero-filled", zeroFilled: true, open: dsync, append: writeAll },
];

/** One after the other, as the commit queue does: a batch goes to the disk when the one before is durable. */
async function commitFor(
  bench: Bench,
  candidate: Candidate,
  batchBytes: number,
  seconds: number,
): Promise<{ rate: number; p50Us: number; p99Us: number }> {
  const path = join(bench.newDirectory("commit-path"), "segment");
  if (candidate.zeroFilled) {
    const filling = await plain(path);
    const zeros = new Uint8Array(1 << 20);
    for (let at = 0; at < SPACE_BYTES; at += zeros.length) await writeAll(filling, zeros, at);
    await filling.sync();
    await filling.close();
  }
  const handle = await candidate.open(path);
  const bytes = randomBytes(batchBytes);
  const took: number[] = [];
  const started = performance.now();
  let position = 0;
  while (performance.now() - started < seconds * 1000 && position + batchBytes <= SPACE_BYTES) {
    const before = performance.now();
    await candidate.append(handle, bytes, position);
    took.push(performance.now() - before);
    position += batchBytes;
  }
  const elapsed = (performance.now() - started) / 1000;
  await handle.close();
  const sorted = took.map((each) => each * 1000).sort((a, b) => a - b);
  return { rate: took.length / elapsed, p50Us: percentile(sorted, 0.5), p99Us: percentile(sorted, 0.99) };
}

/** Batches of 16, 64 and 400 small records, not multiples of a page: a log ends where its last record ends. */
const BATCH_BYTES = [2_700, 10_900, 65_000];

const commitPath: Row = {
  name: "commit-path",
  onlyByName: true,
  run: async (bench) => {
    const findings: Finding[] = [];
    for (const batchBytes of BATCH_BYTES) {
      const p50 = new Map<string, number[]>();
      const p99 = new Map<string, number[]>();
      const rates = await interleave(
        bench.rounds,
        CANDIDATES.map((candidate) => ({
          name: candidate.name,
          measure: async (warmUp) => {
            const result = await commitFor(bench, candidate, batchBytes, warmUp ? 0.3 : bench.seconds);
            if (!warmUp) {
              p50.set(candidate.name, [...(p50.get(candidate.name) ?? []), result.p50Us]);
              p99.set(candidate.name, [...(p99.get(candidate.name) ?? []), result.p99Us]);
            }
            return result.rate;
          },
        })),
      );
      const base = rates.get("write + fdatasync") ?? [];
      for (const { name } of CANDIDATES) {
        const values = rates.get(name) ?? [];
        const [rate, ratio] = [spreadOf(values), ratios(values, base)];
        const [middle, high] = [spreadOf(p50.get(name) ?? []), spreadOf(p99.get(name) ?? [])];
        findings.push({
          what: `commit of ${batchBytes} B: ${name}`,
          goal: "–",
          measured: `${shown(rate)} commits/s, ${ratio.median.toFixed(2)} ×, p50 ${middle.median.toFixed(0)} µs, p99 ${high.median.toFixed(0)} µs`,
          reached: undefined,
          numbers: { commitsPerSecond: rate, ratio, p50Us: middle, p99Us: high },
        });
      }
    }
    return findings;
  },
};

export const LOG_ROWS: readonly Row[] = [durableAppend, commitPath];
