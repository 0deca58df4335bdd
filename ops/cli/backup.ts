/**
 * `annals backup TARGET` makes a backup of a data directory, live or not; `backup list`, `verify` and `prune` look after a
 * repository. What does the work is loaded when a command runs: a start of the server does without.
 */
import { constants, setPriority } from "node:os";
import { isAbsolute } from "node:path";
import type { Command } from "commander";
import { IDENTITY_FILE, realFileSystem } from "../../log/index.js";
import type { BackupReport } from "../backup/backup.js";
import type { ListedBackup } from "../backup/list.js";
import type { ObjectStore } from "../backup/object-store.js";
import type { Patience } from "../backup/patient-lock.js";
import type { PruneReport } from "../backup/prune.js";
import type { VerifyBackupReport } from "../backup/verify.js";
import { existingDataDirectory } from "./data-directory-argument.js";
import { requireConfig } from "./effective-config.js";
import { CliFailure, exitCodes } from "./failure.js";
import { wholeNumber } from "./number-argument.js";
import { colour, counted, talk, writeJson, writeLine } from "./output.js";
import { amount, duration, Progress } from "./progress.js";
import { liesIn } from "./real-place.js";
import { fileToReplace } from "./text-arguments.js";

interface MakeFlags {
  readonly config?: string;
  readonly dataDir?: string;
  readonly copy?: boolean;
  readonly fast?: boolean;
  readonly wait: number;
  readonly metricsFile?: string;
  readonly json?: boolean;
  readonly progress?: boolean;
}

interface VerifyFlags {
  readonly all?: boolean;
  readonly json?: boolean;
  readonly progress?: boolean;
}

