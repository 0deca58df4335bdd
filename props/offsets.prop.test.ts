/**
 * Promise: offsets are dense. Whatever happens to the log – appends of any size, rolls, new epochs, cuts, retention, clean
 * restarts, kills – these hold:
 *
 *   1. an append gets exactly the end offset + 1
 *   2. the log reads as first, first + 1, … end, from any offset
 *   3. each record is the one that was appended at that offset, and timestamps and epochs never shrink
 *   4. after a clean restart the log ends where it ended; after a kill it is a prefix that holds all that was committed
 *   5. the epoch table names exactly the offsets at which epochs began
 *
 * The model is a list of bodies.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { EPOCH_STARTED, type EventLog, type FsyncMode, offset, openLog } from "../log/index.js";
import { logOptions, readAll, span } from "../test/support/test-log.js";
import { runs } from "./run-settings.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";

type Step =
  | { readonly type: "append"; readonly sizes: readonly number[]; readonly waits: boolean }
  | { readonly type: "epoch" }
  | { readonly type: "cut"; readonly back: number }
  | { readonly type: "retain"; readonly share: number }
  | { readonly type: "restart" }
  | { readonly type: "kill" }
  | { readonly type: "read"; readonly share: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      type: fc.constant("append" as const),
      sizes: fc.array(fc.oneof(fc.nat(300), fc.integer({ min: 2_000, max: 9_000 })), { maxLength: 30 }),
      waits: fc.boolean(),
    }),
  },
  { weight: 1, arbitrary: fc.constant({ type: "epoch" as const }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("cut" as const), back: fc.nat(60) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("retain" as const), share: fc.nat(100) }) },
  { weight: 2, arbitrary: fc.constant({ type: "restart" as const }) },
  { weight: 2, arbitrary: fc.constant({ type: "kill" as const }) },
  { weight: 2, arbitrary: fc.record({ type: fc.constant("read" as const), share: fc.nat(100) }) },
);

const seen = { rolls: 0, cuts: 0, retired: 0, epochs: 0, restarts: 0, kills: 0, shorter: 0 };

class Run {
  readonly disk: SimulatedDisk;
  readonly mode: FsyncMode;
  /** Body of each record, by offset - 1; a number is an epoch's first record. */
  bodies: (string | number)[] = [];
  log!: EventLog;
  segments: () => number = () => 0;
  #made = 0;

  constructor(seed: number, mode: FsyncMode) {
    this.disk = new SimulatedDisk(seed);
    this.mode = mode;
  }

  async open(): Promise<void> {
    const files = this.disk.mount();
    const options = logOptions("/disk", { files, fsyncMode: this.mode, fsyncIntervalMs: 1 });
    const opened = await openLog(options);
    this.log = opened.log;
    this.segments = () => opened.usage().segments;
    if (opened.recovery.created) this.bodies = [1];
  }

  async take(next: Step): Promise<void> {
    const { log, bodies } = this;
    switch (next.type) {
      case "append":
        for (const size of next.sizes) this.#append(size);
        if (next.waits) await log.whenCommitted(log.endOffset);
        return;
      case "epoch": {
        const entry = await log.startEpoch();
        bodies.push(entry.epoch);
        seen.epochs += 1;
        return;
      }
      case "cut": {
        await log.whenCommitted(log.endOffset);
        const last = Math.max(log.firstOffset, log.endOffset - next.back);
        await log.truncate(offset(last));
        bodies.length = last;
        seen.cuts += 1;
        return;
      }
      case "retain": {
        const before = log.firstOffset;
        const needed = Math.ceil((log.endOffset * next.share) / 100);
        const first = await log.retain(offset(needed));
        expect(first).toBeLessThanOrEqual(Math.max(needed, before));
        seen.retired += first - before;
        return;
      }
      case "restart":
        await log.close();
        await this.open();
        expect(this.log.endOffset).toBe(bodies.length);
        seen.restarts += 1;
        return;
      case "kill":
        await this.#kill();
        return;
      case "read": {
        await log.whenCommitted(log.endOffset);
        const from = Math.max(log.firstOffset, Math.ceil((log.endOffset * next.share) / 100));
        await this.#check(from);
        return;
      }
    }
  }

  #append(size: number): void {
    const { log, bodies } = this;
    this.#made += 1;
    const body = `${this.#made} `.padEnd(size, "x");
    const given = log.append({ kind: 2, version: 1, timestamp: 1_000 + this.#made, body: Buffer.from(body) });
    bodies.push(body);
    expect(given).toBe(bodies.length);
    expect(log.endOffset).toBe(given);
  }

  /** As kill -9: the page cache stays, so what was committed is there in every mode. */
  async #kill(): Promise<void> {
    const committed = this.log.committedOffset;
    this.disk.kill();
    await this.open();
    const end = this.log.endOffset;
    expect(end).toBeGreaterThanOrEqual(committed);
    expect(end).toBeLessThanOrEqual(this.bodies.length);
    if (end < this.bodies.length) seen.shorter += 1;
    this.bodies.length = end;
    seen.kills += 1;
  }

  async #check(from: number): Promise<void> {
    const records = await readAll(this.log, offset(from));
    expect(records.map((record) => record.offset as number)).toEqual(span(from, this.bodies.length));
    let [timestamp, epoch] = [0, 0];
    for (const record of records) {
      const expected = this.bodies[record.offset - 1];
      if (record.kind === EPOCH_STARTED) expect(record.epoch).toBe(expected);
      else expect(Buffer.from(record.body).toString()).toBe(expected);
      expect(record.timestamp).toBeGreaterThanOrEqual(timestamp);
      expect(record.epoch).toBeGreaterThanOrEqual(epoch);
      [timestamp, epoch] = [record.timestamp, record.epoch];
    }
  }

  async finish(): Promise<void> {
    await this.log.whenCommitted(this.log.endOffset);
    await this.#check(this.log.firstOffset);
    const begun = this.bodies.flatMap((body, i) => (typeof body === "number" ? [i + 1] : []));
    const { firstOffset, epochs } = this.log;
    const known = epochs.map(({ first }) => first as number).filter((first) => first >= firstOffset);
    expect(known).toEqual(begun.filter((first) => first >= firstOffset));
    seen.rolls += this.segments() - 1;
    await this.log.close();
  }
}

describe("offsets", () => {
  it("are dense across rolls, epochs, cuts, retention, restarts and kills", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.nat(),
        fc.constantFrom<FsyncMode>("always", "periodic", "never"),
        fc.array(step, { minLength: 5, maxLength: 25 }),
        async (seed, mode, steps) => {
          const run = new Run(seed, mode);
          await run.open();
          for (const next of steps) await run.take(next);
          await run.finish();
        },
      ),
      runs(80),
    );
    for (const [what, count] of Object.entries(seen))
      expect(count, `the runs saw no ${what}`).toBeGreaterThan(0);
  });
});
