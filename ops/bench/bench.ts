/**
 * `npm run bench [-- --only NAME … --rounds N --seconds N --directory DIR --json FILE]`: measures every figure that this
 * release is to reach and prints it beside its goal. The method stands in `ops/docs/benchmarks.md`.
 */
import { writeFileSync } from "node:fs";
import { cpus, loadavg, release, tmpdir, totalmem } from "node:os";
import { parseArgs } from "node:util";
import { errorMessage } from "../../log/index.js";
import { wantedFromArguments, wholeNumberOf } from "../cli/tool-arguments.js";
import { BACKUP_ROWS } from "./backup-rows.js";
import { HISTORY_ROWS } from "./history-rows.js";
import { HTTP_ROWS } from "./http-rows.js";
import { LOG_ROWS } from "./log-rows.js";
import { MILLION_ROWS } from "./million-rows.js";
import { pace } from "./pace.js";
import { PAST_ROWS } from "./past-rows.js";
import { PeerAbsent } from "./peers.js";
import { Bench, fileSystemOf, versionOf } from "./processes.js";
import { QUEUE_ROWS } from "./queue-rows.js";
import { REPLICATION_ROWS } from "./replication-rows.js";
import { restoreRow } from "./restore-rows.js";
import type { Finding, Row } from "./row.js";
import { SNAPSHOT_ROWS } from "./snapshot-rows.js";
import { STREAM_ROWS } from "./stream-rows.js";

const ROWS: readonly Row[] = [
  ...HTTP_ROWS,
  ...LOG_ROWS,
  ...MILLION_ROWS,
  ...SNAPSHOT_ROWS,
  ...PAST_ROWS,
  ...HISTORY_ROWS,
  ...QUEUE_ROWS,
  ...STREAM_ROWS,
  ...BACKUP_ROWS,
  restoreRow,
  ...REPLICATION_ROWS,
];

const USAGE = `npm run bench [-- OPTION …]: measures this release's figures and prints each beside its goal

  --only NAME       this row alone; may be repeated
  --rounds N        measured rounds of each contestant (5)
  --seconds N       length of one run (3)
  --directory DIR   where data is written (${tmpdir()})
  --json FILE       the results also as JSON

rows: ${ROWS.map((row) => row.name).join(", ")}`;

interface Result extends Finding {
  readonly row: string;
  /** Of the machine when the row began: what others were doing. */
  readonly loadAverage: number;
  /** Of the processor, when the row began and when it had ended: see `pace.ts`. */
  readonly paces: readonly [number, number];
  /** The row could not run; `measured` says why. */
  readonly failed?: true;
}

interface Wanted {
  readonly rows: readonly Row[];
  readonly rounds: number;
  readonly seconds: number;
  readonly directory: string;
  readonly json: string | undefined;
}

function wantedFrom(args: readonly string[]): Wanted {
  const { values } = parseArgs({
    args: [...args],
    options: {
      only: { type: "string", multiple: true },
      rounds: { type: "string", default: "5" },
      seconds: { type: "string", default: "3" },
      directory: { type: "string", default: tmpdir() },
      json: { type: "string" },
    },
  });
  const { only } = values;
  const unknown = (only ?? []).filter((name) => !ROWS.some((row) => row.name === name));
  if (unknown.length > 0) {
    throw new RangeError(`no row ${unknown.join(", ")}; there are ${ROWS.map((row) => row.name).join(", ")}`);
  }
  const rows = ROWS.filter((row) => (only === undefined ? row.onlyByName !== true : only.includes(row.name)));
  const rounds = wholeNumberOf("--rounds", values.rounds, 1, Number.MAX_SAFE_INTEGER);
  const seconds = Number(values.seconds);
  if (!(seconds >= 1 && Number.isFinite(seconds)))
    throw new RangeError("--seconds: expected a number from 1");
  return { rows, rounds, seconds, directory: values.directory, json: values.json };
}

function environment(wanted: Wanted): Record<string, string | number> {
  return {
    node: process.version,
    kernel: release(),
    processors: `${cpus().length} × ${cpus()[0]?.model ?? "?"}`,
    memoryBytes: totalmem(),
    fileSystem: fileSystemOf(wanted.directory),
    redis: versionOf("redis-server", "--version") ?? "not installed",
    webdis: versionOf("dpkg-query", "-W", "webdis") || "not installed",
    etcd: versionOf("etcd", "--version") ?? "not installed",
    beanstalkd: versionOf("beanstalkd", "-v") ?? "not installed",
    nats: versionOf("nats-server", "--version") ?? "not installed",
    wrk: versionOf("wrk", "-v") ?? "not installed",
    rounds: wanted.rounds,
    secondsPerRun: wanted.seconds,
  };
}

async function measure(bench: Bench, row: Row): Promise<readonly Result[]> {
  const loadAverage = Math.round((loadavg()[0] ?? 0) * 100) / 100;
  const before = pace();
  const where = (): Pick<Result, "row" | "loadAverage" | "paces"> => ({
    row: row.name,
    loadAverage,
    paces: [before, pace()],
  });
  try {
    const findings = await row.run(bench);
    const there = where();
    return findings.map((finding) => ({ ...there, ...finding }));
  } catch (error) {
    // A row that cannot run says so, and the others still do; the exit code tells.
    const measured = errorMessage(error);
    const result = { ...where(), what: row.name, goal: "–", measured, reached: undefined, numbers: {} };
    return [error instanceof PeerAbsent ? result : { ...result, failed: true }];
  }
}

function mark({ failed, reached }: Result): string {
  if (failed === true) return "FAILED";
  if (reached === undefined) return "·";
  return reached ? "reached" : "MISSED";
}

function print(result: Result): void {
  console.log(
    `| ${result.what} | ${result.goal} | ${result.measured} | ${mark(result)} | ${result.loadAverage} | ${result.paces.map((each) => each.toFixed(2)).join(", ")} |`,
  );
}

async function main(): Promise<void> {
  const wanted = wantedFromArguments(USAGE, wantedFrom);
  if (wanted === undefined) return;
  const bench = new Bench(wanted.rounds, wanted.seconds, wanted.directory);
  const interrupted = (): void => void bench.close().finally(() => process.exit(130));
  process.once("SIGINT", interrupted).once("SIGTERM", interrupted);
  const conditions = environment(wanted);
  for (const [name, value] of Object.entries(conditions)) console.log(`${name}: ${value}`);
  console.log("\nmedian (min–max) of the rounds; × = median of the rounds' ratios\n");
  console.log("| what | goal | measured | | load | pace |\n|---|---|---|---|---|---|");
  const results: Result[] = [];
  try {
    for (const row of wanted.rows) {
      const found = await measure(bench, row);
      found.forEach(print);
      results.push(...found);
    }
  } finally {
    await bench.close();
  }
  if (wanted.json !== undefined) {
    writeFileSync(wanted.json, `${JSON.stringify({ conditions, results }, null, 2)}\n`);
  }
  if (results.some((result) => result.failed === true)) process.exitCode = 1;
}

main().catch((error: unknown) => {
  console.error(error);
  process.exitCode = 1;
});
