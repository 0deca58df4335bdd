/**
 * A server that is killed on purpose, and whoever talks to it: a request whose answer a kill takes away is made again at the
 * server's successor, and told that it is a repeat. What makes a repeat harmless is the request's own affair.
 */
import { setTimeout as sleep } from "node:timers/promises";
import type { ServerChild } from "../server-child.js";
import { RefusedError, StoreClient } from "./store-client.js";

export type Request<T> = (client: StoreClient, repeated: boolean) => Promise<T>;

export interface MortalServerOptions {
  readonly start: () => Promise<ServerChild>;
  /** For those who talk to the server on their own: it has a new address after each start. */
  readonly onStart?: (url: string) => void;
}

export class MortalServer {
  readonly #options: MortalServerOptions;
  #server: ServerChild;
  #client: StoreClient;
  #doomed: ServerChild | undefined;
  #killing: Promise<void> | undefined;
  #restarting: Promise<void> | undefined;
  #restarts = 0;
  #unanswered = 0;

  private constructor(options: MortalServerOptions, server: ServerChild) {
    this.#options = options;
    this.#server = server;
    this.#client = new StoreClient(server.url);
  }

  static async start(options: MortalServerOptions): Promise<MortalServer> {
    const server = await options.start();
    options.onStart?.(server.url);
    return new MortalServer(options, server);
  }

  get server(): ServerChild {
    return this.#server;
  }

  get restarts(): number {
    return this.#restarts;
  }

  /** Requests whose answer a kill took away. */
  get unanswered(): number {
    return this.#unanswered;
  }

  async ask<T>(request: Request<T>): Promise<T> {
    for (let repeated = false; ; repeated = true) {
      await this.#restarting;
      const server = this.#server;
      try {
        return await request(this.#client, repeated);
      } catch (error) {
        if (error instanceof RefusedError) throw error;
        if (!repeated) this.#unanswered++;
        await this.#restartAfter(server, error);
      }
    }
  }

  /** False when the present server is about to die already: answers that were on their way come in after its death too. */
  killSoon(delayMs: number): boolean {
    if (this.#doomed === this.#server) return false;
    const server = this.#server;
    this.#doomed = server;
    this.#killing = sleep(delayMs).then(() => server.kill("SIGKILL"));
    return true;
  }

  /** Kills it now, or sees through a kill that nobody's request has noticed yet, and starts its successor. */
  async replace(): Promise<void> {
    if (this.#doomed === this.#server) await this.#killing;
    else this.#server.kill("SIGKILL");
    await this.#restartAfter(this.#server, undefined);
  }

  /** True when a kill is still to be noticed. */
  get isDoomed(): boolean {
    return this.#doomed === this.#server;
  }

  /** The first request that notices brings the server back; the others wait for it. */
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
    this.#options.onStart?.(this.#server.url);
  }
}
