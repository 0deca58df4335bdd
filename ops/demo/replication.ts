/**
 * `npm run demo:replication [-- --input FILE --limit N --seconds N --seed N --directory DIR --json]`: sends a commit history through a
 * primary, lets consumers work the jobs that it brings, while the replicas are killed, stopped and cut off, promotes one of them mid-way,
 * takes the old primary back, and shows that all three have the same state in the same bytes, and everything that was answered.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { wholeNumberOf } from "../cli/tool-arguments.js";
import { partsOf, ROOM } from "./commit-batch.js";
import { type Commit, commitKey, RunningTotals } from "./commits.js";
import { Consumers } from "./consumers.js";
import { DemoSet } from "./demo-set.js";
import { disagreements, type Fact, factsText } from "./facts.js";
import { commitsOf, directoryOf, inputOf, limitOf, type WantedCommits } from "./input.js";
import { jobsDone, QUEUE, QUEUE_SETTINGS } from "./jobs.js";
import { auditOf } from "./log-audit.js";
import { drawFrom, momentsOf } from "./moments.js";
import { factsOf, readStream, servedBy } from "./proof.js";
import { runDemo } from "./run-demo.js";
import { compareSegments } from "./same-files.js";
import { type QueueTotals, StoreClient } from "./store-client.js";
import { Trouble } from "./trouble.js";

const USAGE = `npm run demo:replication [-- OPTION …]: sends a commit history through a primary whose replicas are killed, stopped and cut off,
to consumers that are killed too

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
  const limit = limitOf(values.limit);
  const seconds = Number(values.seconds);
  if (!(seconds >= 1 && seconds <= 3600)) throw new RangeError("--seconds is 1 to 3600");
  const seed = wholeNumberOf("--seed", values.seed, 0, Number.MAX_SAFE_INTEGER);
  const input = inputOf(values.input);
  const directory = directoryOf(values.directory);
  return { input, limit, seed, seconds, directory, json: values.json };
}

interface Summary {
  readonly input: string;
  readonly seed: number;
  readonly commits: number;
  readonly endOffset: number;
  readonly jobs: number;
  /** How often jobs were delivered, and how often nobody acknowledged them in time. */
  readonly deliveries: number;
  readonly timedOut: number;
  readonly consumersKilled: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly promotionMs: number;
  /** Answered by the primary that was promoted: commits written, and jobs acknowledged. */
  readonly commitsAfterPromotion: number;
  readonly jobsAfterPromotion: number;
  /** Requests that had to be made again. */
  readonly repeated: number;
  readonly digests: Readonly<Record<string, string>>;
  readonly facts: readonly Fact[];
  readonly seconds: number;
}

