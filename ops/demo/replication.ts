/**
 * `npm run demo:replication [-- --input FILE --limit N --faults N --seed N --directory DIR --json]`: sends a commit history through a
 * primary while its replicas are killed, stopped and cut off, promotes one of them mid-way, takes the old primary back, and shows that all
 * three have the same state in the same bytes, and everything that was answered.
 */
import { existsSync, readdirSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { partsOf, ROOM } from "./commit-batch.js";
import { type Commit, commitKey, RunningTotals } from "./commits.js";
import { DemoSet } from "./demo-set.js";
import { disagreements, type Fact, factsText } from "./facts.js";
import { commitsOf, defaultInput, type WantedCommits } from "./input.js";
import { QUEUE } from "./jobs.js";
import { type Draw, drawFrom } from "./moments.js";
import { readStream } from "./proof.js";
import { runDemo } from "./run-demo.js";
import { compareSegments } from "./same-files.js";
import { StoreClient } from "./store-client.js";

const USAGE = `npm run demo:replication [-- OPTION …]: sends a commit history through a primary whose replicas are killed, stopped and cut off

  --input FILE      commits, one JSON object a line, also .gz (the history beside the repository, else its sample)
  --limit N         only the first N commits (all)
  --seconds N       a short history is written over at least so long, so that there is time for faults (10)
  --seed N          draws the faults and their moments (another each time)
  --directory DIR   where the data goes and stays; empty or absent (a temporary directory, removed at the end)
  --json            the summary as JSON`;

interface Wanted extends WantedCommits {
  readonly seed: number;
  readonly seconds: number;
  readonly directory: string | undefined;
  readonly json: boolean;
}

function wantedFrom(args: readonly string[]): Wanted {
  const { values } = parseArgs({
    args: [...args],
    options: {
      input: { type: "string" },
      limit: { type: "string" },
      seconds: { type: "string", default: "10" },
      seed: { type: "string", default: String(Date.now() % 1_000_000) },
      directory: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const limit = values.limit === undefined ? Number.POSITIVE_INFINITY : Number(values.limit);
  if (values.limit !== undefined && (!Number.isInteger(limit) || limit < 1))
    throw new RangeError("--limit is a whole number from 1");
  const seconds = Number(values.seconds);
  if (!(seconds >= 1 && seconds <= 3600)) throw new RangeError("--seconds is 1 to 3600");
  const seed = Number(values.seed);
  if (!Number.isInteger(seed) || seed < 0) throw new RangeError("--seed is a whole number");
  const { directory, json } = values;
  if (values.input !== undefined && !existsSync(values.input))
    throw new RangeError(`no file ${values.input}`);
  if (directory !== undefined && existsSync(directory) && readdirSync(directory).length > 0)
    throw new RangeError(`${directory} is not empty`);
  return { input: values.input ?? defaultInput(), limit, seed, seconds, directory, json };
}

interface Summary {
  readonly input: string;
  readonly seed: number;
  readonly commits: number;
  readonly endOffset: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly promotionMs: number;
  /** Requests that had to be made again. */
  readonly repeated: number;
  readonly digests: Readonly<Record<string, string>>;
  readonly facts: readonly Fact[];
  readonly seconds: number;
}

const BATCH_COMMITS_MAX = 8;
const REPEAT_MS = 30;
const GIVE_UP_MS = 60_000;

/** Writes a commit history, batch after batch; each is sent again, with its key, until it is answered as confirmed. */
class Writer {
  readonly #set: DemoSet;
  readonly #totals = new RunningTotals();
  /** Shas of commits whose batch was answered. */
  readonly answered: string[] = [];
  repeated = 0;

  constructor(set: DemoSet) {
    this.#set = set;
  }

  async write(commits: readonly Commit[]): Promise<void> {
    const [first] = commits;
    if (first === undefined) return;
    const parts = commits.flatMap((commit, at) =>
      partsOf(commit, this.#totals.pairsOf(commit), this.answered.length + at),
    );
    await this.ask((client) => client.batchOnce(first.sha, parts));
    for (const { sha } of commits) this.answered.push(sha);
  }

  async ask(request: (client: StoreClient) => Promise<unknown>): Promise<void> {
    const late = performance.now() + GIVE_UP_MS;
    for (;;) {
      try {
        await request(new StoreClient(this.#set.primary.child.url, 1));
        return;
      } catch (error) {
        if (performance.now() > late) throw error;
        this.repeated++;
        await sleep(REPEAT_MS);
      }
    }
  }
}

/** One replica at a time is killed or stopped, so that another can confirm; or all are cut off, and writes wait until they are not. */
class Trouble {
  readonly counts: Record<string, number> = { killed: 0, stopped: 0, "cut off": 0 };
  readonly #set: DemoSet;
  readonly #draw: Draw;
  #isOver = false;
  #running: Promise<void> = Promise.resolve();

  constructor(set: DemoSet, draw: Draw) {
    this.#set = set;
    this.#draw = draw;
  }

  begin(): void {
    this.#isOver = false;
    this.#running = this.#run();
    // Whoever ends it hears of its failure.
    this.#running.catch(() => undefined);
  }

  /** Resolves when all replicas are well. */
  async end(): Promise<void> {
    this.#isOver = true;
    await this.#running;
  }

  async #run(): Promise<void> {
    for (let number = this.#draw(3); !this.#isOver; number++) {
      const { replicas } = this.#set;
      const node = replicas[this.#draw(replicas.length)];
      if (node === undefined) return;
      const ms = 200 + this.#draw(600);
      const how = ["killed", "stopped", "cut off"][number % 3] ?? "";
      this.counts[how] = (this.counts[how] ?? 0) + 1;
      if (how === "killed") await this.#set.kill(node, ms);
      else if (how === "stopped") await this.#set.stop(node, ms);
      else await this.#set.cutOff(ms);
      await sleep(this.#draw(300));
    }
  }
}

async function run(wanted: Wanted, directory: string, say: (text: string) => void): Promise<Summary> {
  const begun = performance.now();
  const draw = drawFrom(wanted.seed);
  const commits: Commit[] = [];
  for await (const commit of commitsOf(wanted)) commits.push(commit);
  say(`${commits.length} commits from ${wanted.input}; seed ${wanted.seed}`);
  const set = await DemoSet.begin(directory, say);
  try {
    const [writer, trouble] = [new Writer(set), new Trouble(set, draw)];
    await writer.ask((client) => client.createRoom(ROOM));
    await writer.ask((client) => client.createQueue(QUEUE, { max_depth: 10_000_000 }));
    trouble.begin();
    const size = Math.min(BATCH_COMMITS_MAX, Math.ceil(commits.length / 500));
    const pauseMs = (wanted.seconds * 1000 * size) / commits.length - 5;
    const half = Math.floor(commits.length / 2);
    const writing = (async () => {
      for (let at = 0; at < commits.length; at += size) {
        await writer.write(commits.slice(at, at + size));
        if (pauseMs >= 1) await sleep(pauseMs);
      }
    })();
    // Its failure is heard where it is awaited.
    writing.catch(() => undefined);
    while (writer.answered.length < half) await Promise.race([sleep(10), writing]);
    await trouble.end();
    const { old, ms } = await set.failOver();
    say(`${old.name} was killed, ${set.primary.name} is the primary after ${ms.toFixed(0)} ms`);
    await set.rejoin(old);
    say(`${old.name} is back as a replica`);
    trouble.begin();
    await writing;
    await trouble.end();
    const endOffset = await set.settled();
    const { facts, digests } = await proven(set, writer, commits);
    const seconds = (performance.now() - begun) / 1000;
    return {
      ...{ input: wanted.input, seed: wanted.seed, commits: commits.length, endOffset },
      ...{ faults: trouble.counts, promotionMs: ms, repeated: writer.repeated, digests, facts, seconds },
    };
  } finally {
    await set.end();
  }
}

/** Asks every node, and compares their files. */
async function proven(set: DemoSet, writer: Writer, commits: readonly Commit[]) {
  const facts: Fact[] = [];
  const digests: Record<string, string> = {};
  const lost = new Set<string>();
  for (const { name, child } of set.nodes) {
    const client = new StoreClient(child.url);
    const input = async function* (): AsyncGenerator<Commit> {
      yield* commits;
    };
    const stream = await readStream(client, input());
    facts.push({
      what: `events of the stream on ${name}, in order`,
      expected: commits.length,
      found: stream.inOrder,
    });
    for (const sha of await missing(client, writer.answered)) lost.add(sha);
    digests[name] = await digestOf(child.url);
  }
  facts.push({ what: "answered writes lost", expected: 0, found: lost.size });
  facts.push({ what: "different digests", expected: 1, found: new Set(Object.values(digests)).size });
  const { files, same } = compareSegments(set.nodes.map(({ dataDirectory }) => dataDirectory));
  facts.push({ what: "segment files that are the same on all three", expected: files, found: same });
  if (files === 0 || disagreements(facts).length > 0)
    throw new Error(["not everything agrees", ...factsText(facts)].join("\n"));
  return { facts, digests };
}

async function missing(client: StoreClient, shas: readonly string[]): Promise<string[]> {
  const gone: string[] = [];
  for (let at = 0; at < shas.length; at += 1000) {
    const part = shas.slice(at, at + 1000);
    const values = await client.getMany(part.map(commitKey));
    gone.push(...part.filter((_, index) => values[index] === null || values[index] === undefined));
  }
  return gone;
}

async function digestOf(url: string): Promise<string> {
  const response = await fetch(`${url}/digest`);
  const { digests } = (await response.json()) as { digests: { all: string } };
  return digests.all;
}

function textOf(summary: Summary): string {
  const { faults, digests } = summary;
  return [
    `input            ${summary.input}`,
    `commits          ${summary.commits.toLocaleString("en-US")}, up to offset ${summary.endOffset.toLocaleString("en-US")}, each confirmed by a replica`,
    `replicas         ${Object.entries(faults)
      .map(([how, times]) => `${how} ${times} times`)
      .join(", ")} (seed ${summary.seed})`,
    `promotion        ${summary.promotionMs.toFixed(0)} ms after the primary was killed`,
    `asked again      ${summary.repeated} times`,
    `time             ${summary.seconds.toFixed(1)} s`,
    ...Object.entries(digests).map(([name, digest]) => `digest of ${name.padEnd(6)} ${digest}`),
    "",
    ...factsText(summary.facts),
  ].join("\n");
}

await runDemo({ usage: USAGE, directoryPrefix: "annals-demo-replication-", wantedFrom, run, textOf });
