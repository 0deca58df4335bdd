/** Clients that write to whoever leads a set, remember what was answered, and look for it afterwards. */
import type { HttpClient } from "./http-client.js";
import type { SetNode } from "./replica-set.js";
import { SetHistory } from "./set-history.js";

export interface LoadOptions {
  /** What writes ask for, in turn. */
  readonly acks: readonly number[];
  readonly clients: number;
  /** Of each client between two writes: long runs would fill memory and disk. */
  readonly pauseMs?: number;
  readonly history?: SetHistory;
}

let loads = 0;

export const valueFor = (key: string): string => {
  const count = Number(key.split("-").at(-1));
  return `value ${key} ${"v".repeat(count % 300)}`;
};

export class SetLoad {
  readonly #runs: Promise<void>[] = [];
  readonly #options: LoadOptions;
  readonly #name: string;
  #isOver = false;
  #count = 0;
  #target: SetNode;
  #client: HttpClient;
  readonly history: SetHistory;
  /** Keys of writes that were answered as done and confirmed. */
  readonly answered: string[] = [];
  /** Keys of writes that were answered as stored, but not confirmed. */
  readonly unconfirmed: string[] = [];
  /** By status and code, or by what the connection ended with. */
  readonly refused = new Map<string, number>();

  constructor(target: SetNode, options: LoadOptions) {
    loads += 1;
    this.#name = `load-${loads}`;
    this.#options = options;
    this.#target = target;
    this.#client = target.newClient(options.clients);
    this.history = options.history ?? new SetHistory();
    for (let client = 0; client < options.clients; client += 1) this.#runs.push(this.#run());
  }

  /** What waits for the one before, which may never answer, is given up. */
  turnTo(target: SetNode): void {
    const before = this.#client;
    this.#target = target;
    this.#client = target.newClient(this.#options.clients);
    before.close();
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#runs);
    this.#client.close();
  }

  /** Keys that were answered and are not there, or hold something else. */
  async missingOn(node: SetNode): Promise<string[]> {
    const missing: string[] = [];
    for (let at = 0; at < this.answered.length; at += 200) {
      const keys = this.answered.slice(at, at + 200);
      const { values } = JSON.parse((await node.post("/kv/mget", { keys })).text);
      for (const [index, key] of keys.entries()) if (values[index] !== valueFor(key)) missing.push(key);
    }
    return missing;
  }

  async #run(): Promise<void> {
    const { acks, pauseMs = 0 } = this.#options;
    while (!this.#isOver) {
      this.#count += 1;
      const key = `${this.#name}-${this.#count}`;
      const confirmed = acks[this.#count % acks.length] ?? 0;
      const { name } = this.#target;
      const sent = { at: this.history.next(), heard: this.history.heardOn(name) };
      try {
        const answer = await this.#client.put(key, valueFor(key), { "x-annals-acks": String(confirmed) });
        if (answer.status < 300) {
          this.answered.push(key);
          this.history.answer(name, key, confirmed, answer, sent);
          if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
        } else {
          if (answer.status === 504) this.unconfirmed.push(key);
          await this.#failed(String(answer.status));
        }
      } catch (error) {
        await this.#failed(error instanceof Error && "code" in error ? String(error.code) : "broken");
      }
    }
  }

  async #failed(how: string): Promise<void> {
    this.refused.set(how, (this.refused.get(how) ?? 0) + 1);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
