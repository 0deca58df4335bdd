/**
 * The promise: damage is classified right and never served as data.
 *
 * A log of 64 KiB (32 in the short form) in several segments and two epochs, composed from the format alone, is damaged in every possible place:
 * each byte flipped, the tail cut at each length, each sealed segment cut at each length, sectors lost or replaced. Then it is recovered and read.
 *
 *  1. What is read equals what was written, record for record, up to some offset; a damaged byte is never part of it.
 *  2. Corruption is reported exactly when the first bad record was known durable: it lies in a sealed segment, at or below
 *     the recovery point, at or below what a later valid record proves, or before a clean end.
 *  3. Otherwise the end is torn, or clean when only zeros follow; every record before the damage survives, and the cut
 *     bytes are kept.
 *  4. Recovery after recovery finds a clean end at the same place.
 */
import { describe, expect, test } from "vitest";
import { LogError } from "../log/errors.js";
import type { LogRecord } from "../log/event-log.js";
import { segmentName } from "../log/file-names.js";
import { RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, type SegmentHeader } from "../log/format.js";
import { recoverLog } from "../log/recovery.js";
import type { RecoveryPoint } from "../log/recovery-point.js";
import { basePoint, readBatch } from "../log/segment-reader.js";
import { bodyOf, type ComposedLog, composeLog, DIRECTORY } from "../test/support/log-bytes.js";
import type { MemoryFileSystem } from "../test/support/memory-file-system.js";
import { factor, seed, seededRandom } from "./run-settings.js";

type Verdict = "corrupt" | "torn" | "clean";

interface Outcome {
  readonly verdict: Verdict;
  /** Last record that is left. */
  readonly end: number;
}

const random = seededRandom(seed);
const below = (limit: number): number => Math.floor(random() * limit);

/** A log of about `bytes` in `rolls` + 1 segments, the tail being `tailShare` of it. */
function draw(bytes: number, rolls: number, tailShare = 1 / (rolls + 1)): ComposedLog {
  const batches: Uint8Array[][] = [];
  const rollBefore: number[] = [];
  let size = 0;
  let offset = 0;
  while (size < bytes) {
    const batch = Array.from({ length: 1 + below(6) }, () => {
      const length = below(8) === 0 ? 0 : below(40) === 0 ? 2500 : below(400);
      size += RECORD_HEADER_BYTES + length;
      offset += 1;
      return bodyOf(length, offset);
    });
    const isFull = size > ((rollBefore.length + 1) * bytes * (1 - tailShare)) / rolls;
    // A first segment without a record would bear the name of the second.
    if (isFull && rollBefore.length < rolls && batches.length > 0) rollBefore.push(batches.length);
    batches.push(batch);
  }
  return composeLog({ batches, rollBefore, epochBefore: rollBefore.slice(1, 2), zerosAhead: 1500 });
}

/** Recovers, then reads the one segment that was damaged as a reader of the log would. Throws when promise 1 is broken. */
async function recoverAndRead(
  log: ComposedLog,
  files: MemoryFileSystem,
  recoveryPoint: RecoveryPoint | undefined,
  damaged: number,
): Promise<Outcome> {
  try {
    const recovered = await recoverLog({ files, dataDirectory: DIRECTORY, now: () => 1, recoveryPoint });
    const segment = recovered.segments[damaged];
    const outcome = segment && (await read(log, files, segment.header, segment.bytes));
    if (outcome?.verdict === "corrupt") return outcome;
    const end = recovered.next.offset - 1;
    return { verdict: recovered.torn === undefined ? "clean" : "torn", end };
  } catch (error) {
    if (error instanceof LogError && error.code === "LOG_CORRUPT") return { verdict: "corrupt", end: -1 };
    throw error;
  }
}

/** Reads one segment as a reader of the log does, up to the first bad record. */
async function read(
  log: ComposedLog,
  files: MemoryFileSystem,
  header: SegmentHeader,
  bytes: number,
): Promise<Outcome> {
  const handle = await files.open(`${DIRECTORY}/log/${segmentName(header.baseOffset)}`, "read");
  for (let point = basePoint(header); ; ) {
    const batch = await readBatch(handle, point, bytes, header, 8192);
    for (const record of batch.records) compareRecord(log, record);
    const end = batch.next.offset - 1;
    if (batch.bad !== undefined) return { verdict: "corrupt", end };
    if (batch.records.length === 0) return { verdict: "clean", end };
    point = batch.next;
  }
}