interface PruneFlags {
  readonly keep?: number;
  readonly keepDays?: number;
  readonly graceHours: number;
  readonly wait: number;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

const TARGET =
  "repository: a directory, a file:// or an s3://bucket/prefix address; a directory called like a subcommand as ./NAME";

/** So many backups, days, hours or seconds. */
const NUMBER_MAX = 999_999;

const WAIT = [
  "--wait <seconds>",
  "so long for a repository that somebody else works on",
  wholeNumber(0, NUMBER_MAX),
  30,
] as const;

export function addBackup(program: Command): void {
  const backup = program
    .command("backup")
    .description("back up a data directory, whether or not a server is running on it; or see to backups")
    .enablePositionalOptions()
    .argument("<target>", TARGET)
    .option("--data-dir <directory>", "what to back up (default: as the configuration says, ./data)")
    .option("-c, --config <file>", "configuration file (default: config.yml here, if there)")
    .option("--copy", "copy also what could be hard-linked on one file system")
    .option("--fast", "take no breaks: quicker, and who uses the disk or a server on it feels it")
    .option(...WAIT)
    .option("--metrics-file <path>", "after a success, write it as a Prometheus text file", fileToReplace)
    .option("--json", "the report as one JSON object")
    .option("--progress", "show progress on stderr, terminal or not")
    .action(make);
  backup
    .command("list")
    .description("the backups of a repository, oldest first")
    .argument("<target>", TARGET)
    .option("--json", "as one JSON object")
    .action(list);
  backup
    .command("verify")
    .description("check a backup without restoring it; exit code 0 whole, 3 damaged")
    .argument("<target>", TARGET)
    .argument("[id]", "which backup, or archive (default: the newest, and the archive)")
    .option("--all", "every file of every backup, and those that none names")
    .option("--json", "the report as one JSON object")
    .option("--progress", "show progress on stderr, terminal or not")
    .action(verify);
  backup
    .command("prune")
    .description("remove old backups, and files that no backup names")
    .argument("<target>", TARGET)
    .option("--keep <number>", "the newest so many stay", wholeNumber(1, NUMBER_MAX))
    .option("--keep-days <days>", "those that are younger stay, too", wholeNumber(1, NUMBER_MAX))
    .option(
      "--grace-hours <hours>",
      "files that no backup ever named stay so long",
      wholeNumber(0, NUMBER_MAX),
      24,
    )
    .option(...WAIT)
    .option("--dry-run", "say what would go; nothing is changed")
    .option("--json", "the report as one JSON object")
    .action(prune);
}

const stopwatch = (): number => performance.now();

async function open(target: string): Promise<ObjectStore> {
  const { openObjectStore } = await import("../backup/open-object-store.js");
  return openObjectStore(target, process.env);
}

function patienceOf(flags: { readonly wait: number }): Patience {
  const onWait = ({ message }: Error): void => talk(`${message}; waiting for ${flags.wait} s at most`);
  return { waitMs: flags.wait * 1000, stopwatch, onWait };
}

function progressOf(what: string, flags: { readonly progress?: boolean }): Progress {
  return new Progress({
    what,
    unit: "B",
    stream: process.stderr,
    stopwatch,
    always: flags.progress === true,
  });
}

async function make(target: string, flags: MakeFlags): Promise<void> {
  // A server on this machine comes first: a backup has time.
  setPriority(constants.priority.PRIORITY_LOW);
  const config = await requireConfig({
    file: flags.config,
    flags: flags.dataDir === undefined ? {} : { "data-dir": flags.dataDir },
  });
  const dataDirectory = await existingDataDirectory(config.values.data_dir);
  const store = await open(target);
  if (isAbsolute(store.url)) await refuseUnfit(store.url, dataDirectory);
  const progress = progressOf("backup", flags);
  const { makeBackup } = await import("../backup/backup.js");
  const { BoundedBreaks } = await import("../backup/breaks.js");
  const report = await makeBackup({
    files: realFileSystem,
    dataDirectory,
    store,
    now: Date.now,
    stopwatch,
    holder: `annals backup, pid ${process.pid}`,
    patience: patienceOf(flags),
    tool: "annals backup",
    copy: flags.copy === true,
    // As long as the work took: half of the time the disk and a processor are somebody else's.
    ...(flags.fast === true ? {} : { breaks: new BoundedBreaks(Number.POSITIVE_INFINITY, stopwatch) }),
    onProgress: (done, all) => progress.update(done, all),
  });
  progress.finish(report.sentBytes, report.sentBytes);
  for (const warning of report.warnings) talk(`${target}: ${warning}`);
  if (flags.json === true) writeJson({ dataDirectory, ...report });
  else writeReport(report);
  // The backup is made, whatever becomes of telling monitoring.
  if (flags.metricsFile !== undefined) await writeMetrics(flags.metricsFile, report);
}

/** Below the data directory a repository would be lost together with what it is to save; another one has a lock and snapshots of its own. */
async function refuseUnfit(path: string, dataDirectory: string): Promise<void> {
  const isInside = await liesIn(path, dataDirectory);
  if (!isInside && !(await realFileSystem.exists(`${path}/${IDENTITY_FILE}`))) return;
  const what = isInside ? "lies in the data directory" : "is the data directory of a server";
  throw new CliFailure(exitCodes.usage, `${path} ${what}; choose a place outside of it`);
}

async function writeMetrics(path: string, report: BackupReport): Promise<void> {
  const { backupMetrics, writeMetricsFile } = await import("../backup/metrics-file.js");
  await writeMetricsFile(path, backupMetrics(report));
}

function writeReport(report: BackupReport): void {
  const { firstOffset, lastOffset, lastTimestamp, snapshotOffset, bytes, sentBytes, linkedBytes } = report;
  const linked = linkedBytes > 0 ? `, ${amount(linkedBytes, "B")} of it as links` : "";
  const snapshot = snapshotOffset === null ? "no snapshot" : `snapshot at ${snapshotOffset}`;
  writeLine(`${report.repository}: backup ${report.id}`);
  writeLine(
    `offsets ${firstOffset} to ${lastOffset} (${new Date(lastTimestamp).toISOString()}), ${snapshot}`,
  );
  writeLine(
    `${amount(bytes, "B")} in ${counted(report.files, "file")}; ${amount(sentBytes, "B")} in ${report.sentFiles} ${report.sentFiles === 1 ? "was" : "were"} new${linked}; ${duration(report.durationMs / 1000)}`,
  );
}

async function list(target: string, flags: { readonly json?: boolean }): Promise<void> {
  const store = await open(target);
  const { describeArchive, describeBackups } = await import("../backup/list.js");
  const [backups, archive] = [await describeBackups(store), await describeArchive(store)];
  if (flags.json === true) return writeJson({ repository: store.url, backups, archive: archive ?? null });
  if (backups.length === 0) writeLine(`${store.url}: no backup`);
  for (const backup of backups) writeLine(listLine(backup));
  if (archive !== undefined) writeLine(listLine(archive));
}

function listLine({ id, contents, problem, isOfOtherRelease }: ListedBackup): string {
  const word = isOfOtherRelease === true ? "of another release" : "damaged";
  if (contents === undefined) return `${id}  ${colour(process.stdout, 31, word)}  ${problem ?? ""}`;
  const { firstOffset, lastOffset, lastTimestamp, snapshotOffset, bytes, files } = contents;
  const snapshot = snapshotOffset === null ? "no snapshot" : `snapshot at ${snapshotOffset}`;
  const time = new Date(lastTimestamp).toISOString();
  return `${id}  offsets ${firstOffset} to ${lastOffset} (${time})  ${amount(bytes, "B")} in ${counted(files, "file")}  ${snapshot}`;
}

async function verify(target: string, id: string | undefined, flags: VerifyFlags): Promise<void> {
  if (id !== undefined && flags.all === true)
    throw new CliFailure(exitCodes.usage, "name one backup, or --all; not both");
  const store = await open(target);
  const progress = progressOf("verify", flags);
  const { verifyBackups } = await import("../backup/verify.js");
  const report = await verifyBackups(store, {
    which: flags.all === true ? "all" : id === undefined ? "newest" : { id },
    onProgress: (done, all) => progress.update(done, all),
  });
  progress.finish(report.bytesRead, report.bytesRead);
  await writeVerification(store.url, report, flags.json === true);
  const { describeBackupFinding } = await import("../backup/finding.js");
  const [first] = report.findings;
  if (first === undefined) return;
  const more = report.findings.length > 1 ? ` (and ${report.findings.length - 1} more)` : "";
  const isDamaged = report.findings.some(({ code }) => code !== "version");
  const what = isDamaged ? "is damaged" : "holds what this release does not read";
  throw new CliFailure(exitCodes.damaged, `${store.url} ${what}: ${describeBackupFinding(first)}${more}`);
}

async function writeVerification(url: string, report: VerifyBackupReport, json: boolean): Promise<void> {
  const { findings, notes, bytesRead } = report;
  if (json) return writeJson({ whole: findings.length === 0, repository: url, ...report });
  const { describeBackupFinding } = await import("../backup/finding.js");
  writeLine(`${url}: ${checkedText(report)} checked, ${amount(bytesRead, "B")} read`);
  for (const each of findings) {
    const word = each.code === "version" ? "other release" : "damage";
    writeLine(`${colour(process.stdout, 31, word)}  ${describeBackupFinding(each)}`);
  }
  for (const each of notes) writeLine(`${colour(process.stdout, 2, "note")}  ${describeBackupFinding(each)}`);
  if (findings.length === 0) writeLine(colour(process.stdout, 32, "whole"));
}

/** The archive is one thing to whoever reads this, in however many manifests. */
function checkedText(report: VerifyBackupReport): string {
  const { backups, verified, archiveVerified } = report;
  const checked = `${verified.length - archiveVerified} of ${counted(backups, "backup")}`;
  if (archiveVerified === 0) return checked;
  return backups === 0 ? "the archive" : `${checked} and the archive`;
}

async function prune(target: string, flags: PruneFlags): Promise<void> {
  const store = await open(target);
  const { pruneBackups } = await import("../backup/prune.js");
  const report = await pruneBackups(store, {
    keep: flags.keep,
    keepDays: flags.keepDays,
    graceMs: flags.graceHours * 60 * 60 * 1000,
    dryRun: flags.dryRun === true,
    now: Date.now,
    holder: `annals backup prune, pid ${process.pid}`,
    patience: patienceOf(flags),
  });
  if (flags.json === true) writeJson({ repository: store.url, ...report });
  else for (const line of pruneLines(report)) writeLine(line);
}

function pruneLines(report: PruneReport): string[] {
  const verb = report.dryRun ? "would be removed" : "removed";
  return [
    ...report.removedBackups.map((id) => `backup ${id} ${verb}`),
    `${counted(report.removedObjects.length, "file")} with ${amount(report.removedBytes, "B")} ${verb}; ${counted(report.keptBackups.length, "backup stays", "backups stay")}`,
  ];
}
