/**
 * Live readers of streams: how many there may be, and what one of them waits for: its stream, its time, its client, the end
 * of the server. Nothing is buffered for a reader; a ring says "read again from where you are".
 */
import type { ServerResponse } from "node:http";
import type { Store } from "../../projections/index.js";
import { onDeparture } from "../departures.js";

/** Why a reader's time is over. */
export type Over = "time" | "drain" | "gone";

/** How a reader is served. */
export type LiveKind = "poll" | "events";

/** Every live reader of this server. */
export class LiveReaders {
  readonly #ends = new Map<() => void, LiveKind>();
  readonly #counts: Record<LiveKind, number> = { poll: 0, events: 0 };

  get count(): number {
    return this.#ends.size;
  }

  countOf(kind: LiveKind): number {
    return this.#counts[kind];
  }

  add(kind: LiveKind, end: () => void): () => void {
    this.#ends.set(end, kind);
    this.#counts[kind]++;
    return () => {
      if (this.#ends.delete(end)) this.#counts[kind]--;
    };
  }

  /** The server is going down: whoever waits is answered with what there is. */
  endAll(): void {
    for (const end of [...this.#ends.keys()]) end();
  }
}

export interface WaitParts {
  readonly readers: LiveReaders;
  readonly kind: LiveKind;
  readonly wakes: Store["wakes"];
  readonly topic: string;
  readonly timeoutMs: number;
  readonly response: ServerResponse;
}

/** Begins to listen at once, so that nothing is missed between a read that finds nothing and the wait after it. */
export class LiveWait {
  readonly #undo: (() => void)[];
  #rung = false;
  #over: Over | undefined;
  #onRing: (() => void) | undefined;
  #onOver: (() => void) | undefined;

  constructor({ readers, kind, wakes, topic, timeoutMs, response }: WaitParts) {
    const timer = setTimeout(() => this.#end("time"), timeoutMs);
    const gone = (): void => this.#end("gone");
    response.once("close", gone);
    const stay = onDeparture(response.req.socket, gone);
    this.#undo = [
      wakes.on(topic, () => this.#ring()),
      readers.add(kind, () => this.#end("drain")),
      () => clearTimeout(timer),
      () => response.removeListener("close", gone),
      stay,
    ];
  }

  get over(): Over | undefined {
    return this.#over;
  }

  /** Resolves when the topic has rung since the last call, or the time is over. */
  async ring(): Promise<void> {
    await this.#until((resolve) => {
      this.#onRing = resolve;
      if (this.#rung) resolve();
    });
    this.#onRing = undefined;
    this.#rung = false;
  }

  /** Resolves when the client has taken what was written, or the time is over. */
  async drained(response: ServerResponse): Promise<void> {
    let taken = (): void => undefined;
    await this.#until((resolve) => {
      taken = resolve;
      response.once("drain", taken);
    });
    response.removeListener("drain", taken);
  }

  close(): void {
    for (const undo of this.#undo) undo();
  }

  async #until(wait: (resolve: () => void) => void): Promise<void> {
    if (this.#over !== undefined) return;
    await new Promise<void>((resolve) => {
      this.#onOver = resolve;
      wait(resolve);
    });
    this.#onOver = undefined;
  }

  #ring(): void {
    this.#rung = true;
    this.#onRing?.();
  }

  #end(why: Over): void {
    if (this.#over !== undefined) return;
    this.#over = why;
    this.#onOver?.();
  }
}
