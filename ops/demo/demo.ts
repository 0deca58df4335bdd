/**
 * `npm run demo [-- --input FILE --limit N --kills N --consumer-kills N --seed N --directory DIR --json]`: sends a real commit
 * history through a server that is killed on the way, lets consumers that are killed too work on it, and shows whether
 * everything agrees.
 */
import { spawnSync } from "node:child_process";
import { parseArgs } from "node:util";
import { wholeNumberOf } from "../cli/tool-arguments.js";
import { commandLinePath, type ServerChild, startServer } from "../server-child.js";
import { type Commit, commitKey } from "./commits.js";
import { Consumers } from "./consumers.js";
import { disagreements, factsText } from "./facts.js";
import { commitsOf, directoryOf, inputOf, limitOf } from "./input.js";
import { type JobReport, runJob } from "./job.js";
import { auditOf } from "./log-audit.js";
import { drawFrom, momentsOf } from "./moments.js";
import { factsOf, servedBy } from "./proof.js";
import { runDemo } from "./run-demo.js";
import { StoreClient } from "./store-client.js";
import { type DemoSummary, logBytesOf, mostChanged, textOf } from "./summary.js";

const KILLS_MAX = 1000;

const USAGE = `npm run demo [-- OPTION …]: sends a commit history through a server and consumers that are killed on the way

  --input FILE      commits, one JSON object a line, also .gz (the history beside the repository, else its sample)
  --limit N         only the first N commits (all)
  --kills N         how often the server is killed, up to ${KILLS_MAX} (3)
  --consumer-kills N  how often one of the four consumers is killed, up to ${KILLS_MAX} (12)
  --seed N          draws the moments of the kills (another each time)
  --directory DIR   where the data goes and stays; empty or absent (a temporary directory, removed at the end)
  --json            the summary as JSON`;

interface Wanted {
  readonly input: string;
  /** Commits at most. */
  readonly limit: number;
  readonly kills: number;
  readonly consumerKills: number;
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
      limit: { type: "string" },
      kills: { type: "string", default: "3" },
      "consumer-kills": { type: "string", default: "12" },
      seed: { type: "string", default: String(Date.now() % 1_000_000) },
      directory: { type: "string" },
      json: { type: "boolean", default: false },
    },
  });
  const kills = wholeNumberOf("--kills", values.kills, 0, KILLS_MAX);
  const consumerKills = wholeNumberOf("--consumer-kills", values["consumer-kills"], 0, KILLS_MAX);
  const limit = limitOf(values.limit);
  const seed = wholeNumberOf("--seed", values.seed, 0, Number.MAX_SAFE_INTEGER);
  const input = inputOf(values.input);
  const directory = directoryOf(values.directory);
  return { input, limit, kills, consumerKills, seed, directory, json: values.json };
}

async function countOf(commits: AsyncIterable<Commit>): Promise<{ commits: number; jobs: number }> {
  const count = { commits: 0, jobs: 0 };
  for await (const commit of commits) {
    count.commits++;
    count.jobs += commit.files.length;
  }
  return count;
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
  const { input, seed } = wanted;
  const total = await countOf(commitsOf(wanted));
  const draw = drawFrom(seed);
  const kills = momentsOf(wanted.kills, total.commits, draw);
  const killsAfter = kills.map(({ after }) => after);
  const consumers = new Consumers(momentsOf(wanted.consumerKills, total.jobs, draw), draw);
  say(
    `${total.commits} commits from ${input}; the server will be killed after ${killsAfter.join(", ")} of them`,
  );
  const running = new Set<ServerChild>();
  let isOver = false;
  const start = async (): Promise<ServerChild> => {
    // What is still on its way when the demo fails takes the last kill for one of the planned ones.
    if (isOver) throw new Error("the demo is over");
    const server = await startServer({ dataDirectory });
    running.add(server);
    if (isOver) server.kill("SIGKILL");
    say(`serving on ${server.url} after ${server.readyMs.toFixed(0)} ms`);
    return server;
  };
  try {
    const started = performance.now();
    const job = await runJob({ start, commits: commitsOf(wanted), consumers, kills });
    const seconds = (performance.now() - started) / 1000;
    await consumers.close();
    const { endOffset, queue, files, facts } = await proven(wanted, job, dataDirectory);
    say("annals verify: clean");
    const { commits, fileChanges, restarts, unanswered, unansweredStored } = job;
    const events = 2 * commits + 2 * fileChanges + queue.consumed + queue.acked;
    return {
      input,
      commits,
      fileChanges,
      distinctFiles: files.length,
      mostChanged: mostChanged(files, 10),
      logBytes: logBytesOf(dataDirectory),
      endOffset,
      restarts,
      unanswered,
      unansweredStored,
      seconds,
      deliveries: queue.consumed,
      timedOut: queue.timed_out,
      consumersKilled: consumers.killed,
      facts,
      eventsPerSecond: events / seconds,
      seed,
      killsAfter,
      dataDirectory,
    };
  } finally {
    isOver = true;
    consumers.kill();
    for (const server of running) server.kill("SIGKILL");
  }
}

/** Asks the server and its files, which it is stopped for, and compares. */
async function proven(wanted: Wanted, job: JobReport, dataDirectory: string) {
  const client = new StoreClient(job.server.url);
  const served = await servedBy(client, commitsOf(wanted));
  const { endOffset } = await client.logEnd();
  await stopped(job.server);
  verify(dataDirectory);
  const audit = await auditOf(dataDirectory, commitKey(""));
  const { commits, fileChanges } = job;
  const facts = factsOf({ commits, fileChanges, audit, ...served });
  if (disagreements(facts).length > 0)
    throw new Error(["not everything agrees", ...factsText(facts)].join("\n"));
  return { endOffset, queue: served.queue, files: served.files, facts };
}

void runDemo({ usage: USAGE, directoryPrefix: "annals-demo-", wantedFrom, run, textOf });
