/**
 * The time of a simulated world. It stands still while anybody has something to do, most of the time: when all is quiet the next timer
 * fires, and sometimes one fires while disks are busy, so that whatever may happen during a write does. Timers fire in the order in
 * which they are due. With the seed of the world everything happens again in the same order.
 *
 * A world that never comes to rest is a finding, not a reason to wait: it ends with `Restless`, which says what it was at.
 */
import { setImmediate } from "node:timers";
import type { Random } from "./fate.js";

interface Timer {
  readonly at: number;
  readonly order: number;
  readonly run: () => void;
}

export interface VirtualTimeOptions {
  readonly random: Random;
  /** Whether an operation of a disk is under way. */
  readonly isBusy: () => boolean;
  /** Told before the timers of the new moment run: moves whatever other clocks there are. */
  readonly moved?: (ms: number) => void;
  /** Default: many times what the longest worlds take that are sound. */
  readonly bounds?: WorldBounds;
}

export interface WorldBounds {
  readonly turns: number;
  readonly turnsAtOneMoment: number;
  readonly ms: number;
}

/** So many turns without work on a disk: nothing goes on any more but what waits for time. */
const QUIET_TURNS = 4;
/** How often, per turn, time goes on although something is being done. */
const RUSH = 0.15;

const BOUNDS: WorldBounds = { turns: 2_000_000, turnsAtOneMoment: 100_000, ms: 4 * 3_600_000 };

export class Restless extends Error {
  constructor(what: string) {
    super(`the world does not come to rest: ${what}`);
    this.name = "Restless";
  }
}

export class VirtualTime {
  readonly #options: VirtualTimeOptions;
  #ms = 0;
  #turns = 0;
  /** The turn in which time moved last. */
  #movedIn = 0;
  #order = 0;
  /** By time, then by order. */
  readonly #timers: Timer[] = [];
  #quiet = 0;

  constructor(options: VirtualTimeOptions) {
    this.#options = options;
  }

  /** Ms since the world began. */
  get ms(): number {
    return this.#ms;
  }

  /** Turns of the event loop that the world has taken. */
  get turns(): number {
    return this.#turns;
  }

  /** Time moves in whole ms, so that no clock that follows it has to carry a rest into the next world. */
  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#ms + Math.max(0, Math.round(ms)), order: this.#order++, run };
    const timers = this.#timers;
    let low = 0;
    let high = timers.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((timers[middle]?.at ?? 0) <= timer.at) low = middle + 1;
      else high = middle;
    }
    timers.splice(low, 0, timer);
    return () => {
      const place = timers.indexOf(timer);
      if (place >= 0) timers.splice(place, 1);
    };
  }

  /** Lets the world go on until `holds`, for so long at most. Whether it holds. */
  async until(holds: () => boolean, msMax: number): Promise<boolean> {
    const end = this.#ms + Math.round(msMax);
    while (!holds()) {
      await new Promise<void>((resolve) => void setImmediate(resolve));
      this.#turn();
      this.#quiet = this.#options.isBusy() ? 0 : this.#quiet + 1;
      if (holds()) break;
      const isQuiet = this.#quiet >= QUIET_TURNS;
      if (!isQuiet && this.#options.random() >= RUSH) continue;
      const next = this.#timers[0];
      if (next !== undefined && next.at <= end) this.#fire(next);
      else if (isQuiet) {
        this.#moveTo(end);
        break;
      }
    }
    return holds();
  }

  /** Lets so much time pass. */
  async pass(ms: number): Promise<void> {
    await this.until(() => false, ms);
  }

  /** Lets the world go on until the promise settles. Undefined: it did not in time. */
  async settled<Value>(
    promise: Promise<Value>,
    msMax: number,
  ): Promise<{ readonly value: Value } | undefined> {
    let outcome: { readonly value: Value } | undefined;
    let failure: { readonly error: unknown } | undefined;
    promise.then(
      (value) => {
        outcome = { value };
      },
      (error: unknown) => {
        failure = { error };
      },
    );
    await this.until(() => outcome !== undefined || failure !== undefined, msMax);
    if (failure !== undefined) throw failure.error;
    return outcome;
  }

  #turn(): void {
    this.#turns += 1;
    const still = this.#turns - this.#movedIn;
    const { turns, turnsAtOneMoment, ms } = this.#options.bounds ?? BOUNDS;
    if (still <= turnsAtOneMoment && this.#turns <= turns && this.#ms <= ms) return;
    const next = this.#timers[0]?.at ?? "nothing";
    throw new Restless(
      `turn ${this.#turns}, ${still} of them at ${this.#ms} ms; ${this.#timers.length} timers wait, the next for ${next}`,
    );
  }

  #fire(timer: Timer): void {
    this.#timers.shift();
    this.#moveTo(timer.at);
    // What it begins goes on for some turns before a disk has anything to do.
    this.#quiet = 0;
    timer.run();
  }

  #moveTo(at: number): void {
    if (at <= this.#ms) return;
    const ms = at - this.#ms;
    this.#ms = at;
    this.#movedIn = this.#turns;
    this.#options.moved?.(ms);
  }
}
