/**
 * `annals undo --only 'kv:user:*' --at MOMENT --into URL`: what differs between then and now is written back into a live server,
 * as new events. Only keys: a message that was taken, or an event that was appended, cannot be taken back.
 */
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { type Command, InvalidArgumentError } from "commander";
import { ImportError } from "../import/errors.js";
import { ServerDoor } from "../import/server-door.js";
import { UndoError } from "../undo/errors.js";
import { type Change, type UndoSummary, undo } from "../undo/undo-run.js";
import { CliFailure, exitCodes } from "./failure.js";
import { wholeNumber } from "./number-argument.js";
import { talk, writeJson, writeLine } from "./output.js";
import { DEFAULT_SERVER, serverArgument } from "./server-argument.js";

export interface UndoFlags {
  /** A pattern of keys, without `kv:`. */
  readonly only: string;
  readonly at: string;
  readonly into: string;
  readonly dryRun?: boolean;
  readonly patience: number;
  readonly json?: boolean;
}

/** Of the changes that `--json` lists; the counts are always exact. */
const LISTED_MAX = 10_000;
const PAGE_KEYS = 100;
export const PATIENCE_SECS = 60;

export function addUndo(program: Command): void {
  program
    .command("undo")
    .description("make keys of a live server again what they were, as new events")
    .requiredOption("--only <what>", "which: kv:<glob over keys>, e.g. 'kv:user:*'", parseOnly)
    .requiredOption("--at <moment>", "an offset, a time such as 2026-01-31T12:00:00Z, or 1769860800000ms")
    .option("--into <url>", "the server", serverArgument, DEFAULT_SERVER)
    .option("--dry-run", "say what would change; nothing is written")
    .option("--patience <seconds>", "how long the server may be away", wholeNumber(0, 86_400), PATIENCE_SECS)
    .option("--json", "the report as one JSON object")
    .action(runUndo);
}

/** Also what `annals restore --only` takes. */
export function parseOnly(text: string): string {
  const [, kind, pattern] = /^([a-z]+):(.+)$/s.exec(text) ?? [];
  if (kind === "kv" && pattern !== undefined) return pattern;
  if (kind === "queue" || kind === "stream") {
    throw new InvalidArgumentError(
      `A ${kind} cannot be undone: what was delivered or read cannot be taken back. Restore into a new directory and copy from there.`,
    );
  }
  throw new InvalidArgumentError("Write kv: and a glob over keys, e.g. 'kv:user:*'.");
}

export async function runUndo(flags: UndoFlags): Promise<void> {
  const listed: Change[] = [];
  const dryRun = flags.dryRun === true;
  const door = new ServerDoor({
    url: flags.into,
    patienceMs: flags.patience * 1000,
    sleep: (ms) => sleep(ms),
    now: () => performance.now(),
    onRetry: (why, pauseMs) => talk(`${flags.into}: ${why}; trying again in ${pauseMs} ms`),
  });
  try {
    const summary = await undo({
      door,
      pattern: flags.only,
      at: flags.at,
      dryRun,
      pageKeys: PAGE_KEYS,
      runId: `undo-${randomUUID()}`,
      onChanges(changes) {
        listed.push(...changes.slice(0, LISTED_MAX - listed.length));
        if (flags.json === true) return;
        for (const { change, key } of changes) writeLine(`${change} ${JSON.stringify(key)}`);
      },
      onRestart() {
        if (!dryRun) return;
        listed.length = 0;
        talk(`${flags.into}: let go of that state; beginning anew`);
      },
    });
    show(summary, listed, flags);
  } catch (error) {
    throw failureOf(error, flags.into);
  }
}

function show(
  { at, dryRun, counts, pages, lastOffset }: UndoSummary,
  listed: readonly Change[],
  flags: UndoFlags,
): void {
  const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
  if (flags.json === true) {
    writeJson({
      into: flags.into,
      only: `kv:${flags.only}`,
      at,
      dry_run: dryRun,
      counts,
      total,
      pages,
      last_offset: lastOffset,
      changes: listed,
      changes_omitted: total - listed.length,
    });
    return;
  }
  const parts = Object.entries(counts).flatMap(([change, count]) =>
    count > 0 ? [`${count} ${change}`] : [],
  );
  const what = parts.length === 0 ? "nothing differs" : parts.join(", ");
  const how = dryRun ? "would be changed" : "changed";
  const upTo = lastOffset > 0 ? `, up to offset ${lastOffset}` : "";
  writeLine(
    `${flags.into}: kv:${flags.only} as at offset ${at}: ${what}${total > 0 ? ` ${how}` : ""}${upTo}`,
  );
}

/** What the caller wrote wrongly, not the server's state. */
const USAGE: ReadonlySet<string> = new Set(["API_AT_INVALID", "KV_PATTERN_INVALID", "API_FIELD_INVALID"]);

function failureOf(error: unknown, into: string): unknown {
  if (error instanceof ImportError) {
    const advice =
      "what was written are whole pages; run it again, with the offset, when the server is there";
    return new CliFailure(exitCodes.failed, `${error.message}; ${advice}`, error);
  }
  if (!(error instanceof UndoError)) return error;
  const isUsage = error.refusal !== undefined && USAGE.has(error.refusal);
  const advice = isUsage ? "nothing was written; see --help" : "put it right and run it again: it goes on";
  return new CliFailure(
    isUsage ? exitCodes.usage : exitCodes.failed,
    `${into}: ${error.message}; ${advice}`,
    error,
  );
}