/** Of every write: what a replica has confirmed is in the log of whoever is promoted. */
const ACKS = 1;
const CONSUMER_KILLS = 4;
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

  async #write(commits: readonly Commit[]): Promise<void> {
    const [first] = commits;
    if (first === undefined) return;
    const parts = commits.flatMap((commit, at) =>
      partsOf(commit, this.#totals.pairsOf(commit), this.answered.length + at),
    );
    await this.ask((client) => client.batchOnce(first.sha, parts));
    for (const { sha } of commits) this.answered.push(sha);
  }

  /** At a pace at which it takes so many seconds at least; the last quarter not before the promotion, or there might be nothing left by then. */
  async writeAll(commits: readonly Commit[], seconds: number, promoted: Promise<void>): Promise<void> {
    const size = Math.min(BATCH_COMMITS_MAX, Math.ceil(commits.length / 500));
    const pauseMs = (seconds * 1000 * size) / commits.length - 5;
    for (let at = 0; at < commits.length; at += size) {
      if (at >= (commits.length * 3) / 4) await promoted;
      await this.#write(commits.slice(at, at + size));
      if (pauseMs >= 1) await sleep(pauseMs);
    }
  }

  async ask<T>(request: (client: StoreClient) => Promise<T>): Promise<T> {
    const late = performance.now() + GIVE_UP_MS;
    for (;;) {
      try {
        return await request(new StoreClient(this.#set.primary.child.url, ACKS));
      } catch (error) {
        if (performance.now() > late) throw error;
        this.repeated++;
        await sleep(REPEAT_MS);
      }
    }
  }
}

async function run(wanted: Wanted, directory: string, say: (text: string) => void): Promise<Summary> {
  const commits: Commit[] = [];
  for await (const commit of commitsOf(wanted)) commits.push(commit);
  say(`${commits.length} commits from ${wanted.input}; seed ${wanted.seed}`);
  const draw = drawFrom(wanted.seed + 1);
  const consumers = new Consumers(momentsOf(CONSUMER_KILLS, jobsIn(commits), draw), draw, ACKS);
  const set = await DemoSet.begin(directory, say);
  try {
    return await Promise.race([work({ wanted, commits, set, consumers, say }), consumers.failed]);
  } finally {
    consumers.kill();
    await set.end();
  }
}

const jobsIn = (commits: readonly Commit[]): number =>
  commits.reduce((sum, { files }) => sum + files.length, 0);

interface Work {
  readonly wanted: Wanted;
  readonly commits: readonly Commit[];
  readonly set: DemoSet;
  readonly consumers: Consumers;
  readonly say: (text: string) => void;
}

async function work({ wanted, commits, set, consumers, say }: Work): Promise<Summary> {
  const begun = performance.now();
  const totals = (client: StoreClient): Promise<QueueTotals> => client.queueTotals(QUEUE);
  const [writer, trouble] = [new Writer(set), new Trouble(set, drawFrom(wanted.seed))];
  await writer.ask((client) => client.createRoom(ROOM));
  await writer.ask((client) => client.createQueue(QUEUE, QUEUE_SETTINGS));
  consumers.serverIsAt(set.primary.child.url);
  consumers.start();
  trouble.begin();
  let letGoOn = (): void => undefined;
  const promoted = new Promise<void>((resolve) => {
    letGoOn = resolve;
  });
  const writing = writer.writeAll(commits, wanted.seconds, promoted);
  // Its failure is heard where it is awaited.
  writing.catch(() => undefined);
  while (writer.answered.length < commits.length / 2) await Promise.race([sleep(10), writing]);
  await trouble.end();
  const { old, ms } = await set.failOver();
  consumers.serverIsAt(set.primary.child.url);
  const before = { commits: writer.answered.length, jobs: (await writer.ask(totals)).acked };
  letGoOn();
  say(`${old.name} was killed, ${set.primary.name} is the primary after ${ms.toFixed(0)} ms`);
  await set.rejoin(old);
  say(`${old.name} is back as a replica`);
  trouble.begin();
  await writing;
  await trouble.end({ each: true });
  await jobsDone(() => writer.ask(totals));
  await consumers.close();
  const endOffset = await set.settled();
  const { queue, facts, digests } = await proven(set, writer, commits);
  const seconds = (performance.now() - begun) / 1000;
  return {
    input: wanted.input,
    seed: wanted.seed,
    commits: commits.length,
    endOffset,
    jobs: jobsIn(commits),
    deliveries: queue.consumed,
    timedOut: queue.timed_out,
    consumersKilled: consumers.killed,
    faults: trouble.counts,
    promotionMs: ms,
    commitsAfterPromotion: commits.length - before.commits,
    jobsAfterPromotion: queue.acked - before.jobs,
    repeated: writer.repeated,
    digests,
    facts,
    seconds,
  };
}

/** Asks every node, reads the primary's log, and compares the files of all. */
async function proven(set: DemoSet, writer: Writer, commits: readonly Commit[]) {
  const input = async function* (): AsyncGenerator<Commit> {
    yield* commits;
  };
  const { child, dataDirectory } = set.primary;
  const served = await servedBy(new StoreClient(child.url), input());
  const audit = await auditOf(dataDirectory, commitKey(""));
  const facts = factsOf({ commits: commits.length, fileChanges: jobsIn(commits), audit, ...served });
  const digests: Record<string, string> = {};
  const lost = new Set<string>();
  for (const { name, child } of set.nodes) {
    const client = new StoreClient(child.url);
    const { inOrder } = await readStream(client, input());
    facts.push({
      what: `events of the stream on ${name}, in order`,
      expected: commits.length,
      found: inOrder,
    });
    for (const sha of await missing(client, writer.answered)) lost.add(sha);
    digests[name] = await digestOf(child.url);
  }
  facts.push({ what: "answered writes lost", expected: 0, found: lost.size });
  facts.push({ what: "different digests", expected: 1, found: new Set(Object.values(digests)).size });
  const { files, same } = compareSegments(set.nodes.map((node) => node.dataDirectory));
  facts.push({ what: "segment files that are the same on all three", expected: files, found: same });
  if (files === 0 || disagreements(facts).length > 0)
    throw new Error(["not everything agrees", ...factsText(facts)].join("\n"));
  return { queue: served.queue, facts, digests };
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
    `jobs             ${summary.jobs.toLocaleString("en-US")}; four consumers, killed ${summary.consumersKilled} times; ${summary.deliveries.toLocaleString("en-US")} deliveries, of which ${summary.timedOut.toLocaleString("en-US")} timed out`,
    `replicas         ${Object.entries(faults)
      .map(([how, times]) => `${how} ${times} times`)
      .join(", ")} (seed ${summary.seed})`,
    `promotion        ${summary.promotionMs.toFixed(0)} ms after the primary was killed; ${summary.commitsAfterPromotion.toLocaleString("en-US")} commits and the acks of ${summary.jobsAfterPromotion.toLocaleString("en-US")} jobs came after it`,
    `asked again      ${summary.repeated} times`,
    `time             ${summary.seconds.toFixed(1)} s`,
    ...Object.entries(digests).map(([name, digest]) => `digest of ${name.padEnd(6)} ${digest}`),
    "",
    ...factsText(summary.facts),
  ].join("\n");
}

void runDemo({ usage: USAGE, directoryPrefix: "annals-demo-replication-", wantedFrom, run, textOf });
