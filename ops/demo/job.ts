/**
 * The main job: one atomic write per commit, in the order of history, with the server killed on the way.
 *
 * Order: a file's totals must not go backward, so two commits that touch a file are never in flight together. Commits
 * that touch different files may be; whichever arrives first, the state is the same. At most WINDOW are in flight, which
 * lets one sync of the log cover several.
 *
 * Not doubling: when the server dies, the outcome of what was in flight is unknown. After the restart the job asks for the
 * commit's own key. It is there exactly when the whole write is, since a write is there as a whole or not at all.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Commit, commitKey, type Pair, RunningTotals } from "./commits.js";
import type { ServerChild } from "./server-child.js";
import { RefusedError, StoreClient } from "./store-client.js";

const WINDOW = 16;

export interface JobOptions {
  readonly start: () => Promise<ServerChild>;
  readonly commits: AsyncIterable<Commit>;
  /** When to kill the server, in order. */
  readonly kills: readonly KillMoment[];
  readonly onProgress?: (commits: number, restarts: number) => void;
}

export interface KillMoment {
  /** So many commits have been answered … */
  readonly commits: number;
  /** … and so much time has passed since, in which further ones are on their way. */
  readonly delayMs: number;
}

export interface JobReport {
  readonly server: ServerChild;
  readonly commits: number;
  readonly fileChanges: number;
  readonly restarts: number;
  /** Writes whose answer a kill took away, and those of them that turned out to be stored. */
  readonly unanswered: number;
  readonly unansweredStored: number;
}

interface Write {
  readonly keys: readonly string[];
  readonly pairs: readonly Pair[];
}

export async function runJob(options: JobOptions): Promise<JobReport> {
  return new Job(options, await options.start()).toEnd();
}

class Job {
  readonly #options: JobOptions;
  readonly #kills: KillMoment[];
  readonly #totals = new RunningTotals();
  readonly #inFlight = new Map<string, Promise<void>>();
  readonly #writes = new Set<Promise<void>>();
  #server: ServerChild;
  #client: StoreClient;
  #killed: ServerChild | undefined;
  #killing: Promise<void> | undefined;
  #restarting: Promise<void> | undefined;
  #answered = 0;
  #fileChanges = 0;
  #restarts = 0;
  #unanswered = 0;
  #unansweredStored = 0;

  constructor(options: JobOptions, server: ServerChild) {
    this.#options = options;
    this.#kills = [...options.kills];
    this.#server = server;
    this.#client = new StoreClient(server.url);
  }

  async toEnd(): Promise<JobReport> {
    for await (const commit of this.#options.commits) {
      const keys = [commitKey(commit.sha), ...commit.files.map((file) => file.path)];
      await this.#room(keys);
      const write = { keys, pairs: this.#totals.pairsOf(commit) };
      this.#fileChanges += commit.files.length;
      this.#begin(write);
    }
    await Promise.all(this.#writes);
    // A kill so close to the end that no write was left to notice it.
    await this.#killing;
    if (this.#killed === this.#server) await this.#restart(this.#server, undefined);
    while (this.#kills.shift() !== undefined) {
      this.#server.kill("SIGKILL");
      await this.#restart(this.#server, undefined);
    }
    return {
      server: this.#server,
      commits: this.#answered,
      fileChanges: this.#fileChanges,
      restarts: this.#restarts,
      unanswered: this.#unanswered,
      unansweredStored: this.#unansweredStored,
    };
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
    // Whoever waits for the write sees its failure; until then it must not count as unhandled.
    done.catch(() => undefined);
  }

  async #store(write: Write): Promise<void> {
    const [commit = ""] = write.keys;
    for (let unknown = false; ; unknown = true) {
      await this.#restarting;
      const server = this.#server;
      try {
        if (unknown && (await this.#client.getMany([commit]))[0] !== null) {
          this.#unansweredStored++;
          break;
        }
        await this.#client.setMany(write.pairs);
        break;
      } catch (error) {
        if (error instanceof RefusedError) throw error;
        if (!unknown) this.#unanswered++;
        await this.#restartAfter(server, error);
      }
    }
    this.#answered++;
    this.#options.onProgress?.(this.#answered, this.#restarts);
    this.#killIfDue();
  }

  #killIfDue(): void {
    const next = this.#kills[0];
    // Answers that were on their way when it died come in after that; the next kill waits for the next server.
    if (next === undefined || this.#answered < next.commits || this.#killed === this.#server) return;
    this.#kills.shift();
    const server = this.#server;
    this.#killed = server;
    this.#killing = sleep(next.delayMs).then(() => server.kill("SIGKILL"));
  }

  /** The first write that notices brings the server back; the others wait for it. */
  #restartAfter(server: ServerChild, error: unknown): Promise<void> {
    if (server !== this.#server) return Promise.resolve();
    this.#restarting ??= this.#restart(server, error).finally(() => {
      this.#restarting = undefined;
    });
    return this.#restarting;
  }

  async #restart(server: ServerChild, error: unknown): Promise<void> {
    const how = await Promise.race([server.ended, sleep(5000, undefined, { ref: false })]);
    // Only a kill of ours explains a lost connection; anything else is a finding.
    if (how !== "SIGKILL")
      throw new Error(`a request failed, but the server ${how ?? "is still running"}`, { cause: error });
    this.#server = await this.#options.start();
    this.#client = new StoreClient(this.#server.url);
    this.#restarts++;
  }
}
