/** `annals verify DIR`: looks at every byte of a data directory, whether or not a server is writing to it. */
import type { Command } from "commander";
import {
  describeFinding,
  type Finding,
  realFileSystem,
  type VerifyReport,
  verifyDirectory,
} from "../../log/index.js";
import { existingDataDirectory } from "./data-directory-argument.js";
import { CliFailure, exitCodes } from "./failure.js";
import { colour, counted, writeJson, writeLine } from "./output.js";
import { amount, Progress } from "./progress.js";
import { type SnapshotFinding, type SnapshotsReport, verifySnapshots } from "./verify-snapshots.js";

type AnyFinding = Finding | SnapshotFinding;

interface VerifyFlags {
  readonly json?: boolean;
  readonly progress?: boolean;
}

export function addVerify(program: Command): void {
  program
    .command("verify")
    .description("check every byte of a data directory, snapshots too; exit code 0 clean, 3 damaged")
    .argument("<dir>", "data directory; a server may be running on it")
    .option("--json", "the report as one JSON object")
    .option("--progress", "show progress on stderr, terminal or not")
    .action(verify);
}

async function verify(argument: string, flags: VerifyFlags): Promise<void> {
  const directory = await existingDataDirectory(argument);
  const progress = new Progress({
    what: "verify",
    unit: "B",
    stream: process.stderr,
    stopwatch: () => performance.now(),
    always: flags.progress === true,
  });
  const report = await verifyDirectory(realFileSystem, directory, {
    // Always as if a server wrote: whatever looks unfinished is looked at again before it is called damage.
    live: true,
    onProgress: (done, all) => progress.update(done, all),
  });
  const snapshots = await verifySnapshots(realFileSystem, directory, report.problems.length === 0);
  progress.finish(report.bytes, report.bytes);
  const problems = [...report.problems, ...snapshots.problems];
  const notes = [...report.notes, ...snapshots.notes];
  if (flags.json === true) {
    const clean = problems.length === 0;
    writeJson({ clean, directory, ...report, problems, notes, snapshots: snapshots.snapshots });
  } else writeReport(directory, report, snapshots, problems, notes);
  const [first] = problems;
  if (first === undefined) return;
  const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : "";
  throw new CliFailure(exitCodes.damaged, `${directory} is damaged: ${describeFinding(first)}${more}`);
}

function writeReport(
  directory: string,
  { segments, records, firstOffset, endOffset, bytes }: VerifyReport,
  { snapshots, bytes: snapshotBytes }: SnapshotsReport,
  problems: readonly AnyFinding[],
  notes: readonly AnyFinding[],
): void {
  const range =
    records === 0 ? "no records" : `${counted(records, "record")}, offsets ${firstOffset} to ${endOffset}`;
  writeLine(`${directory}: ${counted(segments, "segment")}, ${range}, ${amount(bytes, "B")}`);
  const newest = snapshots.at(-1);
  if (newest !== undefined) {
    const count = snapshots.length === 1 ? "1 whole snapshot" : `${snapshots.length} whole snapshots`;
    writeLine(`${count}, the newest of offset ${newest.offset}, ${amount(snapshotBytes, "B")}`);
  }
  for (const problem of problems)
    writeLine(`${colour(process.stdout, 31, "damage")}  ${describeFinding(problem)}`);
  for (const note of notes) writeLine(`${colour(process.stdout, 2, "note")}  ${describeFinding(note)}`);
  if (problems.length === 0) writeLine(colour(process.stdout, 32, "clean"));
}
