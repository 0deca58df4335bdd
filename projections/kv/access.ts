/**
 * How recently and how often each slot was used, for eviction by sample. Kept beside the table since it is another kind of
 * thing: local, forgotten at a restart, no part of the state's digest.
 */
import { uint32Column } from "./column.js";

/** A frequency is halved for each whole period in which its key was not touched. */
const PERIOD_MS = 480_000;
const COUNT_MAX = 0xffff;

export class AccessRecord {
  /** By slot: the number of the access, modulo 2^32. */
  readonly #recency = uint32Column();
  /** By slot: period of the last access (high 16 bits) and how often it was used (low 16 bits). */
  readonly #frequency = uint32Column();
  #tick = 0;
  #period = 0;

  touch(slot: number, now: number): void {
    this.#period = Math.floor(now / PERIOD_MS) & 0xffff;
    this.#tick = (this.#tick + 1) >>> 0;
    this.#recency.set(slot, this.#tick);
    const count = Math.min(COUNT_MAX, this.uses(slot) + 1);
    this.#frequency.set(slot, ((this.#period << 16) | count) >>> 0);
  }

  /** A slot begins a new key's life: nothing of the one before is left. */
  begin(slot: number, now: number): void {
    this.#frequency.set(slot, 0);
    this.touch(slot, now);
  }

  /** Accesses of other keys since this one's last. */
  idleFor(slot: number): number {
    return (this.#tick - this.#recency.get(slot)) >>> 0;
  }

  /** How often the slot was used, older uses counting less. */
  uses(slot: number): number {
    const packed = this.#frequency.get(slot);
    const periods = (this.#period - (packed >>> 16)) & 0xffff;
    return (packed & COUNT_MAX) >>> Math.min(periods, 16);
  }
}
