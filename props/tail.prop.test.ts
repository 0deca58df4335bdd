/**
 * Promise: a tail has no gap, no repeat, and is in order. While records are appended in bursts, segments roll, retention
 * removes the oldest and the newest are cut off, any number of followers, each from its own start and at its own pace, see:
 *
 *   1. every offset from their start on, each one once, in order
 *   2. the record that was appended at that offset
 *   3. nothing beyond the durable offset
 *   4. at the end of the log, everything; unless retention overtook them, or what they have seen was cut off, of which they are told by
 *      LOG_OFFSET_RETIRED
 *
 * and hold one batch at most: what they have not asked for is not read. A read of a range gives it whole, as it was when the read began, or is told
 * so, too. None takes what is being cut off for damage.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  EPOCH_STARTED,
  type EventLog,
  type FsyncMode,
  LogError,
  type LogRecord,
  type Offset,
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
    readonly as: "batches" | "records" | "runs" | "range";
  }[];
  /** After which bursts retention runs, and how much of the log it takes. */
  readonly retentions: readonly { readonly after: number; readonly share: number }[];
  /** After which bursts the end is cut off, and how much of the log is left. */
  readonly cuts: readonly { readonly after: number; readonly share: number }[];
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
      as: fc.constantFrom("batches", "records", "runs", "range"),
    }),
    {
      minLength: 1,
      maxLength: 4,
    },
  ),
  retentions: fc.array(fc.record({ after: fc.nat(8), share: fc.integer({ min: 60, max: 100 }) }), {
    maxLength: 2,
  }),
  cuts: fc.array(fc.record({ after: fc.nat(8), share: fc.integer({ min: 20, max: 100 }) }), {
    maxLength: 2,
  }),
});

const met = { rolls: 0, overtaken: 0, live: 0, caughtUpFromDisk: 0, waited: 0, cutOff: 0, ranges: 0 };

const turns = async (count: number): Promise<void> => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

/** What a reader saw, checked while it is seen. */
class Witness {
  readonly start: number;
  readonly #log: EventLog;
  /** The highest durable offset since the last cut, as nobody is told later than the reader. */
  #durable: number;
  readonly #bodies: readonly string[];
  readonly #last: number;
  next: number;
  /** What it has seen, or is still to see, was cut off. */
  isLost = false;

  /** @param last of a range: what it ends with; a follower goes on */
  constructor(log: EventLog, bodies: readonly string[], start: number, last = Number.POSITIVE_INFINITY) {
    this.#log = log;
    this.#durable = log.durableOffset;
    log.moved.subscribe(() => {
      this.#durable = Math.max(this.#durable, log.durableOffset);
    });
    this.#bodies = bodies;
    this.start = start;
    this.next = start;
    this.#last = last;
  }

