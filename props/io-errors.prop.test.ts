/**
 * Promise: whichever operation of the disk fails, once or from then on, with EIO or for want of space –
 *
 *   1. nothing that was answered is lost (always mode; in the others: nothing that was durable), and nothing that was not
 *      appended appears, once the disk is healed
 *   2. after a failed write or sync of the log's data that log acknowledges nothing any more
 *   3. every failure is a coded error or the system's own, never a bug's; the log opens again by itself
 *
 * The n-th operation fails, for n = 1, 2, 3, … until a run meets no failure.
 */
import { describe, expect, test } from "vitest";
import { type EventLog, type FsyncMode, LogError } from "../log/index.js";
import { PromiseBroken } from "./checkers/promise-broken.js";
import { factor, seed } from "./run-settings.js";
import { type Chronicle, emptyChronicle, LogLives, type Step } from "./world/log-lives.js";
import { type OperationKind, TAKING_SPACE } from "./world/operations.js";
import { SimulatedDisk, type SimulatedMount } from "./world/simulated-file-system.js";
import { unlessStalled } from "./world/stalled.js";
import { type Errno, SystemError } from "./world/system-error.js";

const SCRIPT: readonly Step[] = [
  { type: "append", count: 3, size: 100, awaited: true },
  { type: "append", count: 2, size: 1700, awaited: true },
  { type: "append", count: 4, size: 900, awaited: false },
  { type: "idle", turns: 30 },
  { type: "read" },
  { type: "append", count: 1, size: 6000, awaited: true },
  { type: "rest" },
  { type: "append", count: 2, size: 50, awaited: true },
  { type: "rest" },
  { type: "append", count: 2, size: 50, awaited: true },
  { type: "rest" },
  { type: "append", count: 1, size: 50, awaited: true },
  { type: "startEpoch" },
  { type: "retain", back: 2 },
  { type: "append", count: 2, size: 500, awaited: true },
  { type: "truncate", back: 1 },
  { type: "append", count: 3, size: 10, awaited: true },
];

const DATA_OPERATIONS: ReadonlySet<OperationKind> = new Set(["syncedWrite", "writeNow"]);

interface Case {
  readonly fsyncMode: FsyncMode;
  readonly errno: Errno;
  readonly sticky: boolean;
  readonly at: number;
  /** How the process ends afterwards. */
  readonly ending: "power" | "kill";
}

function assertCoded(error: unknown): void {
  if (!(error instanceof LogError) && !(error instanceof SystemError)) throw error;
}

class FailingRun {
  readonly disk: SimulatedDisk;
  readonly lives: LogLives;
  readonly #case: Case;
  /** Offsets at the moment when a write or sync of records failed: none after them may be acknowledged. */
  #failedAfter: number | undefined;

  constructor(one: Case, chronicle: Chronicle) {
    this.#case = one;
    this.disk = new SimulatedDisk(seed + one.at);
    this.lives = new LogLives(this.disk, one.fsyncMode, chronicle);
  }

  /** True if the failure was met. */
  async run(): Promise<boolean> {
    const { disk, lives } = this;
    await lives.live({ steps: SCRIPT.slice(0, 3), ending: "close" });
    const { errno, sticky, at, ending } = this.#case;
    disk.arm({ type: "fail", at, errno, sticky, ...(errno === "ENOSPC" ? { kinds: TAKING_SPACE } : {}) });
    const files = disk.mount();
    await this.#live(files);
    disk.disarm();
    if (ending === "power") disk.losePower();
    else disk.kill();
    // What was not synced when the disk failed is the disk's to lose, whoever ends the process.
    lives.ended(this.#case.fsyncMode === "always" ? ending : "power");
    await lives.live({ steps: SCRIPT.slice(0, 2), ending: "close" });
    await lives.live({ steps: [], ending: "power" });
    return disk.counts.failures > 0;
  }

  async #live(files: SimulatedMount): Promise<void> {
    const { disk, lives } = this;
    let log: EventLog | "stalled";
    try {
      log = await unlessStalled(disk, lives.open(files));
    } catch (error) {
      assertCoded(error);
      return;
    }
    if (log === "stalled") return;
    const opened = log;
    disk.operations.onFailure = (kind, path) => {
      if (!DATA_OPERATIONS.has(kind) && !(kind === "sync" && /\/log\/\d+\.log/.test(path))) return;
      if (this.#case.errno === "EIO") this.#failedAfter ??= opened.endOffset;
    };
    for (const step of SCRIPT) {
      try {
        const done = lives.step(opened, files, step);
        // A rest is for timers: it is quiet, and it ends.
        await (step.type === "rest" ? done : unlessStalled(disk, done));
      } catch (error) {
        assertCoded(error);
      }
      this.#checkSilence(opened);
    }
    await unlessStalled(disk, opened.close().catch(assertCoded));
    this.#checkSilence(opened);
  }

  #checkSilence(log: EventLog): void {
    if (this.#failedAfter !== undefined && this.lives.answeredOffset > this.#failedAfter)
      throw new PromiseBroken(
        "failed for good",
        `offset ${this.lives.answeredOffset} was acknowledged after a write or sync had failed at end ${this.#failedAfter} (log: ${log.committedOffset})`,
      );
  }
}

describe("io errors", () => {
  for (const fsyncMode of ["always", "periodic", "never"] as const)
    for (const errno of ["EIO", "ENOSPC"] as const)
      for (const sticky of [false, true])
        test(`${fsyncMode}: the n-th operation fails with ${errno} ${sticky ? "for good" : "once"}`, async () => {
          const chronicle = emptyChronicle();
          // The short form looks at every fifth n in `always` and at every seventh one in the other modes; which ones, the seed says.
          const stride = factor > 1 ? 1 : fsyncMode === "always" ? 5 : 7;
          let met = 0;
          for (let round = 0; round < Math.ceil(factor / 2); round += 1)
            for (let at = 1 + (seed % stride); ; at += stride) {
              const ending = (Math.floor(at / stride) + round) % 2 === 0 ? "power" : "kill";
              const one: Case = { fsyncMode, errno, sticky, at, ending };
              const run = new FailingRun(one, chronicle);
              try {
                if (!(await run.run())) break;
              } catch (error) {
                throw run.disk.withTrace(error, JSON.stringify(one));
              }
              met += 1;
            }
          expect(met, "runs in which the failure was met").toBeGreaterThan(60 / stride);
          expect(chronicle.answered).toBeGreaterThan(100);
          expect(chronicle.refused).toBeGreaterThan(0);
        });
});
