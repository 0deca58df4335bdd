/**
 * Holds a primary's writes while a replica gets everything, so that it can take over without a record lost. Bounded: when the time is over
 * and nobody has taken over, writes go on.
 */
import type { EventLog, Offset } from "../log/index.js";
import type { LocalNode } from "./local-node.js";
import type { Clock } from "./ports.js";
import type { ReplicaSet } from "./replica-set.js";

export interface HandoverOptions {
  readonly clock: Clock;
  readonly local: LocalNode;
  readonly set: ReplicaSet;
  /** Whatever writes by itself stops, and begins again. */
  readonly hold: () => Promise<void>;
  readonly goOn: () => void;
}

export class Handover {
  readonly #options: HandoverOptions;
  #running: { readonly to: string; readonly cancel: () => void } | undefined;

  constructor(options: HandoverOptions) {
    this.#options = options;
  }

  /** The node that writes are held for. */
  get to(): string | undefined {
    return this.#running?.to;
  }

  /** Resolves with the end that the replica holds durably. From the call on no write is taken. */
  async begin(to: string, log: EventLog, timeoutMs: number): Promise<Offset> {
    const { clock, set, hold } = this.#options;
    const until = clock.stopwatch() + timeoutMs;
    const running = { to, cancel: clock.after(timeoutMs, () => this.end()) };
    this.#running = running;
    try {
      await hold();
      const end = log.endOffset;
      await log.whenCommitted(end);
      await set.holds(to, end, Math.max(0, until - clock.stopwatch()));
      return end;
    } catch (error) {
      if (this.#running === running) this.end();
      throw error;
    }
  }

  /** Takes writes again, if this node still may. */
  end(): void {
    const { local, goOn } = this.#options;
    if (!this.#let()) return;
    if (local.leads && !local.isFenced) goOn();
  }

  /** The role changes: there is nothing left to hold. */
  forget(): void {
    this.#let();
  }

  #let(): boolean {
    const running = this.#running;
    running?.cancel();
    this.#running = undefined;
    return running !== undefined;
  }
}
