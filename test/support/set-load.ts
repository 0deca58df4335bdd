/** Clients that write to whoever leads a set, remember what was answered, and look for it afterwards. */
import { HttpClient } from "./http-client.js";
import type { SetNode } from "./replica-set.js";

export class SetLoad {
  readonly #clients: Promise<void>[] = [];
  readonly #acks: string;
  #isOver = false;
  #count = 0;
  #client: HttpClient;
  /** Keys of writes that were answered as done and confirmed, with their values. */
  readonly answered = new Map<string, string>();
  /** By status and code, or by what the connection ended with. */
  readonly refused = new Map<string, number>();

  constructor(target: SetNode, acks: number, clients: number) {
    this.#client = new HttpClient(target.server.port, clients);
    this.#acks = String(acks);
    for (let client = 0; client < clients; client += 1) this.#clients.push(this.#run());
  }

  /** What waits for the one before, which may never answer, is given up. */
  turnTo(target: SetNode): void {
    const before = this.#client;
    this.#client = new HttpClient(target.server.port, this.#clients.length);
    before.close();
  }

  async end(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#clients);
    this.#client.close();
  }

  /** Keys that were answered and are not there, or hold something else. */
  async missingOn(node: SetNode): Promise<string[]> {
    const missing: string[] = [];
    const keys = [...this.answered];
    for (let at = 0; at < keys.length; at += 100) {
      const part = keys.slice(at, at + 100);
      const found = await Promise.all(part.map(([key]) => node.get(`/kv/${key}`)));
      for (const [index, [key, value]] of part.entries()) {
        const answer = found[index];
        if (answer?.status !== 200 || answer.text !== value) missing.push(`${key}: ${answer?.status}`);
      }
    }
    return missing;
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      this.#count += 1;
      const [key, value] = [`load-${this.#count}`, `value ${this.#count} ${"v".repeat(this.#count % 300)}`];
      try {
        const answer = await this.#client.put(key, value, { "x-annals-acks": this.#acks });
        if (answer.status < 300) this.answered.set(key, value);
        else await this.#failed(String(answer.status));
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
