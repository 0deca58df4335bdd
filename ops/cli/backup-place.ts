/**
 * A state of a backup for a command that looks into it: restored into a directory of its own, every byte checked, and removed
 * when the command ends. It takes as much room as a restore, and nothing of a server.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import type { Moment } from "../../api/index.js";
import { realFileSystem } from "../../log/index.js";
import type { RestoreTarget } from "../backup/restore-plan.js";
import { talk } from "./output.js";
import type { BackupPlace, ProgressFlags } from "./past-arguments.js";
import { Progress } from "./progress.js";

const PARALLEL = 4;

export interface BackupState {
  readonly dataDirectory: string;
  /** The last record of the backup that is there; what is behind it, the restore wrote. */
  readonly last: number;
  /** Which backup, and of which repository. */
  readonly name: string;
}

/**
 * Restores what `place` names, below `workDirectory`; `directories` gets every directory that is to be removed, however this ends.
 * @throws BackupError, LogError as a restore does.
 */
export async function restoreAside(
  { repository, backup, moment }: BackupPlace,
  workDirectory: string,
  directories: string[],
  flags: ProgressFlags,
  signal: AbortSignal,
): Promise<BackupState> {
  const { openObjectStore } = await import("../backup/open-object-store.js");
  const { planRestore } = await import("../backup/restore-plan.js");
  const { findRestorePoint } = await import("../backup/find-point.js");
  const { restore } = await import("../backup/restore.js");
  const store = await openObjectStore(repository, process.env);
  const plan = await planRestore(store, targetOf(moment), {
    findPoint: findRestorePoint,
    ...(backup === undefined ? {} : { backup }),
  });
  const place = await mkdtemp(join(workDirectory, "annals-look-"));
  directories.push(place);
  const dataDirectory = join(place, "data");
  const stopwatch = (): number => performance.now();
  const progress = new Progress({
    what: plan.backup,
    unit: "B",
    stream: process.stderr,
    stopwatch,
    always: flags.progress === true,
  });
  const report = await restore(plan, {
    store,
    files: realFileSystem,
    dataDirectory,
    parallel: PARALLEL,
    now: Date.now,
    stopwatch,
    randomBytes,
    holder: `annals, pid ${process.pid}`,
    signal,
    onProgress: (done, all) => progress.update(done, all),
  });
  for (const warning of report.warnings) talk(`${repository}: ${warning}`);
  return { dataDirectory, last: report.lastOffset, name: `${repository}#${plan.backup}` };
}

export async function removeAside(directories: readonly string[]): Promise<void> {
  for (const directory of directories) await rm(directory, { recursive: true, force: true });
}

function targetOf(moment: Moment | undefined): RestoreTarget {
  return moment ?? { type: "latest" };
}
