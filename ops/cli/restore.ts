/**
 * `annals restore --from REPOSITORY`: a data directory as it was at an offset, a time, a restore point, or the end of a backup.
 * Into a new or empty directory only. What does the work is loaded when the command runs.
 */
import { randomBytes } from "node:crypto";
import { isAbsolute, resolve } from "node:path";
import type { Command } from "commander";
import { realFileSystem } from "../../log/index.js";
import type { Comparison } from "../backup/compare.js";
import type { RestoreReport } from "../backup/restore.js";
import type { RestorePlan, RestoreTarget } from "../backup/restore-plan.js";
import { existingDataDirectory, separateDataDirectory } from "./data-directory-argument.js";
import { CliFailure, exitCodes } from "./failure.js";
import { offsetArgument, wholeNumber } from "./number-argument.js";
import { counted, talk, writeJson, writeLine } from "./output.js";
import { amount, duration, Progress } from "./progress.js";
import { liesIn } from "./real-place.js";
import { serverArgument } from "./server-argument.js";
import { nonEmpty } from "./text-arguments.js";
import { TIME_FORMS, timeArgument } from "./time-argument.js";
import { PATIENCE_SECS, parseOnly, runUndo } from "./undo.js";

interface RestoreFlags {
  readonly from: string;
  readonly toOffset?: number;
  readonly toTime?: number;
  readonly toName?: string;
  readonly latest?: boolean;
  readonly backup?: string;
  readonly dataDir?: string;
  readonly dryRun?: boolean;
  readonly compare?: string;
  readonly compareDataDir?: string;
  readonly parallel: number;
  readonly json?: boolean;
  readonly progress?: boolean;
}

const PARALLEL = 4;
const PARALLEL_MAX = 32;

export function addRestore(program: Command): void {
  program
    .command("restore")
    .description("make a data directory as it was at a moment, from backups or an archive")
    .option("--from <repository>", "a directory or an address that `annals backup` takes")
    .option("--to-offset <offset>", "everything up to and with this offset", offsetArgument)
    .option("--to-time <time>", `everything up to and with this time, ${TIME_FORMS}`, timeArgument)
    .option("--to-name <name>", "everything up to this restore point", nonEmpty)
    .option("--latest", "everything that the newest backup holds")
    .option("--backup <id>", "from this backup only (default: the newest that reaches)", nonEmpty)
    .option("--data-dir <directory>", "where to; new or empty", nonEmpty)
    .option("--dry-run", "say what would be there; nothing is written")
    .option(
      "--compare <url>",
      "say what would be lost against this server, e.g. http://127.0.0.1:15500",
      serverArgument,
    )
    .option("--compare-data-dir <directory>", "say what would be lost against this data directory", nonEmpty)
    .option("--parallel <files>", "how many files come at once", wholeNumber(1, PARALLEL_MAX), PARALLEL)
    .option("--only <what>", "instead: only these keys, into a live server; as `annals undo`, see there")
    .option("--at <moment>", "with --only: as at this moment")
    .option("--into <url>", "with --only: the server", serverArgument)
    .option("--json", "the report as one JSON object")
    .option("--progress", "show progress on stderr, terminal or not")
    .action((flags: Partial<RestoreFlags> & OnlyFlags) => {
      const { from } = flags;
      if (flags.only !== undefined) return onlyInto(flags);
      if (from === undefined || flags.at !== undefined || flags.into !== undefined) {
        throw new CliFailure(
          exitCodes.usage,
          "say --from where, or --only what --at when --into which server; nothing was changed",
        );
      }
      return run({ parallel: PARALLEL, ...flags, from });
    });
}

