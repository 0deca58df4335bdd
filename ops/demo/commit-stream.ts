/**
 * The commits as a stream, in the order of history. One request is on its way at a time, and takes along what has gathered.
 * It names the offset that it expects and its number as a producer: a repeat after a lost answer finds itself done, and
 * nothing can come in between.
 */
import type { Commit } from "./commits.js";
import type { MortalServer } from "./mortal-server.js";

export const ROOM = "commits";
const PRODUCER = "demo";
const BATCH_MAX = 64;
/** Commits that wait to be published; more make `add` wait. */
const WAITING_MAX = 256;

export class CommitStream {
  readonly #server: MortalServer;
  #waiting: Commit[] = [];
  #sending: Promise<void> | undefined;
  #published = 0;
  #requests = 0;
  #storedUnanswered = 0;

  constructor(server: MortalServer) {
    this.#server = server;
  }

  /** Requests that were stored although their answer was lost. */
  get storedUnanswered(): number {
    return this.#storedUnanswered;
  }

  async add(commit: Commit): Promise<void> {
    this.#waiting.push(commit);
    if (this.#sending === undefined) {
      this.#sending = this.#send();
      // Whoever waits next sees a failure; until then it must not count as unhandled.
      this.#sending.catch(() => undefined);
    }
    if (this.#waiting.length >= WAITING_MAX) await this.#sending;
  }

  async end(): Promise<void> {
    await this.#sending;
  }

  async #send(): Promise<void> {
    while (this.#waiting.length > 0) await this.#publish(this.#waiting.splice(0, BATCH_MAX));
    this.#sending = undefined;
  }

  async #publish(commits: readonly Commit[]): Promise<void> {
    const request = {
      events: commits.map((commit) => ({ event: "commit", data: commit })),
      expected_offset: this.#published,
      producer_id: PRODUCER,
      producer_epoch: 0,
      producer_seq: this.#requests,
    };
    await this.#server.ask(async (client, repeated) => {
      const { duplicate } = await client.publishEvents(ROOM, request);
      if (duplicate && !repeated) throw new Error(`request ${this.#requests} was a repeat at its first time`);
      if (duplicate) this.#storedUnanswered++;
    });
    this.#requests++;
    this.#published += commits.length;
  }
}
