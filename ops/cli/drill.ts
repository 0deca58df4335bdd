/** `annals drill --from REPOSITORY`: restores the newest backup somewhere aside, serves it, checks it, and removes it again. */
import { readFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import type { Command } from "commander";
import { errnoOf } from "../../log/index.js";
import type { DrillCheck, DrillReport } from "../backup/drill.js";
import { loadConfig } from "../config/load.js";
import { LiveSettings } from "../config/rooms.js";
import { CliFailure, configFailure, exitCodes } from "./failure.js";
import { interruption } from "./interruption.js";
import { wholeNumber } from "./number-argument.js";
import { colour, counted, writeJson, writeLine } from "./output.js";
import { amount, duration, Progress } from "./progress.js";
import { fileToReplace, nonEmpty } from "./text-arguments.js";

interface DrillFlags {
  readonly from: string;
  readonly backup?: string;
  readonly workDir: string;
  readonly metricsFile?: string;
  readonly parallel: number;
  readonly patience: number;
  readonly json?: boolean;
  readonly progress?: boolean;
}

export function addDrill(program: Command): void {
  program
    .command("drill")
    .description("prove that the newest backup can be restored and served; exit code 0 yes, 3 no")
    .requiredOption("--from <repository>", "a directory or an address that `annals backup` takes")
    .option("--backup <id>", "this backup (default: the newest)", nonEmpty)
    .option("--work-dir <directory>", "where there is room for all of it, for a while", nonEmpty, tmpdir())
    .option("--metrics-file <path>", "write the outcome as a Prometheus text file", fileToReplace)
    .option("--parallel <files>", "how many files come at once", wholeNumber(1, 32), 4)
    .option("--patience <seconds>", "how long the server may take to be ready", wholeNumber(1, 86_400), 3_600)
    .option("--json", "the report as one JSON object")
    .option("--progress", "show progress on stderr, terminal or not")
    .action(run);
}

async function run(flags: DrillFlags): Promise<void> {
  const { openObjectStore } = await import("../backup/open-object-store.js");
  const { drill } = await import("../backup/drill.js");
  const stopwatch = (): number => performance.now();
  const progress = new Progress({
    what: "drill",
    unit: "B",
    stream: process.stderr,
    stopwatch,
    always: flags.progress === true,
  });
  let report: DrillReport | undefined;
  try {
    report = await drill({
      store: await openObjectStore(flags.from, process.env),
      workDirectory: resolve(flags.workDir),
      parallel: flags.parallel,
      rules: defaultRules(),
      now: Date.now,
      stopwatch,
      readyTimeoutMs: flags.patience * 1000,
      signal: interruption(),
      onProgress: (done, all) => progress.update(done, all),
      ...(flags.backup === undefined ? {} : { backup: flags.backup }),
    });
  } finally {
    if (flags.metricsFile !== undefined) await writeMetrics(flags.metricsFile, report);
  }
  progress.finish(report.bytes, report.bytes);
  if (flags.json === true) writeJson(report);
  else for (const line of linesOf(report)) writeLine(line);
  const failed = report.checks.filter(({ ok }) => !ok);
  const [first] = failed;
  if (first === undefined) return;
  const more = failed.length > 1 ? ` (and ${failed.length - 1} more)` : "";
  throw new CliFailure(
    exitCodes.damaged,
    `${report.backup} of ${report.repository} did not come back as it was: ${checkText(first)}${more}; run annals backup verify --all, and make a new backup`,
  );
}

/** Those of a server with default settings: the drill's own. */
function defaultRules(): LiveSettings["rules"] {
  const loaded = loadConfig({ environment: {}, flags: {} });
  if (!loaded.ok) throw configFailure(loaded.mistakes);
  return new LiveSettings(loaded.config.values).rules;
}

async function writeMetrics(path: string, report: DrillReport | undefined): Promise<void> {
  const { drillMetrics } = await import("../backup/drill-metrics.js");
  const { writeMetricsFile } = await import("../backup/metrics-file.js");
  const before = await readFile(path, "utf8").catch((error: unknown) => {
    if (errnoOf(error) === "ENOENT") return "";
    throw error;
  });
  await writeMetricsFile(path, drillMetrics(report, before, Date.now()));
}

function linesOf(report: DrillReport): string[] {
  const { lastOffset, lastTimestamp, checks, bytes } = report;
  const failed = checks.filter(({ ok }) => !ok);
  const verdict =
    failed.length === 0
      ? colour(process.stdout, 32, `${counted(checks.length, "check")} passed`)
      : colour(process.stdout, 31, `${failed.length} of ${counted(checks.length, "check")} failed`);
  return [
    `${report.repository}: ${report.backup} restored up to offset ${lastOffset} (${new Date(lastTimestamp).toISOString()}), ${amount(bytes, "B")}`,
    `ready after ${secondsText(report.rtoMs)} (restore ${secondsText(report.restoreMs)}, start ${secondsText(report.readyMs)}); the backup is ${duration(report.ageMs / 1000)} old, its last record ${duration(report.rpoMs / 1000)}`,
    report.recordedDigestsAt === null
      ? "the backup recorded no digests of a state: what was served was held against a fold of the restored log alone"
      : `what was served was held against a fold of the restored log, and at offset ${report.recordedDigestsAt} against the digests that the backup recorded`,
    ...failed.map((check) => `${colour(process.stdout, 31, "failed")}  ${checkText(check)}`),
    verdict,
  ];
}

const secondsText = (ms: number): string => `${(ms / 1000).toFixed(1)} s`;

const checkText = ({ name, expected, found }: DrillCheck): string =>
  `${name}: expected ${expected}, found ${found}`;
