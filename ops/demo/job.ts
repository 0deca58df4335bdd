/**
 * The main job: commits in the order of history, a few at a time as one atomic batch. The server is killed on the way, and
 * so are the consumers of the jobs that the commits bring.
 *
 * One batch is under way at a time, and each commit says at which offset of the stream its event must come to stand: history
 * has its order, or the job fails. Several commits share a batch, since each batch waits for a sync.
 *
 * Not doubling: when the server dies, nobody knows what became of the batch that was under way. It is sent again to the
 * successor with its idempotency key: either it is there as a whole, and its first answer comes again, or it is done now.
 */
import type { ServerChild } from "../server-child.js";
import { partsOf, ROOM } from "./commit-batch.js";
import { type Commit, RunningTotals } from "./commits.js";
import type { Consumers } from "./consumers.js";
import { jobsDone, QUEUE, QUEUE_SETTINGS } from "./jobs.js";
import type { KillMoment } from "./moments.js";
import { MortalServer } from "./mortal-server.js";

/** A batch has at most so many commits, and no further one after so many files. */
const BATCH_COMMITS_MAX = 8;
const BATCH_FILES_MAX = 500;

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

export async function runJob(options: JobOptions): Promise<JobReport> {
  const { start, consumers } = options;
  const server = await MortalServer.start({ start, onStart: (url) => consumers.serverIsAt(url) });
  return new Job(options, server).toEnd();
}

class Job {
  readonly #options: JobOptions;
  readonly #kills: KillMoment[];
  readonly #totals = new RunningTotals();
  readonly #server: MortalServer;
  #answered = 0;
  #fileChanges = 0;
  #unansweredStored = 0;

  constructor(options: JobOptions, server: MortalServer) {
    this.#options = options;
    this.#kills = [...options.kills];
    this.#server = server;
  }

  /** Or to the first failure of a consumer. */
  toEnd(): Promise<JobReport> {
    return Promise.race([this.#work(), this.#options.consumers.failed]);
  }

  async #work(): Promise<JobReport> {
    await this.#server.ask((client) => client.createRoom(ROOM));
    await this.#server.ask((client) => client.createQueue(QUEUE, QUEUE_SETTINGS));
    this.#options.consumers.start();
    await this.#writeAll();
    // Kills so close to the end that no write was left to notice them.
    if (this.#server.isDoomed) await this.#server.replace();
    while (this.#kills.shift() !== undefined) await this.#server.replace();
    await jobsDone(() => this.#server.ask((client) => client.queueTotals(QUEUE)));
    return {
      server: this.#server.server,
      commits: this.#answered,
      fileChanges: this.#fileChanges,
      restarts: this.#server.restarts,
      unanswered: this.#server.unanswered,
      unansweredStored: this.#unansweredStored,
    };
  }

  async #writeAll(): Promise<void> {
    let batch: Commit[] = [];
    let files = 0;
    for await (const commit of this.#options.commits) {
      batch.push(commit);
      files += commit.files.length;
      if (batch.length < BATCH_COMMITS_MAX && files < BATCH_FILES_MAX) continue;
      await this.#write(batch);
      [batch, files] = [[], 0];
    }
    await this.#write(batch);
  }

  async #write(commits: readonly Commit[]): Promise<void> {
    const [first] = commits;
    if (first === undefined) return;
    const parts = commits.flatMap((commit, index) =>
      partsOf(commit, this.#totals.pairsOf(commit), this.#answered + index),
    );
    await this.#server.ask(async (client, isRepeat) => {
      const { repeated } = await client.batchOnce(first.sha, parts);
      if (repeated && !isRepeat) throw new Error(`${first.sha} was there before it was sent`);
      if (repeated) this.#unansweredStored++;
    });
    this.#answered += commits.length;
    for (const { files } of commits) this.#fileChanges += files.length;
    this.#killIfDue();
  }

  #killIfDue(): void {
    const next = this.#kills[0];
    if (next === undefined || this.#answered < next.after) return;
    if (this.#server.killSoon(next.delayMs)) this.#kills.shift();
  }
}
