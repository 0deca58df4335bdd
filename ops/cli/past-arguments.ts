/** What the commands that look back share: moments, places, and the past of a directory. */
import { InvalidArgumentError } from "commander";
import { type Moment, parseMoment, type Refusal } from "../../api/index.js";
import { type LogReader, realFileSystem } from "../../log/index.js";
import { loadConfig } from "../config/load.js";
import { LiveSettings } from "../config/rooms.js";
import { OfflinePast } from "../past/offline-past.js";
import { existingDataDirectory } from "./data-directory-argument.js";
import { CliFailure, configFailure, exitCodes } from "./failure.js";
import { Progress } from "./progress.js";
import { DEFAULT_SERVER, isServerAddress } from "./server-argument.js";

export function momentArgument(text: string): Moment {
  const moment = parseMoment(text);
  if (moment === undefined) {
    throw new InvalidArgumentError(
      "Expected an offset such as 1234, a time with its zone such as 2026-01-31T12:00:00Z, or ms since 1970 such as 1769860800000ms.",
    );
  }
  return moment;
}

export interface BackupPlace {
  readonly type: "backup";
  /** A directory or an address, as `annals backup` takes it. */
  readonly repository: string;
  /** Undefined: the newest that reaches the moment. */
  readonly backup: string | undefined;
  readonly moment: Moment | undefined;
}

export type Place =
  | { readonly type: "directory"; readonly path: string; readonly moment: Moment | undefined }
  | BackupPlace
  | { readonly type: "node"; readonly url: string };

/** `DIR`, `DIR@WHEN`, `REPOSITORY#BACKUP@WHEN` or an address. `@WHEN` alone is the directory or backup of the one before. */
export function placeArgument(text: string, before?: Place): Place {
  if (/^https?:\/\//.test(text)) {
    if (!isServerAddress(text)) throw usage(`${text} is not an address like ${DEFAULT_SERVER}`);
    return { type: "node", url: text };
  }
  const [, path = "", when] = /^(.*?)(?:@([^@/]*))?$/s.exec(text) ?? [];
  const moment = when === undefined ? undefined : parseMoment(when);
  if (when !== undefined && moment === undefined) {
    throw usage(`${text}: behind @ stands an offset or a time such as 2026-01-31T12:00:00Z`);
  }
  const [, repository, backup] = /^(.+)#(.*)$/s.exec(path) ?? [];
  if (repository !== undefined) return { type: "backup", repository, backup: backup || undefined, moment };
  if (path !== "") return { type: "directory", path, moment };
  if (before !== undefined && before.type !== "node") return { ...before, moment };
  throw usage(`${text} names no directory`);
}

export interface ProgressFlags {
  readonly progress?: boolean;
}

/** Limits and rules as a server started here would have them. @throws CliFailure, LogError. */
export async function openPast(
  argument: string,
  what: string,
  flags: ProgressFlags,
  signal?: AbortSignal,
): Promise<OfflinePast> {
  const dataDirectory = await existingDataDirectory(argument);
  const progress = progressOf(what, flags);
  return OfflinePast.open({
    files: realFileSystem,
    dataDirectory,
    rules: liveSettings().rules,
    now: Date.now,
    signal,
    onProgress: (done, total) => progress.update(done, total),
  });
}

export function liveSettings(): LiveSettings {
  const loaded = loadConfig({ environment: process.env, flags: {} });
  if (!loaded.ok) throw configFailure(loaded.mistakes);
  return new LiveSettings(loaded.config.values);
}

export function progressOf(what: string, flags: ProgressFlags): Progress {
  return new Progress({
    what,
    unit: "records",
    stream: process.stderr,
    stopwatch: () => performance.now(),
    always: flags.progress === true,
  });
}

/** A refusal as the API would answer it, in one line. */
export function refusedBy(
  place: string,
  { code, message, details = {} }: Pick<Refusal, "code" | "message" | "details">,
): CliFailure {
  const facts = Object.entries(details).map(([name, value]) => `${name} ${value}`);
  const shown = facts.length === 0 ? "" : ` (${facts.join(", ")})`;
  return new CliFailure(
    exitCodes.failed,
    `${place}: ${code}: ${message}${shown}; ask for another moment or input`,
  );
}

export function usage(message: string): CliFailure {
  return new CliFailure(exitCodes.usage, `${message}; see --help`);
}

export function rangeOf({ firstOffset, endOffset }: LogReader): string {
  return `offsets ${firstOffset} to ${endOffset}`;
}
