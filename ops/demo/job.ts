/**
 * The main job: one atomic write per commit, in the order of history; the commit goes to a stream, and each of its files
 * into a queue, as a job for consumers. The server is killed on the way, and so are the consumers.
 *
 * Order: a file's totals must not go backward, so two commits that touch a file are never in flight together. Commits
 * that touch different files may be; whichever arrives first, the state is the same. At most WINDOW are in flight, which
 * lets one sync of the log cover several. The stream has the order of history by itself (see commit-stream.ts).
 *
 * Not doubling: when the server dies, the outcome of what was in flight is unknown. After the restart the job asks for the
 * commit's own key. It is there exactly when the whole write is, since a write is there as a whole or not at all. Jobs
 * are published again; the queue knows their message keys.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { CommitStream, ROOM } from "./commit-stream.js";
import { type Commit, commitKey, type Pair, RunningTotals } from "./commits.js";
import type { Consumers } from "./consumers.js";
import { ACK_DEADLINE_SECS, DEDUP_WINDOW_SECS, jobsOf, MAX_RETRIES, type NewJob, QUEUE } from "./jobs.js";
import type { KillMoment } from "./moments.js";
import { MortalServer } from "./mortal-server.js";
import type { ServerChild } from "./server-child.js";
import type { QueueTotals } from "./store-client.js";

const WINDOW = 16;
/** Jobs of one request. */
const JOBS_MAX = 500;
const LOOK_MS = 50;
/** Of many deadlines that pass: when nothing was acknowledged for so long, nothing will be. */
const STALLED_MS = 30_000;
const QUEUE_DEPTH_MAX = 10_000_000;

export interface JobOptions {
  readonly start: () => Promise<ServerChild>;
  readonly commits: AsyncIterable<Commit>;
  readonly consumers: Consumers;
  /** When to kill the server: after how many commits answered. */
  readonly kills: readonly KillMoment[];
}

export interface JobReport {
  readonly server: ServerChild;
  readonly commits: number;
  readonly fileChanges: number;
  readonly restarts: number;
  /** Requests whose answer a kill took away, and those of them that turned out to be stored. */
  readonly unanswered: number;
  readonly unansweredStored: number;
}

interface Write {
  readonly keys: readonly string[];
  readonly pairs: readonly Pair[];
  readonly jobs: readonly NewJob[];
}

export async function runJob(options: JobOptions): Promise<JobReport> {
  const { start, consumers } = options;
  const server = await MortalServer.start({ start, onStart: (url) => consumers.serverIsAt(url) });
  return new Job(options, server).toEnd();
}

class Job {
  readonly #options: JobOptions;
  readonly #kills: KillMoment[];
  readonly #totals = new RunningTotals();
  readonly #inFlight = new Map<string, Promise<void>>();
  readonly #writes = new Set<Promise<void>>();
  readonly #server: MortalServer;
  readonly #stream: CommitStream;
  #fail: (error: unknown) => void = () => undefined;
  readonly #failed: Promise<never>;
  #answered = 0;
  #fileChanges = 0;
  #unansweredStored = 0;

  constructor(options: JobOptions, server: MortalServer) {
    this.#options = options;
    this.#kills = [...options.kills];
    this.#server = server;
    this.#stream = new CommitStream(server);
    this.#failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
  }