  get #follows(): boolean {
    return this.#last === Number.POSITIVE_INFINITY;
  }

  get isThere(): boolean {
    return this.next > Math.min(this.#last, this.#log.endOffset);
  }

  /** What it was given, or is still to be given, goes so far. */
  get reaches(): number {
    return this.#follows ? this.next - 1 : this.#last;
  }

  cutAfter(last: number): void {
    this.#durable = last;
    if (this.reaches > last && (this.#follows || !this.isThere)) this.isLost = true;
  }

  see({ offset: seen }: Pick<LogRecord, "offset">): void {
    expect(this.isLost, `the reader from ${this.start} was to be told of the cut`).toBe(false);
    expect(seen).toBe(this.next);
    if (this.#follows) expect(seen).toBeLessThanOrEqual(this.#durable);
    this.next += 1;
  }

  seeWhole(record: LogRecord): void {
    this.see(record);
    if (record.kind !== EPOCH_STARTED)
      expect(Buffer.from(record.body).toString()).toBe(this.#bodies[record.offset - 2]);
  }
}

type End = "complete" | "overtaken";
type Reader = (log: EventLog, witness: Witness, pause: () => number) => Promise<void>;

const readers: Readonly<Record<Plan["followers"][number]["as"], Reader>> = {
  batches: async (log, witness, pause) => {
    for await (const batch of log.follow(offset(witness.start))) {
      if (batch.length > 0 && witness.next < log.endOffset) met.caughtUpFromDisk += 1;
      for (const record of batch) witness.seeWhole(record);
      await turns(pause());
      if (witness.next > log.durableOffset) met.waited += 1;
    }
  },
  runs: async (log, witness, pause) => {
    for await (const { first, last } of log.ship(offset(witness.start), 2_000)) {
      for (let each: number = first; each <= last; each += 1) witness.see({ offset: offset(each) });
      await turns(pause());
    }
  },
  records: (log, witness) =>
    new Promise((resolve, reject) => {
      log.tail(offset(witness.start)).subscribe({
        next: (record) => {
          try {
            witness.seeWhole(record);
          } catch (error) {
            reject(error);
          }
        },
        error: reject,
        complete: resolve,
      });
    }),
  range: async (log, witness, pause) => {
    for await (const batch of log.read(offset(witness.start))) {
      for (const record of batch) witness.seeWhole(record);
      await turns(pause());
    }
    expect(witness.isThere, `the range from ${witness.start} is whole`).toBe(true);
    met.ranges += 1;
  },
};

async function readAs(
  as: keyof typeof readers,
  log: EventLog,
  witness: Witness,
  pause: () => number,
): Promise<End> {
  try {
    await readers[as](log, witness, pause);
    expect(witness.isLost, `the reader from ${witness.start} was told of the cut`).toBe(false);
    return "complete";
  } catch (error) {
    if (!(error instanceof LogError) || error.code !== "LOG_OFFSET_RETIRED") throw error;
    if (typeof error.context.end === "number") expect(witness.reaches).toBeGreaterThan(error.context.end);
    return "overtaken";
  }
}

interface Reading {
  readonly witness: Witness;
  readonly end: Promise<End>;
}

async function run({ seed, mode, syncTurnsMax, bursts, followers, ...changes }: Plan): Promise<void> {
  const random = seededRandom(seed);
  const disk = new SimulatedDisk(seed, { syncTurnsMax });
  disk.operations.turnsMax.set("read", 2 * syncTurnsMax);
  const options = logOptions("/disk", { files: disk.mount(), fsyncMode: mode, fsyncIntervalMs: 1 });
  const { log, usage } = await openLog(options);
  const bodies: string[] = [];
  const ends: Reading[] = [];
  for (const [i, burst] of bursts.entries()) {
    const begin = (each: Plan["followers"][number]): unknown => ends.push(reading(log, bodies, each, random));
    for (const [at, each] of followers.entries()) if (at % bursts.length === i) begin(each);
    for (const size of burst) {
      const body = `${bodies.length + 2} of burst ${i} `.padEnd(size, "y");
      log.append({ kind: 2, version: 1, timestamp: 5, body: Buffer.from(body) });
      bodies.push(body);
    }
    if (random() < 0.6) await log.whenCommitted(log.endOffset);
    else await turns(Math.floor(random() * 5));
    for (const { after, share } of changes.retentions)
      if (after === i) await log.retain(offset(Math.ceil((log.durableOffset * share) / 100)));
    for (const { after, share } of changes.cuts) {
      if (after !== i) continue;
      const last = await cut(log, share, async () => {
        for (const as of ["runs", "range", "batches", "range", "runs"] as const) {
          begin({ startShare: Math.floor(random() * 100), pauseMax: 0, as });
          await turns(Math.floor(random() * 4));
        }
      });
      bodies.length = last - 1;
      for (const { witness } of ends) {
        witness.cutAfter(last);
        if (witness.isLost) met.cutOff += 1;
      }
    }
  }
  await finish(log, mode, ends);
  met.rolls += usage().segments - 1;
}

function reading(
  log: EventLog,
  bodies: readonly string[],
  { startShare, pauseMax, as }: Plan["followers"][number],
  random: () => number,
): Reading {
  const span = log.endOffset - log.firstOffset + 1;
  const start = log.firstOffset + Math.floor((span * startShare) / 100);
  const witness = new Witness(log, bodies, start, as === "range" ? log.committedOffset : undefined);
  if (start > log.endOffset) met.live += 1;
  const end = readAs(as, log, witness, () => Math.floor(random() * (pauseMax + 1)));
  end.catch(() => undefined);
  return { witness, end };
}

/** @param meanwhile is done while the cut is under way, perhaps */
async function cut(log: EventLog, share: number, meanwhile: () => Promise<void>): Promise<Offset> {
  await log.whenCommitted(log.endOffset);
  const last = offset(Math.max(log.firstOffset, Math.floor((log.endOffset * share) / 100)));
  await Promise.all([log.truncate(last), meanwhile()]);
  return last;
}

async function finish(log: EventLog, mode: FsyncMode, ends: readonly Reading[]): Promise<void> {
  await log.whenCommitted(log.endOffset);
  // In never only a roll syncs; an epoch is one.
  if (mode === "never") await log.startEpoch();
  const done = new Set<Witness>();
  for (const { witness, end } of ends) {
    const isDone = (): unknown => done.add(witness);
    void end.then(isDone, isDone);
  }
  const everyoneThere = (): boolean =>
    ends.every(({ witness }) => done.has(witness) || (witness.isThere && !witness.isLost));
  // A reader takes its time, some hundred turns for a batch; what it may not do is stand still.
  const seen = (): number => ends.reduce((sum, { witness }) => sum + witness.next, 0);
  for (let idle = 0, before = seen(); idle < 5_000 && !everyoneThere(); idle++) {
    await turns(1);
    if (seen() === before) continue;
    before = seen();
    idle = 0;
  }
  const thereBefore = ends.map(({ witness }) => witness.isThere);
  await log.close();
  for (const [at, { witness, end }] of ends.entries()) {
    if ((await end) === "overtaken") met.overtaken += 1;
    else expect(thereBefore[at], `the reader from ${witness.start} has everything`).toBe(true);
  }
}

describe("tail", () => {
  it("has no gap, no repeat and the order of the log, beside appends, rolls, retention and cuts", async () => {
    await fc.assert(fc.asyncProperty(plan, run), runs(110));

    for (const [what, count] of Object.entries(met))
      expect(count, `the runs met no ${what}`).toBeGreaterThan(0);
  });
});
