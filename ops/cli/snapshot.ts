/** `annals snapshot DIR`: makes a snapshot of a data directory that no server is running on. A running one makes its own. */
import type { Command } from "commander";
import { LOCK_FILE, LockHeldError, readDirectoryFormat, realFileSystem } from "../../log/index.js";
import { LiveSettings } from "../config/rooms.js";
import type { JobProgress, SnapshotMade } from "../state/jobs.js";
import { makeSnapshot } from "../state/perform.js";
import { existingDataDirectory } from "./data-directory-argument.js";
import { requireConfig } from "./effective-config.js";
import { CliFailure, exitCodes } from "./failure.js";
import { counted, talk, writeJson, writeLine } from "./output.js";
import { amount, duration, Progress } from "./progress.js";

interface SnapshotFlags {
  readonly config?: string;
  readonly json?: boolean;
  readonly progress?: boolean;
}

export function addSnapshot(program: Command): void {
  program
    .command("snapshot")
    .description("make a snapshot of a data directory, so that the next start need not replay its log")
    .argument("<dir>", "data directory that no server is running on")
    .option("-c, --config <file>", "configuration of its server (default: config.yml here, if there)")
    .option("--json", "the result as one JSON object")
    .option("--progress", "show progress on stderr, terminal or not")
    .action(snapshot);
}

async function snapshot(argument: string, flags: SnapshotFlags): Promise<void> {
  const directory = await existingDataDirectory(argument);
  const { values } = await requireConfig({ file: flags.config, flags: {} });
  const lock = await locked(directory);
  try {
    const shown = new Shown(flags.progress === true);
    const made = await makeSnapshot(
      { dataDirectory: directory, reserveBytes: values["log.reserve_bytes"] },
      new LiveSettings(values).rules,
      {
        files: realFileSystem,
        now: Date.now,
        stopwatch: () => performance.now(),
        onProgress: (progress) => shown.update(progress),
      },
    );
    shown.finish();
    report(directory, made, flags);
  } finally {
    await lock.release();
  }
}

/** A server that starts meanwhile would remove the unfinished file, and the other way round. */
async function locked(directory: string) {
  // What a later release wrote stays as it is, the lock's file too.
  await readDirectoryFormat(realFileSystem, directory);
  try {
    return await realFileSystem.lock(`${directory}/${LOCK_FILE}`, `annals snapshot, pid ${process.pid}`);
  } catch (error) {
    if (!(error instanceof LockHeldError)) throw error;
    throw new CliFailure(
      exitCodes.locked,
      `${directory} is in use by ${error.holder}; a running server makes its own: POST /snapshot`,
      error,
    );
  }
}

function report(directory: string, made: SnapshotMade, flags: SnapshotFlags): void {
  const { facts, from, replayedRecords, foldMs, writeMs, warnings } = made;
  const seconds = (foldMs + writeMs) / 1000;
  for (const { code, message } of warnings) talk(`${code}: ${message}`);
  if (flags.json === true) {
    writeJson({ directory, ...facts, from: from ?? null, replayedRecords, seconds, warnings });
    return;
  }
  const { name, offset, bytes, counts } = facts;
  const begun = from === undefined ? "the beginning of the log" : `the snapshot of offset ${from}`;
  writeLine(`${directory}: snapshot of offset ${offset}, ${amount(bytes, "B")}, in ${duration(seconds)}`);
  writeLine(`file ${name}; ${counted(replayedRecords, "record")} replayed behind ${begun}`);
  writeLine(
    `${counted(counts.keys, "key")}, ${counted(counts.queues, "queue")} with ${counted(counts.messages, "message")}, ${counted(counts.streams, "stream")}`,
  );
}

/** One line of progress for each of its steps. */
class Shown {
  readonly #always: boolean;
  #progress: Progress | undefined;
  #last: JobProgress | undefined;

  constructor(always: boolean) {
    this.#always = always;
  }

  update(progress: JobProgress): void {
    if (this.#last?.step !== progress.step) {
      this.finish();
      this.#progress = new Progress({
        what: { snapshot: "reading the snapshot before", log: "replaying", writing: "writing" }[
          progress.step
        ],
        unit: progress.step === "log" ? "records" : "B",
        stream: process.stderr,
        stopwatch: () => performance.now(),
        always: this.#always,
      });
    }
    this.#last = progress;
    this.#progress?.update(progress.done, progress.total);
  }

  finish(): void {
    if (this.#last !== undefined) this.#progress?.finish(this.#last.done, this.#last.total);
  }
}
