/** Rows about backups: what clients feel of one, and what an incremental one sends. */
import { spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { type EventLog, realFileSystem } from "../../log/index.js";
import { type BackupReport, makeBackup } from "../backup/backup.js";
import { DirectoryStore } from "../backup/directory-store.js";
import { verifyBackups } from "../backup/verify.js";
import { type Annals, startAnnals } from "./annals.js";
import { openBenchLog } from "./log-rows.js";
import type { Bench } from "./processes.js";
import type { Finding, Row } from "./row.js";
import { ratios, shown, spreadOf } from "./statistics.js";
import { load } from "./wrk.js";

const PROGRAM = fileURLToPath(new URL("../cli/annals.js", import.meta.url));
const [READERS, WRITERS] = [4, 16];
/** A backup of the log that the row makes takes about so long. */
const FELT_SECONDS_MIN = 8;
const ms = (value: number): string => value.toFixed(2);
const share = (value: number): string => `${(value * 100).toFixed(2)} %`;

interface Felt {
  readonly readMs: number;
  readonly writeMs: number;
}

async function feel(bench: Bench, annals: Annals): Promise<Felt> {
  const seconds = Math.max(bench.seconds, FELT_SECONDS_MIN);
  const [reads, writes] = await Promise.all([
    load(bench, annals.port, "annalsGet", READERS, seconds),
    load(bench, annals.port, "annalsSet", WRITERS, seconds),
  ]);
  return { readMs: reads.p99Ms, writeMs: writes.p99Ms };
}

/** Backups one after the other, each whole and copied to the disk of the data, until `during` has ended. */
async function backUpMeanwhile<T>(
  bench: Bench,
  annals: Annals,
  during: Promise<T>,
): Promise<{ felt: T; backups: number }> {
  let isOver = false;
  const ended = during.finally(() => {
    isOver = true;
  });
  let backups = 0;
  while (!isOver) {
    const target = bench.newDirectory("repository");
    const args = [PROGRAM, "backup", target, "--data-dir", annals.dataDirectory, "--copy"];
    const child = spawn(process.execPath, args, { stdio: "ignore" });
    bench.onClose(() => child.kill("SIGKILL"));
    void ended.catch(() => undefined).then(() => child.kill("SIGKILL"));
    const [code] = await once(child, "exit");
    if (code !== 0 && !isOver) throw new Error(`the backup ended with ${String(code)}`);
    backups += 1;
  }
  return { felt: await ended, backups };
}

const clientsBesideBackup: Row = {
  name: "backup-p99",
  run: async (bench) => {
    const annals = await startAnnals(bench, { fsyncMode: "always" });
    await load(bench, annals.port, "annalsMset", 4, 8);
    await feel(bench, annals);
    const [without, beside]: [Felt[], Felt[]] = [[], []];
    let backups = 0;
    for (let round = 0; round < bench.rounds; round++) {
      without.push(await feel(bench, annals));
      const found = await backUpMeanwhile(bench, annals, feel(bench, annals));
      beside.push(found.felt);
      backups += found.backups;
    }
    await annals.stop();
    const finding = (what: string, of: (felt: Felt) => number): Finding => {
      const ratio = ratios(beside.map(of), without.map(of));
      const [p99, alone] = [spreadOf(beside.map(of)), spreadOf(without.map(of))];
      return {
        what: `p99 of a ${what} while backups are made (${READERS} readers, ${WRITERS} writers)`,
        goal: "≤ 2 × without",
        measured: `${shown(p99, ms)} ms, ${shown(ratio, ms)} × without (${shown(alone, ms)} ms)`,
        reached: ratio.median <= 2,
        numbers: { p99Ms: p99, aloneP99Ms: alone, ratio, backups },
      };
    };
    return [finding("GET", ({ readMs }) => readMs), finding("durable SET", ({ writeMs }) => writeMs)];
  },
};

const RECORDS = 2_000_000;

async function append(log: EventLog, records: number): Promise<void> {
  const body = randomBytes(140);
  for (let i = 0; i < records; i += 5000) {
    const timestamp = Date.now();
    for (let each = 0; each < 5000; each++) log.append({ kind: 0x7000, version: 1, timestamp, body });
    await log.whenCommitted(log.endOffset);
  }
}

const incremental: Row = {
  name: "backup-incremental",
  run: async (bench) => {
    const dataDirectory = bench.newDirectory("backup-source");
    const directory = bench.newDirectory("backup-repository");
    const store = new DirectoryStore({ files: realFileSystem, directory, randomBytes });
    const backup = (): Promise<BackupReport> =>
      makeBackup({
        files: realFileSystem,
        dataDirectory,
        store,
        now: Date.now,
        stopwatch: () => performance.now(),
        holder: "annals bench",
        tool: "annals bench",
        copy: true,
      });
    const { log } = await openBenchLog(dataDirectory, "never");
    await append(log, RECORDS);
    const full = await backup();
    await append(log, RECORDS / 100);
    const second = await backup();
    await log.close();
    const started = performance.now();
    const { findings, bytesRead } = await verifyBackups(store, { which: "newest" });
    const verifyMs = performance.now() - started;
    if (findings.length > 0) throw new Error(`the backup is damaged: ${findings[0]?.name}`);
    const part = second.sentBytes / full.bytes;
    const rate = (bytes: number, tookMs: number): string =>
      `${(bytes / 2 ** 20 / (tookMs / 1000)).toFixed(0)} MiB/s`;
    return [
      {
        what: "incremental backup after 1 % change",
        goal: "≤ 5 % of the full one's bytes",
        measured: `${share(part)} in ${second.durationMs} ms; full: ${rate(full.bytes, full.durationMs)}, verify: ${rate(bytesRead, verifyMs)}`,
        reached: part <= 0.05,
        numbers: {
          fullBytes: full.bytes,
          fullMs: full.durationMs,
          sentBytes: second.sentBytes,
          incrementalMs: second.durationMs,
          verifyMs,
        },
      },
    ];
  },
};

export const BACKUP_ROWS: readonly Row[] = [clientsBesideBackup, incremental];