interface OnlyFlags {
  readonly only?: string;
  readonly at?: string;
  readonly into?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** The same as `annals undo`: what it asks for, and nothing else. */
function onlyInto(flags: Partial<RestoreFlags> & OnlyFlags): Promise<void> {
  const { only, at, into, dryRun, json, parallel: _, ...others } = flags;
  const [other] = Object.keys(others);
  if (only === undefined || at === undefined || into === undefined || other !== undefined) {
    throw new CliFailure(
      exitCodes.usage,
      "--only needs --at and --into, and goes with --dry-run and --json alone; nothing was changed",
    );
  }
  return runUndo({
    only: parseOnly(only),
    at,
    into,
    patience: PATIENCE_SECS,
    ...(dryRun === undefined ? {} : { dryRun }),
    ...(json === undefined ? {} : { json }),
  });
}

function targetOf({ toOffset, toTime, toName, latest }: RestoreFlags): RestoreTarget {
  const targets: RestoreTarget[] = [];
  if (toOffset !== undefined) targets.push({ type: "offset", offset: toOffset });
  if (toTime !== undefined) targets.push({ type: "time", time: toTime });
  if (toName !== undefined) targets.push({ type: "name", name: toName });
  if (latest === true) targets.push({ type: "latest" });
  const [target] = targets;
  if (target !== undefined && targets.length === 1) return target;
  throw new CliFailure(
    exitCodes.usage,
    "say once up to where: --to-offset, --to-time, --to-name or --latest; nothing was changed",
  );
}

async function run(flags: RestoreFlags): Promise<void> {
  const target = targetOf(flags);
  const { dataDir, dryRun = false } = flags;
  if (dataDir === undefined && !dryRun)
    throw new CliFailure(
      exitCodes.usage,
      "name the new data directory with --data-dir, or ask with --dry-run",
    );
  const { openObjectStore } = await import("../backup/open-object-store.js");
  const { planRestore } = await import("../backup/restore-plan.js");
  const { findRestorePoint } = await import("../backup/find-point.js");
  const store = await openObjectStore(flags.from, process.env);
  if (dataDir !== undefined && isAbsolute(store.url) && (await liesIn(resolve(dataDir), store.url)))
    throw new CliFailure(
      exitCodes.usage,
      `--data-dir ${dataDir} lies in the repository ${store.url}; choose a place outside of it`,
    );
  const dataDirectory =
    dataDir === undefined ? undefined : await separateDataDirectory("--data-dir", dataDir);
  const plan = await planRestore(store, target, {
    findPoint: findRestorePoint,
    ...(flags.backup === undefined ? {} : { backup: flags.backup }),
  });
  const comparisons = await compareWithLive(plan, flags);
  if (dryRun || dataDirectory === undefined) {
    for (const warning of plan.warnings) talk(`${flags.from}: ${warning}`);
    const shown = shownPlan(plan, store.url);
    if (flags.json === true) writeJson({ dryRun: true, ...shown, comparisons, warnings: plan.warnings });
    else writePlan(plan, store.url, comparisons);
    return;
  }
  const progress = new Progress({
    what: "restore",
    unit: "B",
    stream: process.stderr,
    stopwatch: () => performance.now(),
    always: flags.progress === true,
  });
  const { restore } = await import("../backup/restore.js");
  const report = await restore(plan, {
    store,
    files: realFileSystem,
    dataDirectory,
    parallel: flags.parallel,
    now: Date.now,
    stopwatch: () => performance.now(),
    randomBytes,
    holder: `annals restore, pid ${process.pid}`,
    onProgress: (done, all) => progress.update(done, all),
  });
  progress.finish(report.bytes, report.bytes);
  for (const warning of report.warnings) talk(`${flags.from}: ${warning}`);
  if (flags.json === true) writeJson({ dryRun: false, ...report, comparisons });
  else writeReport(report, comparisons);
}

async function compareWithLive(plan: RestorePlan, flags: RestoreFlags): Promise<Comparison[]> {
  const { compare, compareWithDirectory, liveServer } = await import("../backup/compare.js");
  const comparisons: Comparison[] = [];
  if (flags.compare !== undefined) comparisons.push(await compare(plan, await liveServer(flags.compare)));
  if (flags.compareDataDir !== undefined) {
    const directory = await existingDataDirectory(flags.compareDataDir);
    comparisons.push(await compareWithDirectory(plan, realFileSystem, directory));
  }
  return comparisons;
}

function shownPlan(plan: RestorePlan, repository: string): Record<string, unknown> {
  const { manifest, last, segments, snapshots, bytes, backup } = plan;
  return {
    repository,
    backup,
    clusterId: manifest.clusterId,
    firstOffset: manifest.firstOffset,
    lastOffset: last,
    leftOut: manifest.lastOffset - last,
    snapshotOffset: snapshots.at(-1)?.offset ?? null,
    files: segments.length + snapshots.length,
    bytes,
  };
}

function writePlan(plan: RestorePlan, repository: string, comparisons: readonly Comparison[]): void {
  const { manifest, last, segments, snapshots, bytes, backup } = plan;
  const files = segments.length + snapshots.length;
  writeLine(`${repository}: would be restored from ${backup}; nothing was written`);
  writeLine(
    `offsets ${manifest.firstOffset} to ${last}, ${amount(bytes, "B")} in ${counted(files, "file")}; ${leftOutText(manifest.lastOffset - last)}`,
  );
  for (const each of comparisons) writeLine(comparisonText(each));
}

function writeReport(report: RestoreReport, comparisons: readonly Comparison[]): void {
  const { dataDirectory, backup, firstOffset, lastOffset, lastTimestamp, epoch, lineageId } = report;
  const time = new Date(lastTimestamp).toISOString();
  writeLine(`${dataDirectory}: restored from ${backup}`);
  writeLine(`offsets ${firstOffset} to ${lastOffset} (${time}); ${leftOutText(report.leftOut)}`);
  writeLine(`epoch ${epoch} begins with lineage ${lineageId.slice(0, 8)} at offset ${lastOffset + 1}`);
  writeLine(
    `${amount(report.bytes, "B")} in ${counted(report.files, "file")}, ${duration(report.durationMs / 1000)}; start it with: annals serve --data-dir ${dataDirectory}`,
  );
  for (const each of comparisons) writeLine(comparisonText(each));
}

const leftOutText = (records: number): string =>
  records === 0
    ? "all of the backup"
    : `${counted(records, "later record of the backup is", "later records of the backup are")} left out`;

function comparisonText(comparison: Comparison): string {
  const { endOffset, commonOffset, lostRecords, otherRecords, lostFrom, lostTo } = comparison;
  const times =
    lostFrom === null || lostTo === null
      ? ""
      : `, written from ${new Date(lostFrom).toISOString()} to ${new Date(lostTo).toISOString()}`;
  const events = Object.entries(comparison.lostEvents ?? {}).map(([type, count]) => `${count} ${type}`);
  const kinds = events.length === 0 ? "" : ` (${events.join(", ")})`;
  const other =
    otherRecords === 0
      ? ""
      : `; ${counted(otherRecords, "restored record is", "restored records are")} not in it`;
  return lostRecords === 0
    ? `${comparison.with} ends at ${endOffset}: nothing of it would be lost${other}`
    : `${comparison.with} ends at ${endOffset}: ${counted(lostRecords, "record")} behind offset ${commonOffset} would be lost${times}${kinds}${other}`;
}
