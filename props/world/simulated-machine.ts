/**
 * A machine that runs one process at a time: it may be paused, be killed, lose power. What was meant for a process that is gone never
 * runs; what falls into a pause runs when it is over, in order.
 */
import type { Clock } from "../../replication/ports.js";
import type { Random } from "./fate.js";
import type { VirtualTime } from "./virtual-time.js";

const START_MS = Date.UTC(2026, 0, 1);
/** Clocks of machines differ. */
const SKEW_MS_MAX = 4000;

export type MachineState = "running" | "paused" | "stopped" | "off";

export class SimulatedMachine {
  readonly name: string;
  readonly #time: VirtualTime;
  readonly #random: Random;
  #skewMs: number;
  #state: MachineState = "off";
  #process = 0;
  #deferred: { readonly process: number; readonly run: () => void }[] = [];

  constructor(name: string, time: VirtualTime, random: Random) {
    this.name = name;
    this.#time = time;
    this.#random = random;
    this.#skewMs = Math.floor((random() - 0.5) * 2 * SKEW_MS_MAX);
  }

  get state(): MachineState {
    return this.#state;
  }

  /** The number of the process that runs, or ran last. */
  get process(): number {
    return this.#process;
  }

  lives(process: number): boolean {
    return process === this.#process && (this.#state === "running" || this.#state === "paused");
  }

  boot(): number {
    this.#state = "running";
    this.#process += 1;
    this.#deferred = [];
    return this.#process;
  }

  /** The process ends: by a kill, or with the machine's power. */
  end(state: "stopped" | "off"): void {
    this.#state = state;
    this.#deferred = [];
  }

  pause(): void {
    if (this.#state === "running") this.#state = "paused";
  }

  /** @param takeWhatCame what had come over the network meanwhile is acted upon, before the timers that were due or after them */
  resume(takeWhatCame: () => void): void {
    if (this.#state !== "paused") return;
    this.#state = "running";
    const deferred = this.#deferred;
    this.#deferred = [];
    const runDeferred = (): void => {
      for (const { process, run } of deferred) this.run(process, run);
    };
    const isNetworkFirst = this.#random() < 0.5;
    if (isNetworkFirst) takeWhatCame();
    runDeferred();
    if (!isNetworkFirst) takeWhatCame();
  }

  run(process: number, run: () => void): void {
    if (!this.lives(process)) return;
    if (this.#state === "paused") this.#deferred.push({ process, run });
    else run();
  }

  /** Somebody sets the wall clock: forward, or back. Nothing that is measured jumps with it. */
  setClock(byMs: number): void {
    this.#skewMs += Math.round(byMs);
  }

  /** By which the wall clock is wrong. */
  get skewMs(): number {
    return this.#skewMs;
  }

  /** The clock of one process. */
  clockOf(process: number): Clock {
    return {
      now: () => START_MS + this.#skewMs + Math.floor(this.#time.ms),
      stopwatch: () => this.#time.ms,
      after: (ms, run) => {
        let isCancelled = false;
        // A timer that is due while its process is paused can still be cancelled before it runs.
        const fire = (): void => {
          if (!isCancelled) run();
        };
        const cancel = this.#time.after(ms, () => this.run(process, fire));
        return () => {
          isCancelled = true;
          cancel();
        };
      },
    };
  }
}