function compareRecord(log: ComposedLog, read: LogRecord): void {
  const written = log.records[read.offset - log.records[0]!.offset];
  const equal =
    written !== undefined &&
    read.crc === written.crc &&
    read.timestamp === written.timestamp &&
    read.kind === written.kind &&
    read.version === written.version &&
    Buffer.compare(read.body, written.body) === 0;
  if (!equal) throw new Error(`record ${read.offset} was read, but is not what was written`);
}

/** Highest offset that the intact records after `offset` prove durable. */
function provenAfter(log: ComposedLog, offset: number): number {
  let proven = 0;
  for (const record of log.records)
    if (record.offset > offset && record.segment === log.segments.length - 1)
      proven = Math.max(proven, record.offset - 1 - record.unsynced);
  return proven;
}

/** The recovery points that such a log may have met its end with. */
function drawPoint(log: ComposedLog): RecoveryPoint | undefined {
  switch (below(5)) {
    case 0:
      return log.recoveryPoint(log.end, true);
    case 1:
      return log.recoveryPoint(log.end);
    case 2:
      return log.recoveryPoint(log.durable);
    case 3:
      return log.recoveryPoint(below(log.end + 1));
    default:
      return undefined;
  }
}

function check(what: string, outcome: Outcome, verdict: Verdict, end: number): void {
  if (outcome.verdict !== verdict || (verdict !== "corrupt" && outcome.end !== end))
    throw new Error(
      `${what}: expected ${verdict}, end ${end}; got ${outcome.verdict}, end ${outcome.end} (ANNALS_PROPS_SEED=${seed})`,
    );
}

class Tally {
  readonly #counts = new Map<string, number>();
  add(key: string): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
  }
  get(key: string): number {
    return this.#counts.get(key) ?? 0;
  }
}

/** Of a log each byte of which is damaged in turn. */
const LOG_BYTES = (factor > 1 ? 64 : 32) * 1024;
const passes = Math.max(1, Math.round(factor / 4));