  /** Or to the first failure, of a write or of a consumer. */
  toEnd(): Promise<JobReport> {
    return Promise.race([this.#work(), this.#failed, this.#options.consumers.failed]);
  }

  async #work(): Promise<JobReport> {
    await this.#server.ask((client) => client.createRoom(ROOM));
    await this.#server.ask((client) =>
      client.createQueue(QUEUE, {
        max_depth: QUEUE_DEPTH_MAX,
        ack_deadline_secs: ACK_DEADLINE_SECS,
        default_max_retries: MAX_RETRIES,
        dedup_window_secs: DEDUP_WINDOW_SECS,
      }),
    );
    this.#options.consumers.start();
    for await (const commit of this.#options.commits) await this.#take(commit);
    await Promise.all(this.#writes);
    await this.#stream.end();
    // Kills so close to the end that no write was left to notice them.
    if (this.#server.isDoomed) await this.#server.replace();
    while (this.#kills.shift() !== undefined) await this.#server.replace();
    await this.#jobsDone();
    return {
      server: this.#server.server,
      commits: this.#answered,
      fileChanges: this.#fileChanges,
      restarts: this.#server.restarts,
      unanswered: this.#server.unanswered,
      unansweredStored: this.#unansweredStored + this.#stream.storedUnanswered,
    };
  }

  async #take(commit: Commit): Promise<void> {
    const keys = [commitKey(commit.sha), ...commit.files.map((file) => file.path)];
    await this.#room(keys);
    await this.#stream.add(commit);
    this.#fileChanges += commit.files.length;
    this.#begin({ keys, pairs: this.#totals.pairsOf(commit), jobs: jobsOf(commit) });
  }

  /** Waits until the window has room and nothing in flight touches one of these keys. */
  async #room(keys: readonly string[]): Promise<void> {
    for (;;) {
      const others = keys.flatMap((key) => this.#inFlight.get(key) ?? []);
      if (others.length > 0) await Promise.all(others);
      else if (this.#writes.size >= WINDOW) await Promise.race(this.#writes);
      else return;
    }
  }

  #begin(write: Write): void {
    const done = this.#store(write).finally(() => {
      for (const key of write.keys) this.#inFlight.delete(key);
      this.#writes.delete(done);
    });
    for (const key of write.keys) this.#inFlight.set(key, done);
    this.#writes.add(done);
    done.catch((error: unknown) => this.#fail(error));
  }

  async #store(write: Write): Promise<void> {
    await Promise.all([this.#set(write), this.#publishAll(write.jobs)]);
    this.#answered++;
    this.#killIfDue();
  }

  async #set(write: Write): Promise<void> {
    const [commit = ""] = write.keys;
    await this.#server.ask(async (client, repeated) => {
      const stored = repeated && (await client.getMany([commit]))[0] !== null;
      if (stored) this.#unansweredStored++;
      else await client.setMany(write.pairs);
    });
  }

  async #publishAll(jobs: readonly NewJob[]): Promise<void> {
    for (let at = 0; at < jobs.length; at += JOBS_MAX) await this.#publish(jobs.slice(at, at + JOBS_MAX));
  }

  async #publish(jobs: readonly NewJob[]): Promise<void> {
    await this.#server.ask(async (client, repeated) => {
      const duplicates = await client.publishJobs(QUEUE, jobs);
      // One request is one record: all of it is there, or nothing.
      if (duplicates !== 0 && !(repeated && duplicates === jobs.length))
        throw new Error(`${duplicates} of ${jobs.length} jobs were in the queue before they were published`);
      if (duplicates !== 0) this.#unansweredStored++;
    });
  }

  #killIfDue(): void {
    const next = this.#kills[0];
    if (next === undefined || this.#answered < next.after) return;
    if (this.#server.killSoon(next.delayMs)) this.#kills.shift();
  }

  /** Until every job is acknowledged, however often its consumers died. */
  async #jobsDone(): Promise<void> {
    let acked = -1;
    let since = performance.now();
    for (;;) {
      const totals = await this.#server.ask((client) => client.queueTotals(QUEUE));
      if (waitingIn(totals) === 0) return;
      if (totals.acked !== acked) [acked, since] = [totals.acked, performance.now()];
      if (performance.now() - since > STALLED_MS)
        throw new Error(`the jobs do not get done any more: ${JSON.stringify(totals)}`);
      await sleep(LOOK_MS);
    }
  }
}

const waitingIn = ({ depth, delayed, in_flight }: QueueTotals): number => depth + delayed + in_flight;
