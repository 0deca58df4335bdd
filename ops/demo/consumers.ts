/** The consumers of the jobs, which are killed at random and replaced. */
import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import type { Draw, KillMoment } from "./moments.js";

const CONSUMERS = 4;

export class Consumers {
  readonly #alive: ChildProcess[] = [];
  readonly #doomed = new Set<ChildProcess>();
  readonly #kills: KillMoment[];
  readonly #draw: Draw;
  readonly #acks: number | undefined;
  #url = "";
  #started = 0;
  #taken = 0;
  #killed = 0;
  #closed = false;
  #fail: (error: Error) => void = () => undefined;
  /** Rejects when a consumer ends that nobody killed. */
  readonly failed: Promise<never>;

  /** `kills`: after how many jobs taken, redelivered ones counted again. `acks`: as of a `StoreClient`. */
  constructor(kills: readonly KillMoment[], draw: Draw, acks?: number) {
    this.#kills = [...kills];
    this.#draw = draw;
    this.#acks = acks;
    this.failed = new Promise((_, reject) => {
      this.#fail = reject;
    });
    // Whoever waits for the jobs sees it; until then it must not count as unhandled.
    this.failed.catch(() => undefined);
  }

  /** Consumers killed. */
  get killed(): number {
    return this.#killed;
  }

  /** Jobs that consumers said they took. */
  get taken(): number {
    return this.#taken;
  }

  /** Begins, and again whenever the server has a new address. */
  serverIsAt(url: string): void {
    this.#url = url;
    for (const child of this.#alive) if (child.connected) child.send({ url });
  }

  start(): void {
    while (this.#alive.length < CONSUMERS) this.#startOne();
  }

  /** Lets them end by themselves; they do nothing that matters any more. */
  async close(): Promise<void> {
    this.#closed = true;
    const ends = this.#alive.map((child) => once(child, "exit"));
    for (const child of this.#alive) if (child.connected) child.disconnect();
    await Promise.all(ends);
  }

  kill(): void {
    this.#closed = true;
    for (const child of this.#alive) child.kill("SIGKILL");
  }

  #startOne(): void {
    const path = fileURLToPath(new URL("consumer.js", import.meta.url));
    const acks = this.#acks === undefined ? [] : [String(this.#acks)];
    const child = fork(path, [`consumer-${++this.#started}`, this.#url, ...acks], { execArgv: [] });
    this.#alive.push(child);
    child.on("message", ({ taken }: { readonly taken: number }) => {
      this.#taken += taken;
      this.#killIfDue();
    });
    child.once("error", (error) => this.#fail(error));
    child.once("exit", (code, signal) => this.#ended(child, String(code ?? signal)));
  }

  #ended(child: ChildProcess, how: string): void {
    this.#alive.splice(this.#alive.indexOf(child), 1);
    if (this.#closed) return;
    if (!this.#doomed.delete(child)) {
      this.#fail(new Error(`a consumer ended (${how}) that nobody had killed`));
      return;
    }
    this.#killed++;
    this.#startOne();
  }

  #killIfDue(): void {
    for (let next = this.#kills[0]; next !== undefined && this.#taken >= next.after; next = this.#kills[0]) {
      const living = this.#alive.filter((child) => !this.#doomed.has(child));
      const victim = living[this.#draw(Math.max(1, living.length))];
      // All four are dying: the next message of a successor asks again.
      if (victim === undefined) return;
      this.#kills.shift();
      this.#doomed.add(victim);
      setTimeout(() => victim.kill("SIGKILL"), next.delayMs);
    }
  }
}
