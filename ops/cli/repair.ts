/** `annals repair DIR`: shows what giving up the damaged part of a log would cost, and with `--apply` does it. Offline. */
import type { Command } from "commander";
import {
  applyRepair,
  describeFinding,
  planRepair,
  type RepairPlan,
  realFileSystem,
} from "../../log/index.js";
import { noteOwing } from "../../replication/index.js";
import { existingDataDirectory } from "./data-directory-argument.js";
import { CliFailure, exitCodes } from "./failure.js";
import { counted, writeJson, writeLine } from "./output.js";
import { verifySnapshots } from "./verify-snapshots.js";

interface RepairFlags {
  readonly apply?: boolean;
  readonly json?: boolean;
}

export function addRepair(program: Command): void {
  program
    .command("repair")
    .description("say what a repair of a damaged log would drop; nothing is changed without --apply")
    .argument("<dir>", "data directory that no server is running on")
    .option("--apply", "do it; the original files are kept beside the log")
    .option("--json", "plan and result as one JSON object")
    .action(repair);
}

async function repair(argument: string, flags: RepairFlags): Promise<void> {
  const directory = await existingDataDirectory(argument);
  const { plan, keptIn, lost } =
    flags.apply === true
      ? await applyRepair({
          files: realFileSystem,
          dataDirectory: directory,
          now: Date.now,
          holder: `annals repair, pid ${process.pid}`,
          beforeCut: () => noteOwing(realFileSystem, directory, Date.now()),
        })
      : { plan: await planRepair(realFileSystem, directory), keptIn: undefined, lost: [] };
  const applied = keptIn !== undefined;
  const isLogWhole = applied || plan.problems.length === 0;
  // What a snapshot lost, or a log before it, no cut brings back: a start may be refused all the same.
  const { problems: beyondRepair } = await verifySnapshots(realFileSystem, directory, isLogWhole);
  if (flags.json === true)
    writeJson({ directory, applied, keptIn: keptIn ?? null, plan, lost, beyondRepair });
  else {
    if (!isLogWhole || applied || beyondRepair.length === 0)
      for (const line of describePlan(plan, applied ? "after" : "before")) writeLine(line);
    for (const finding of beyondRepair) writeLine(`damage  ${describeFinding(finding)}`);
    if (applied) writeLine(`the original files are in ${directory}/${keptIn}`);
    for (const { file, position, bytes } of lost)
      writeLine(
        `but ${bytes} bytes of ${file} at position ${position}: the disk does not give them back, zeros are in their place`,
      );
  }
  if (!isLogWhole) {
    throw new CliFailure(
      exitCodes.damaged,
      `${directory} is damaged and nothing was changed; restore a backup, or run annals repair ${directory} --apply to keep every record up to offset ${plan.lastKept}`,
    );
  }
  const [first] = beyondRepair;
  if (first === undefined) return;
  const changed = applied ? "the log was repaired" : "nothing was changed";
  throw new CliFailure(
    exitCodes.damaged,
    `${directory} is damaged in what no repair brings back, ${changed}: ${describeFinding(first)}`,
  );
}

/** `when`: before the repair, or after it. */
export function describePlan(plan: RepairPlan, when: "before" | "after"): string[] {
  if (plan.problems.length === 0) return ["nothing is wrong, nothing to do"];
  const { cut, dropped, lastKept, lastKnown } = plan;
  const one = when === "before" ? "would be" : "was";
  const lost = lastKnown - lastKept;
  const many = when === "before" ? "would be" : "were";
  return [
    ...plan.problems.map((problem) => `damage  ${describeFinding(problem)}`),
    ...(cut === undefined
      ? []
      : [`${cut.file} ${one} cut at position ${cut.position}: ${counted(cut.bytes, "byte")} dropped`]),
    ...dropped.map(({ file, bytes }) => `${file} ${one} dropped: ${counted(bytes, "byte")}`),
    ...plan.snapshots.map((file) => `${file} ${one} put aside: it is of later records`),
    `every record up to offset ${lastKept} ${one} kept`,
    // What is damaged cannot be counted: there may be more than is known.
    lost === 0
      ? `how many later records ${many} lost is not known`
      : `at least ${counted(lost, "later record")} ${lost === 1 ? one : many} lost`,
  ];
}
