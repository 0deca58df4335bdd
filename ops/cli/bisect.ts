/** `annals bisect DIR --predicate EXPR`: the first record after which something is true of the state. */
import type { Command } from "commander";
import type { Moment } from "../../api/index.js";
import { offset as asOffset, BEFORE_FIRST } from "../../log/index.js";
import { firstOffsetWhere } from "../past/bisect.js";
import { type Predicate, parsePredicate } from "../past/predicate.js";
import { dumpLine } from "./dump-line.js";
import { CliFailure, exitCodes } from "./failure.js";
import { writeJson, writeLine } from "./output.js";
import {
  momentArgument,
  openPast,
  type ProgressFlags,
  progressOf,
  refusedBy,
  usage,
} from "./past-arguments.js";

interface BisectFlags extends ProgressFlags {
  readonly predicate: string;
  readonly from?: Moment;
  readonly to?: Moment;
  readonly json?: boolean;
}

export function addBisect(program: Command): void {
  program
    .command("bisect")
    .description(
      "find the first record after which something is true of the state; reads every record of the range",
    )
    .argument("<dir>", "data directory; a server may be running on it")
    .requiredOption(
      "--predicate <question>",
      "kv.exists:KEY, kv.equals:KEY=VALUE, queue.depth:NAME>N, stream.length:NAME>=N, count.keys>N, ...; ! in front turns it round",
    )
    .option("--from <when>", "the first moment to look at (default: the oldest record)", momentArgument)
    .option("--to <when>", "the last (default: the end)", momentArgument)
    .option("--json", "the finding as one JSON object")
    .option("--progress", "show progress on stderr, terminal or not")
    .action(bisect);
}

async function bisect(directory: string, flags: BisectFlags): Promise<void> {
  const predicate = predicateOf(flags.predicate);
  const past = await openPast(directory, "replay", flags);
  const { log } = past;
  const first = flags.from === undefined ? undefined : await past.point(flags.from);
  const last = await past.point(flags.to);
  for (const point of [first, last]) if (point?.type === "refused") throw refusedBy(directory, point);
  if (first?.type === "refused" || last.type === "refused") return;
  const from = first?.at ?? log.firstOffset;
  if (from > last.at) throw usage(`--from is offset ${from}, --to is ${last.at}; swap them`);
  const fold = await past.foldAt(from === 1 ? BEFORE_FIRST : asOffset(from - 1));
  const progress = progressOf("bisect", flags);
  const { record, fromTheStart } = await firstOffsetWhere(predicate, log, fold, last.at, (done) =>
    progress.update(done, last.at),
  );
  progress.finish(fold.offset, last.at);
  if (record === undefined) {
    if (flags.json === true) writeJson({ found: false, predicate: predicate.text, from, to: last.at });
    throw new CliFailure(
      exitCodes.failed,
      `${directory}: ${predicate.text} is true after no record from offset ${from} to ${last.at}; widen the range or ask otherwise`,
    );
  }
  const line = dumpLine(record);
  if (flags.json === true) {
    writeJson({
      found: true,
      predicate: predicate.text,
      offset: record.offset,
      from_the_start: fromTheStart,
      record: line,
    });
    return;
  }
  const start = fromTheStart ? ", the first record looked at: it may have been true before" : "";
  writeLine(`offset ${record.offset}  ${new Date(record.timestamp).toISOString()}${start}`);
  writeLine(JSON.stringify(line));
}

function predicateOf(text: string): Predicate {
  try {
    return parsePredicate(text);
  } catch (error) {
    if (error instanceof RangeError) throw usage(`--predicate: ${error.message}`);
    throw error;
  }
}
