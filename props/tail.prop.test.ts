/**
 * Promise: a tail has no gap, no repeat, and is in order. While records are appended in bursts, segments roll and retention
 * removes the oldest, any number of followers, each from its own start and at its own pace, see:
 *
 *   1. every offset from their start on, each one once, in order
 *   2. the record that was appended at that offset
 *   3. nothing beyond the durable offset
 *   4. at the end of the log, everything; unless retention overtook them, of which they are told by LOG_OFFSET_RETIRED
 *
 * and hold one batch at most: what they have not asked for is not read.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  EPOCH_STARTED,
  type EventLog,
  type FsyncMode,
  LogError,
  type LogRecord,
  offset,
  openLog,
} from "../log/index.js";
import { logOptions } from "../test/support/test-log.js";
import { runs, seededRandom } from "./run-settings.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";

interface Plan {
  readonly seed: number;
  readonly mode: FsyncMode;
  readonly syncTurnsMax: number;
  /** Sizes of the records of each burst. */
  readonly bursts: readonly (readonly number[])[];
  readonly followers: readonly {
    readonly startShare: number;
    readonly pauseMax: number;
    readonly observes: boolean;
  }[];
  /** After which bursts retention runs, and how much of the log it takes. */
  readonly retentions: readonly { readonly after: number; readonly share: number }[];
}

const plan: fc.Arbitrary<Plan> = fc.record({
  seed: fc.nat(),
  mode: fc.constantFrom<FsyncMode>("always", "periodic", "never"),
  syncTurnsMax: fc.nat(4),
  bursts: fc.array(fc.array(fc.nat(900), { maxLength: 25 }), { minLength: 5, maxLength: 14 }),
  followers: fc.array(
    fc.record({
      startShare: fc.oneof(fc.constant(0), fc.nat(100), fc.constant(100)),
      pauseMax: fc.oneof(fc.nat(4), fc.integer({ min: 100, max: 300 })),
      observes: fc.boolean(),
    }),
    {
      minLength: 1,
      maxLength: 4,
    },
  ),
  retentions: fc.array(fc.record({ after: fc.nat(8), share: fc.integer({ min: 60, max: 100 }) }), {
    maxLength: 2,
  }),
});

const met = { rolls: 0, overtaken: 0, live: 0, caughtUpFromDisk: 0, waited: 0 };

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

/** What a follower saw, checked while it is seen. */
class Witness {
  readonly start: number;
  readonly #log: EventLog;
  readonly #bodies: readonly string[];
  next: number;

  constructor(log: EventLog, bodies: readonly string[], start: number) {
    this.#log = log;
    this.#bodies = bodies;
    this.start = start;
    this.next = start;
  }

  see(record: LogRecord): void {
    expect(record.offset).toBe(this.next);
    expect(record.offset).toBeLessThanOrEqual(this.#log.durableOffset);
    if (record.kind !== EPOCH_STARTED)
      expect(Buffer.from(record.body).toString()).toBe(this.#bodies[record.offset - 2]);
    this.next += 1;
  }
}

type End = "complete" | "overtaken";

async function follow(log: EventLog, witness: Witness, pause: () => number): Promise<End> {
  try {
    for await (const batch of log.follow(offset(witness.start))) {
      if (batch.length > 0 && witness.next < log.endOffset) met.caughtUpFromDisk += 1;
      for (const record of batch) witness.see(record);
      await turns(pause());
      if (witness.next > log.durableOffset) met.waited += 1;
    }
    return "complete";
  } catch (error) {
    if (error instanceof LogError && error.code === "LOG_OFFSET_RETIRED") return "overtaken";
    throw error;
  }
}

function observe(log: EventLog, witness: Witness): Promise<End> {
  return new Promise((resolve, reject) => {
    log.tail(offset(witness.start)).subscribe({
      next: (record) => {
        try {
          witness.see(record);
        } catch (error) {
          reject(error);
        }
      },
      error: (error) =>
        error instanceof LogError && error.code === "LOG_OFFSET_RETIRED"
          ? resolve("overtaken")
          : reject(error),
      complete: () => resolve("complete"),
    });
  });
}

async function run({ seed, mode, syncTurnsMax, bursts, followers, retentions }: Plan): Promise<void> {
  const random = seededRandom(seed);
  const disk = new SimulatedDisk(seed, { syncTurnsMax });
  const options = logOptions("/disk", { files: disk.mount(), fsyncMode: mode, fsyncIntervalMs: 1 });
  const { log, usage } = await openLog(options);
  const bodies: string[] = [];
  const ends: { witness: Witness; end: Promise<End> }[] = [];
  for (const [i, burst] of bursts.entries()) {
    for (const [at, follower] of followers.entries()) {
      if (at % bursts.length !== i) continue;
      const span = log.endOffset - log.firstOffset + 1;
      const start = log.firstOffset + Math.floor((span * follower.startShare) / 100);
      const witness = new Witness(log, bodies, start);
      if (start > log.endOffset) met.live += 1;
      const pause = (): number => Math.floor(random() * (follower.pauseMax + 1));
      const end = follower.observes ? observe(log, witness) : follow(log, witness, pause);
      end.catch(() => undefined);
      ends.push({ witness, end });
    }
    for (const size of burst) {
      const body = `${bodies.length + 2} `.padEnd(size, "y");
      log.append({ kind: 2, version: 1, timestamp: 5, body: Buffer.from(body) });
      bodies.push(body);
    }
    if (random() < 0.6) await log.whenCommitted(log.endOffset);
    else await turns(Math.floor(random() * 5));
    for (const { after, share } of retentions)
      if (after === i) await log.retain(offset(Math.ceil((log.durableOffset * share) / 100)));
  }
  await finish(log, mode, ends);
  met.rolls += usage().segments - 1;
}

async function finish(
  log: EventLog,
  mode: FsyncMode,
  ends: readonly { witness: Witness; end: Promise<End> }[],
): Promise<void> {
  await log.whenCommitted(log.endOffset);
  // In never only a roll syncs; an epoch is one.
  if (mode === "never") await log.startEpoch();
  const last = log.endOffset;
  const overtaken = new Set<Witness>();
  for (const { witness, end } of ends)
    void end.then(
      (how) => (how === "overtaken" ? overtaken.add(witness) : undefined),
      () => overtaken.add(witness),
    );
  const everyoneThere = (): boolean =>
    ends.every(({ witness }) => overtaken.has(witness) || witness.next > last);
  for (let i = 0; i < 5_000 && !everyoneThere(); i++) await turns(1);
  await log.close();
  for (const { witness, end } of ends) {
    if ((await end) === "overtaken") met.overtaken += 1;
    else expect(witness.next, `follower from ${witness.start}`).toBe(last + 1);
  }
}

describe("tail", () => {
  it("has no gap, no repeat and the order of the log, beside appends, rolls and retention", async () => {
    await fc.assert(fc.asyncProperty(plan, run), runs(110));

    for (const [what, count] of Object.entries(met))
      expect(count, `the runs met no ${what}`).toBeGreaterThan(0);
  });
});
