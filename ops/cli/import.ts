/** `annals import FILE`: stores the lines of a file of JSON objects over HTTP; a second run continues where the first ended. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { entriesAsWritten, entriesByTemplate } from "../import/entry.js";
import { ImportError } from "../import/errors.js";
import { type ImportSummary, importLines } from "../import/import-run.js";
import { LineReader } from "../import/lines.js";
import { ServerDoor } from "../import/server-door.js";
import { CliFailure, exitCodes } from "./failure.js";
import { wholeNumber } from "./number-argument.js";
import { counted, talk, writeJson, writeLine } from "./output.js";
import { Progress } from "./progress.js";
import { DEFAULT_SERVER, serverArgument } from "./server-argument.js";
import { nonEmpty } from "./text-arguments.js";

interface ImportFlags {
  readonly url: string;
  readonly key?: string;
  readonly batch: number;
  readonly patience: number;
  readonly id?: string;
  readonly json?: boolean;
}

export function addImport(program: Command): void {
  program
    .command("import")
    .description("store the lines of a file of JSON objects (.ndjson or .ndjson.gz); a second run continues")
    .argument("<file>", "one JSON object a line: {key, value[, ttl]}, or anything with --key")
    .option("--url <url>", "server to store them in", serverArgument, DEFAULT_SERVER)
    .option("--key <template>", "store each line as a value under this key, e.g. 'commit:{sha}'")
    .option("--batch <lines>", "lines in one atomic request", wholeNumber(1, 5000), 500)
    .option("--patience <seconds>", "how long the server may be away", wholeNumber(0, 86_400), 60)
    .option("--id <name>", "name of this import (default: from the file's first line and --key)", nonEmpty)
    .option("--json", "the summary as one JSON object")
    .action(run);
}

async function run(file: string, flags: ImportFlags): Promise<void> {
  const stopwatch = (): number => performance.now();
  const started = stopwatch();
  try {
    const entryOf = flags.key === undefined ? entriesAsWritten(file) : entriesByTemplate(file, flags.key);
    const reader = await LineReader.open(file);
    const door = new ServerDoor({
      url: flags.url,
      patienceMs: flags.patience * 1000,
      sleep: (ms) => sleep(ms),
      now: stopwatch,
      onRetry: (why, pauseMs) => talk(`${flags.url}: ${why}; trying again in ${pauseMs} ms`),
    });
    const progress = new Progress({ what: file, unit: "lines", stream: process.stderr, stopwatch });
    const summary = await importLines({
      reader,
      entryOf,
      door,
      batchLines: flags.batch,
      recipe: flags.key ?? "",
      ...(flags.id !== undefined && { id: flags.id }),
      // How many lines there are is known only at the end; the share of bytes read tells about how many.
      onProgress: ({ lines, bytesRead, bytesTotal }) =>
        progress.update(lines, Math.round((lines * bytesTotal) / Math.max(1, bytesRead))),
    });
    progress.finish(summary.lines, summary.lines);
    show(file, summary, (stopwatch() - started) / 1000, flags.json === true);
  } catch (error) {
    throw failureOf(error);
  }
}

function show(file: string, summary: ImportSummary, seconds: number, json: boolean): void {
  if (json) {
    writeJson({ file, ...summary, seconds: Math.round(seconds * 1000) / 1000 });
    return;
  }
  const before =
    summary.linesBefore > 0 ? `, ${counted(summary.linesBefore, "line was", "lines were")} there before` : "";
  const upTo = summary.lastOffset > 0 ? `, up to offset ${summary.lastOffset}` : "";
  writeLine(
    `${file}: ${counted(summary.entriesStored, "entry", "entries")} stored in ${seconds.toFixed(1)} s${before}${upTo}`,
  );
}

function failureOf(error: unknown): unknown {
  if (error instanceof RangeError) return new CliFailure(exitCodes.usage, error.message, error);
  if (!(error instanceof ImportError)) return error;
  return new CliFailure(exitCodes.failed, `${error.code}: ${error.message}; ${ADVICE[error.code]}`, error);
}

const ADVICE: Readonly<Record<ImportError["code"], string>> = {
  IMPORT_LINE_INVALID: "the lines before it are stored; put it right and run the import again",
  IMPORT_FILE_UNREADABLE: "check the file",
  IMPORT_FILE_CHANGED: "nothing was stored",
  IMPORT_REFUSED: "the lines before it are stored; put it right and run the import again",
  IMPORT_SERVER_UNAVAILABLE: "run the import again when the server is there: it continues",
  IMPORT_ANSWER_UNKNOWN: "check that --url is an Annals server",
};
