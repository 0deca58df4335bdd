/** Data goes to stdout, talk to stderr. Colour only on a terminal that did not ask to be spared (NO_COLOR). */

import { leaveLine } from "./progress.js";

export function writeJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, jsonSafe)}\n`);
}

/** 64-bit numbers as text: JSON numbers beyond 2^53 would arrive changed. */
function jsonSafe(_name: string, value: unknown): unknown {
  return typeof value === "bigint" ? value.toString() : value;
}

export function writeLine(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** For a command that may go on for ever: it ends when nobody reads it any more. Node learns that of a pipe by the next write only. */
export function endUnread(): void {
  process.stdout.once("error", () => process.exit());
}

export function talk(text: string): void {
  leaveLine();
  process.stderr.write(`${text}\n`);
}

/** `1 file`, `2 files`; `many` where an s is not enough. */
export function counted(count: number, one: string, many = `${one}s`): string {
  return `${count} ${count === 1 ? one : many}`;
}

type Stream = { readonly isTTY?: boolean };

export function colour(stream: Stream, code: 31 | 32 | 33 | 2, text: string): string {
  const wanted = stream.isTTY === true && (process.env["NO_COLOR"] ?? "") === "";
  return wanted ? `\u001b[${code}m${text}\u001b[0m` : text;
}
