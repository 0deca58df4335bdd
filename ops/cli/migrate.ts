/**
 * `annals migrate --data-dir OLD --into NEW`: writes a data directory anew in the newest formats. OLD is only read. What does the work
 * is loaded when the command runs.
 */
import { randomBytes } from "node:crypto";
import { resolve } from "node:path";
import type { Command } from "commander";
import { LOCK_FILE, LockHeldError, readDirectoryFormat, realFileSystem } from "../../log/index.js";
import { LiveSettings } from "../config/rooms.js";
import type {
  MigrationOptions,
  MigrationPlan,
  MigrationReport,
  MigrationStep,
} from "../migration/migrate.js";
import { existingDataDirectory, separateDataDirectory } from "./data-directory-argument.js";
import { requireConfig } from "./effective-config.js";
import { CliFailure, exitCodes } from "./failure.js";
import { talk, writeJson, writeLine } from "./output.js";
import { amount, Progress } from "./progress.js";
import { liesIn } from "./real-place.js";
import { nonEmpty } from "./text-arguments.js";

interface MigrateFlags {
  readonly dataDir: string;
  readonly into?: string;
  readonly config?: string;
  readonly dryRun?: boolean;
  readonly json?: boolean;
  readonly progress?: boolean;
}

export function addMigrate(program: Command): void {
  program
    .command("migrate")
    .description("write a data directory of older formats anew in the newest; the old one stays as it is")
    .requiredOption("--data-dir <directory>", "the old one, that no server is running on", nonEmpty)
    .option("--into <directory>", "where to; new or empty", nonEmpty)
    .option("-c, --config <file>", "configuration of its server (default: config.yml here, if there)")
    .option("--dry-run", "say what is of an older format; nothing is written")
    .option("--json", "the report as one JSON object")
    .option("--progress", "show progress on stderr, terminal or not")
    .action(run);
}

async function run(flags: MigrateFlags): Promise<void> {
  const from = await existingDataDirectory(flags.dataDir);
  if (flags.into === undefined && flags.dryRun !== true)
    throw new CliFailure(exitCodes.usage, "name the new data directory with --into, or ask with --dry-run");
  if (flags.into !== undefined && (await liesIn(resolve(flags.into), from)))
    throw new CliFailure(
      exitCodes.usage,
      `--into ${resolve(flags.into)} lies in ${from}, which stays as it is; choose another`,
    );
  const into = flags.into === undefined ? undefined : await separateDataDirectory("--into", flags.into);
  const { values } = await requireConfig({ file: flags.config, flags: {} });
  const shown = new Shown(flags.progress === true);
  const { migrate, MigrationDiffers, planMigration } = await import("../migration/migrate.js");
  const options: MigrationOptions = {
    files: realFileSystem,
    from,
    into: into ?? "",
    rules: new LiveSettings(values).rules,
    now: Date.now,
    randomBytes,
    holder: `annals migrate, pid ${process.pid}`,
    onProgress: (step, done, total) => shown.update(step, done, total),
  };
  if (flags.dryRun === true || into === undefined) {
    const plan = await planMigration(options);
    shown.finish();
    if (flags.json === true) writeJson({ dryRun: true, from, isNeeded: plan.older.length > 0, ...plan });
    else await writePlan(from, plan);
    return;
  }
  const lock = await locked(from, options.holder);
  try {
    const report = await migrate(options).catch((error: unknown) => {
      throw error instanceof MigrationDiffers ? differs(error, from) : error;
    });
    shown.finish();
    await writeReport(from, into, report, flags.json === true);
  } finally {
    await lock.release();
  }
}

function differs(error: Error, from: string): CliFailure {
  const advice = `${from} is as it was: one of its snapshots may not be what its log says; ask \`annals verify\`, move the snapshots elsewhere, and migrate again`;
  return new CliFailure(exitCodes.damaged, `MIGRATION_DIFFERS: ${error.message}; ${advice}`, error);
}

/** What is appended meanwhile would not be in the new directory. */
async function locked(directory: string, holder: string) {
  // What a later release wrote stays as it is, the lock's file too.
  await readDirectoryFormat(realFileSystem, directory);
  try {
    return await realFileSystem.lock(`${directory}/${LOCK_FILE}`, holder);
  } catch (error) {
    if (!(error instanceof LockHeldError)) throw error;
    throw new CliFailure(
      exitCodes.locked,
      `${directory} is in use by ${error.holder}; stop it first, or ask with --dry-run`,
      error,
    );
  }
}

async function writePlan(from: string, plan: MigrationPlan): Promise<void> {
  const { older, firstOffset, lastOffset, segments, bytes } = plan;
  if (older.length === 0) {
    writeLine(`${from}: nothing is of an older format; there is nothing to migrate`);
    return;
  }
  writeLine(
    `${from}: would be written anew: offsets ${firstOffset} to ${lastOffset}, ${amount(bytes, "B")} in ${segments} segments; nothing was written`,
  );
  const { partText } = await import("../migration/older-parts.js");
  for (const part of older) writeLine(partText(part));
}

async function writeReport(
  from: string,
  into: string,
  report: MigrationReport | undefined,
  json: boolean,
): Promise<void> {
  for (const warning of report?.warnings ?? []) talk(`${from}: ${warning}`);
  if (json) {
    writeJson({ dryRun: false, from, into, isNeeded: report !== undefined, ...report });
    return;
  }
  if (report === undefined) {
    writeLine(`${from}: nothing is of an older format; nothing was written`);
    return;
  }
  const { partText } = await import("../migration/older-parts.js");
  const { firstOffset, lastOffset, older, epoch, lineageId, digests } = report;
  writeLine(`${into}: written anew from ${from}, which is as it was`);
  for (const part of older) writeLine(`upgraded: ${partText(part)}`);
  writeLine(`offsets ${firstOffset} to ${lastOffset}; the state has the digest ${digests.all}`);
  writeLine(`epoch ${epoch} begins with lineage ${lineageId.slice(0, 8)} at offset ${lastOffset + 1}`);
  writeLine(`start it with: annals serve --data-dir ${into}`);
}

/** One line of progress for each step. */
class Shown {
  readonly #always: boolean;
  #progress: Progress | undefined;
  #last: { readonly step: MigrationStep; readonly done: number; readonly total: number } | undefined;

  constructor(always: boolean) {
    this.#always = always;
  }

  update(step: MigrationStep, done: number, total: number): void {
    if (this.#last?.step !== step) {
      this.finish();
      this.#progress = new Progress({
        what: step,
        unit: "records",
        stream: process.stderr,
        stopwatch: () => performance.now(),
        always: this.#always,
      });
    }
    this.#last = { step, done, total };
    this.#progress?.update(done, total);
  }

  finish(): void {
    if (this.#last !== undefined) this.#progress?.finish(this.#last.done, this.#last.total);
  }
}
