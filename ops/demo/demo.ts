/**
 * `npm run demo [-- --input FILE --kills N --seed N --directory DIR --json]`: sends a real commit history through a server
 * that is killed on the way, and shows what came of it.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { wantedFromArguments } from "../cli/tool-arguments.js";
import { LineReader } from "../import/lines.js";
import { type Commit, commitOf } from "./commits.js";
import { type KillMoment, runJob } from "./job.js";
import { commandLinePath, type ServerChild, startServer } from "./server-child.js";
import { StoreClient } from "./store-client.js";
import { type DemoSummary, filesOf, logBytesOf, mostChanged, textOf } from "./summary.js";

const USAGE = `npm run demo [-- OPTION …]: sends a commit history through a server that is killed on the way

  --input FILE      commits, one JSON object a line, also .gz (the history beside the repository, else its sample)
  --kills N         how often the server is killed, up to 1000 (3)
  --seed N          draws the moments of the kills (another each time)
  --directory DIR   where the data goes and stays; empty or absent (a temporary directory, removed at the end)
  --json            the summary as JSON`;

interface Wanted {
  readonly input: string;
  readonly kills: number;
  readonly seed: number;
  /** Where the data goes; undefined = a temporary directory, removed at the end. */
  readonly directory: string | undefined;
  readonly json: boolean;
}

function wantedFrom(args: readonly string[]): Wanted {
  const { values } = parseArgs({
    args: [...args],
    options: {
      input: { type: "string" },
      kills: { type: "string", default: "3" },
      seed: { type: "string", default: String(Date.now() % 1_000_000) },
      directory: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const [kills, seed] = [Number(values.kills), Number(values.seed)];
  if (!Number.isInteger(kills) || kills < 0 || kills > 1000)
    throw new RangeError("--kills is a whole number up to 1000");
  if (!Number.isInteger(seed) || seed < 0) throw new RangeError("--seed is a whole number");
  const { directory, json } = values;
  if (values.input !== undefined && !existsSync(values.input))
    throw new RangeError(`no file ${values.input}`);
  if (directory !== undefined && existsSync(directory) && readdirSync(directory).length > 0) {
    throw new RangeError(`${directory} is not empty`);
  }
  return { input: values.input ?? defaultInput(), kills, seed, directory, json };
}

/** The full history where it lies beside the repository, else the sample in it. */
function defaultInput(): string {
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

async function* commitsOf(path: string): AsyncGenerator<Commit> {
  const reader = await LineReader.open(path);
  for await (const { number, text } of reader.lines()) if (text !== "") yield commitOf(text, number);
}

async function countOf(commits: AsyncIterable<Commit>): Promise<number> {
  let count = 0;
  for await (const _ of commits) count++;
  return count;
}

/** Different moments, none at the very end, drawn from the seed (mulberry32), so that a run can be repeated. */
function momentsOf(kills: number, total: number, seed: number): KillMoment[] {
  let state = seed >>> 0;
  const draw = (below: number): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % below;
  };
  const moments = new Map<number, KillMoment>();
  while (moments.size < Math.min(kills, Math.max(0, total - 1))) {
    const commits = 1 + draw(total - 1);
    moments.set(commits, { commits, delayMs: draw(5) });
  }
  return [...moments.values()].sort((a, b) => a.commits - b.commits);
}

async function stopped(server: ServerChild): Promise<void> {
  server.kill("SIGTERM");
  const how = await server.ended;
  if (how !== "0") throw new Error(`the server ended with ${how} instead of 0`);
}

/** Every byte of the log, by the tool that operators use. */
function verify(dataDirectory: string): void {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    [commandLinePath(), "verify", dataDirectory],
    { encoding: "utf8" },
  );
  if (status !== 0) throw new Error(`annals verify ended with ${status}:\n${stdout}${stderr}`);
}

async function run(wanted: Wanted, dataDirectory: string, say: (text: string) => void): Promise<DemoSummary> {
  const { input, kills, seed } = wanted;
  const total = await countOf(commitsOf(input));
  const moments = momentsOf(kills, total, seed);
  const killsAfter = moments.map(({ commits }) => commits);
  say(`${total} commits from ${input}; the server will be killed after ${killsAfter.join(", ")} of them`);
  const running = new Set<ServerChild>();
  const start = async (): Promise<ServerChild> => {
    const server = await startServer({ dataDirectory });
    running.add(server);
    say(`serving on ${server.url} after ${server.readyMs.toFixed(0)} ms`);
    return server;
  };
  try {
    const started = performance.now();
    const job = await runJob({ start, commits: commitsOf(input), kills: moments });
    const seconds = (performance.now() - started) / 1000;
    const client = new StoreClient(job.server.url);
    const files = await filesOf(client);
    const { endOffset, epoch } = await client.logEnd();
    if (endOffset !== job.commits + epoch) {
      throw new Error(`${endOffset} records for ${job.commits} commits and ${epoch} epochs: lost or doubled`);
    }
    await stopped(job.server);
    verify(dataDirectory);
    say("annals verify: clean");
    const { commits, fileChanges, restarts, unanswered, unansweredStored } = job;
    return {
      ...{ input, commits, fileChanges, distinctFiles: files.length, mostChanged: mostChanged(files, 10) },
      ...{ logBytes: logBytesOf(dataDirectory), endOffset, restarts, unanswered, unansweredStored, seconds },
      ...{ eventsPerSecond: (commits + fileChanges) / seconds, seed, killsAfter, dataDirectory },
    };
  } finally {
    for (const server of running) server.kill("SIGKILL");
  }
}

async function main(): Promise<void> {
  const wanted = wantedFromArguments(USAGE, wantedFrom);
  if (wanted === undefined) return;
  const directory = wanted.directory ?? mkdtempSync(join(tmpdir(), "annals-demo-"));
  try {
    const summary = await run(wanted, directory, (text) => console.error(text));
    console.log(wanted.json ? JSON.stringify(summary) : `\n${textOf(summary)}`);
  } finally {
    if (wanted.directory === undefined) rmSync(directory, { recursive: true, force: true });
  }
}

await main().catch((error: unknown) => {
  // An input that holds something else than commits is the caller's mistake too.
  console.error(error instanceof RangeError ? error.message : error);
  process.exitCode = error instanceof RangeError ? 2 : 1;
});