// Thousands of whole recoveries a test: a busy machine takes its time.
describe("damage", { timeout: 600_000 }, () => {
  test("every flipped byte of the tail is torn or corruption by what is known durable", async () => {
    const tally = new Tally();
    for (let pass = 0; pass < passes; pass++) {
      const log = draw(LOG_BYTES, 4);
      const damaged = log.segments.length - 1;
      for (let at = 0; at < log.tail.bytes.length; at++) {
        const point = drawPoint(log);
        const files = log.files();
        files.own(log.tail.path)[at]! ^= 1 + below(255);
        const outcome = await recoverAndRead(log, files, point, damaged);
        const bad = log.records.find((r) => r.segment === damaged && at < r.end)?.offset ?? log.end + 1;
        const why =
          at < SEGMENT_HEADER_BYTES
            ? "header"
            : point?.clean === true
              ? "clean mark"
              : bad <= (point?.durable ?? 0)
                ? "recovery point"
                : bad <= provenAfter(log, bad)
                  ? "unsynced"
                  : "torn";
        tally.add(why);
        check(`byte ${at} (${why})`, outcome, why === "torn" ? "torn" : "corrupt", bad - 1);
      }
    }
    for (const why of ["header", "clean mark", "recovery point", "unsynced", "torn"])
      expect(tally.get(why), why).toBeGreaterThan(20);
  });

  test("every flipped byte of a sealed segment is corruption", async () => {
    for (let pass = 0; pass < passes; pass++) {
      const log = draw(LOG_BYTES, 5, 0.02);
      for (const [damaged, segment] of log.segments.slice(0, -1).entries()) {
        for (let at = 0; at < segment.bytes.length; at++) {
          // With its index, recovery looks at a sealed segment's header only; without, at every record of it.
          const files = log.files({ indexes: below(2) === 0 });
          files.own(segment.path)[at]! ^= 1 + below(255);
          const outcome =
            at < SEGMENT_HEADER_BYTES || below(8) === 0
              ? await recoverAndRead(log, files, drawPoint(log), damaged)
              : await read(log, files, segment.header, segment.bytes.length);
          check(`segment ${damaged}, byte ${at}`, outcome, "corrupt", 0);
        }
      }
    }
  });

  test("the tail cut at every length is clean at a border, torn inside a record, corruption below the durable offset", async () => {
    const tally = new Tally();
    for (let pass = 0; pass < passes; pass++) {
      const log = draw(LOG_BYTES, 4);
      const damaged = log.segments.length - 1;
      for (let length = 0; length < log.tail.bytes.length; length++) {
        const point = drawPoint(log);
        const files = log.files();
        files.put(log.tail.path, log.tail.bytes.subarray(0, length));
        const outcome = await recoverAndRead(log, files, point, damaged);
        const whole = log.records.filter((r) => r.segment < damaged || r.end <= length);
        const last = whole[whole.length - 1]!;
        const rest = log.tail.bytes.subarray(
          last.segment === damaged ? last.end : SEGMENT_HEADER_BYTES,
          length,
        );
        const isKnown = last.offset < (point?.durable ?? 0);
        const verdict: Verdict =
          length < SEGMENT_HEADER_BYTES || isKnown
            ? "corrupt"
            : rest.every((byte) => byte === 0)
              ? "clean"
              : point?.clean === true
                ? "corrupt"
                : "torn";
        tally.add(verdict);
        check(`cut at ${length}`, outcome, verdict, last.offset);
      }
    }
    for (const verdict of ["corrupt", "clean", "torn"])
      expect(tally.get(verdict), verdict).toBeGreaterThan(20);
  });

  test("a sealed segment cut at any length, or lost, is corruption", async () => {
    const log = draw(16 * 1024, 3, 0.02);
    for (const [damaged, segment] of log.segments.slice(0, -1).entries()) {
      for (let length = 0; length < segment.bytes.length; length++) {
        const files = log.files();
        files.put(segment.path, segment.bytes.subarray(0, length));
        const outcome = await recoverAndRead(log, files, undefined, damaged);
        check(`segment ${damaged} cut at ${length}`, outcome, "corrupt", 0);
      }
    }
    for (const segment of log.segments.slice(1)) {
      const files = log.files();
      await files.remove(segment.path);
      const outcome = await recoverAndRead(log, files, log.recoveryPoint(log.end), 0);
      check(`${segment.name} lost`, outcome, "corrupt", 0);
    }
  });

  test("lost and replaced sectors never pass: corruption if anything proves them durable, else cut and kept", async () => {
    const tally = new Tally();
    let log = draw(48 * 1024, 2);
    for (let run = 0; run < 1500 * passes; run++) {
      if (run % 50 === 49) log = draw(48 * 1024, 2);
      const damaged = log.segments.length - 1;
      const files = log.files();
      const bytes = files.own(log.tail.path);
      for (let count = 1 + below(3); count > 0; count--) {
        const from = SEGMENT_HEADER_BYTES + below(log.tail.contentEnd - SEGMENT_HEADER_BYTES);
        const until = Math.min(log.tail.contentEnd, from - (from % 512) + 512 * (1 + below(4)));
        const isLost = below(2) === 0;
        for (let at = from; at < until; at++) bytes[at] = isLost ? 0 : below(256);
      }
      const intact = (r: ComposedLog["records"][number]): boolean =>
        Buffer.compare(bytes.subarray(r.position, r.end), log.tail.bytes.subarray(r.position, r.end)) === 0;
      const tail = log.records.filter((r) => r.segment === damaged);
      const bad = tail.find((r) => !intact(r));
      if (bad === undefined) continue;
      // What must be found: records whose predecessor is whole too. What may be found: any whole record.
      const provenBy = (isFound: (i: number) => boolean): number =>
        Math.max(
          0,
          ...tail.map((r, i) =>
            r.offset > bad.offset && intact(r) && isFound(i) ? r.offset - 1 - r.unsynced : 0,
          ),
        );
      const atLeast = provenBy((i) => tail[i - 1]!.offset > bad.offset && intact(tail[i - 1]!));
      const atMost = provenBy(() => true);
      const outcome = await recoverAndRead(log, files, undefined, damaged);
      tally.add(outcome.verdict);
      if (bad.offset <= atLeast) check(`run ${run}`, outcome, "corrupt", 0);
      else if (outcome.verdict === "corrupt" && bad.offset > atMost)
        throw new Error(
          `run ${run}: called corrupt, but nothing proves offset ${bad.offset} durable (seed ${seed})`,
        );
      else if (outcome.verdict !== "corrupt") {
        check(`run ${run}`, outcome, outcome.verdict, bad.offset - 1);
        const again = await recoverAndRead(log, files, undefined, damaged);
        check(`run ${run}, again`, again, "clean", bad.offset - 1);
      }
    }
    for (const verdict of ["corrupt", "torn"]) expect(tally.get(verdict), verdict).toBeGreaterThan(20);
  });
});
