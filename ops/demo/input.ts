/** What the demos are asked for, both in the same words: commits, and a directory to work in. */
import { existsSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { wholeNumberOf } from "../cli/tool-arguments.js";
import { LineReader } from "../import/lines.js";
import { type Commit, commitOf } from "./commits.js";

export interface WantedCommits {
  readonly input: string;
  /** Commits at most. */
  readonly limit: number;
}

/** @throws RangeError when there is no such file. */
export function inputOf(named: string | undefined): string {
  if (named === undefined) return defaultInput();
  if (statSync(named, { throwIfNoEntry: false })?.isDirectory() === false) return named;
  throw new RangeError(`no file ${named}`);
}

export function limitOf(named: string | undefined): number {
  return named === undefined
    ? Number.POSITIVE_INFINITY
    : wholeNumberOf("--limit", named, 1, Number.MAX_SAFE_INTEGER);
}

/** One that is empty, or not there yet. @throws RangeError */
export function directoryOf(named: string | undefined): string | undefined {
  const found = named === undefined ? undefined : statSync(named, { throwIfNoEntry: false });
  if (named === undefined || found === undefined) return named;
  if (!found.isDirectory()) throw new RangeError(`${named} is no directory`);
  if (readdirSync(named).length > 0) throw new RangeError(`${named} is not empty`);
  return named;
}

/** The full history where it lies beside the repository, else the sample in it. */
function defaultInput(): string {
  const here = fileURLToPath(new URL(".", import.meta.url));
  // The built program lies one directory deeper than its source.
  for (const root of [join(here, "../.."), join(here, "../../..")]) {
    const sample = join(root, "ops/demo/sample-commits.ndjson");
    if (!existsSync(sample)) continue;
    const history = join(root, "../shared/data/etcd-commits.ndjson.gz");
    return existsSync(history) ? history : sample;
  }
  throw new RangeError("no commits found beside the repository: give --input FILE");
}

export async function* commitsOf({ input, limit }: WantedCommits): AsyncGenerator<Commit> {
  const reader = await LineReader.open(input);
  let count = 0;
  for await (const { number, text } of reader.lines()) {
    if (text === "") continue;
    yield commitOf(text, number);
    if (++count >= limit) return;
  }
}
