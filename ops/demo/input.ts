/** Where the demos get their commits from. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { LineReader } from "../import/lines.js";
import { type Commit, commitOf } from "./commits.js";

export interface WantedCommits {
  readonly input: string;
  /** Commits at most. */
  readonly limit: number;
}

/** The full history where it lies beside the repository, else the sample in it. */
export function defaultInput(): string {
  const root = rootDirectory();
  const candidates = [
    join(root, "../shared/data/etcd-commits.ndjson.gz"),
    join(root, "ops/demo/sample-commits.ndjson"),
  ];
  const found = candidates.find((path) => existsSync(path));
  if (found === undefined) throw new RangeError("no commits found beside the repository: give --input FILE");
  return found;
}

function rootDirectory(): string {
  const here = fileURLToPath(new URL(".", import.meta.url));
  const up = [join(here, "../.."), join(here, "../../..")];
  return up.find((path) => existsSync(join(path, "package.json"))) ?? join(here, "../..");
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
