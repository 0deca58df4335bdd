/** `annals dump DIR`: the records of a log as JSON lines, what happened decoded. Reads only; a server may be running. */
import { once } from "node:events";
import type { Command } from "commander";
import { type Offset, type ReadDirectoryOptions, readDirectory, realFileSystem } from "../../log/index.js";
import { existingDataDirectory } from "./data-directory-argument.js";
import { dumpLine } from "./dump-line.js";
import { CliFailure, exitCodes } from "./failure.js";
import { offsetArgument } from "./number-argument.js";
import { endUnread } from "./output.js";
import { TIME_FORMS, timeArgument } from "./time-argument.js";

interface DumpFlags {
  readonly from?: Offset;
  readonly to?: Offset;
  readonly fromTime?: number;
  readonly toTime?: number;
  readonly follow?: boolean;
  readonly json?: boolean;
}

export function addDump(program: Command): void {
  program
    .command("dump")
    .description("print the records of a log as JSON lines")
    .argument("<dir>", "data directory; a server may be running on it")
    .option("--from <offset>", "first offset", offsetArgument)
    .option("--to <offset>", "last offset, inclusive", offsetArgument)
    .option("--from-time <time>", `first time, ${TIME_FORMS}`, timeArgument)
    .option("--to-time <time>", "last time, inclusive", timeArgument)
    .option("--follow", "wait for more at the end, until Ctrl-C")
    .option("--json", "accepted for uniformity: the output always is JSON")
    .action(dump);
}

async function dump(argument: string, flags: DumpFlags): Promise<void> {
  requireOrder(flags.from, flags.to, "--from", "--to");
  requireOrder(flags.fromTime, flags.toTime, "--from-time", "--to-time");
  const directory = await existingDataDirectory(argument);
  const { json: _json, ...range } = flags;
  endUnread();
  const stop = new AbortController();
  if (flags.follow === true) {
    process.once("SIGINT", () => stop.abort());
    process.once("SIGTERM", () => stop.abort());
  }
  const options: ReadDirectoryOptions = { ...range, signal: stop.signal };
  for await (const batch of readDirectory(realFileSystem, directory, options)) {
    const text = batch.map((record) => `${JSON.stringify(dumpLine(record))}\n`).join("");
    if (!process.stdout.write(text)) await once(process.stdout, "drain");
  }
}

function requireOrder(first: number | undefined, last: number | undefined, from: string, to: string): void {
  if (first !== undefined && last !== undefined && first > last)
    throw new CliFailure(exitCodes.usage, `${from} ${first} lies after ${to} ${last}; swap them`);
}
