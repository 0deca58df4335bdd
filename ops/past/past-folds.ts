/**
 * States of the past: folds that were brought to an offset, a few of them kept. Who asks for an offset gets a lease: as long as
 * it lasts nobody moves or drops the fold. Who asks for the same offset shares one fold, also while it is on its way.
 *
 * A new state begins with the nearest that is earlier: a kept fold that nobody holds, which is moved on (so it is no longer there
 * for its old offset), or a snapshot, or nothing. One is on its way at a time, and it stops when nobody waits for it any more, but not
 * in the midst of a snapshot: how far it came is kept, so that asking again goes on from there, and half a snapshot is no state.
 *
 * Bounded: how many folds, their memory, and how many records one may be away.
 */
import { type Refusal, refusal } from "../../api/index.js";
import { LogError, type LogReader, type Offset } from "../../log/index.js";
import type { Fold } from "../../projections/index.js";
import { replay } from "./replay.js";

export interface FoldLimits {
  readonly foldsMax: number;
  readonly bytesMax: number;
  readonly recordsMax: number;
}

/** Where folds come from. */
export interface FoldSource {
  /** A view of the log that reaches at least up to `last`; `fresh`: not one that was given before. */
  view(last: Offset, fresh: boolean): Promise<LogReader>;
  /** The latest offset up to `last` at which a state can be had without replaying; undefined: none, the records are gone. */
  nearest(log: LogReader, last: Offset): Promise<Offset | undefined>;
  /** The state at an offset that `nearest` gave; where that does not hold, an earlier one. */
  begin(log: LogReader, at: Offset): Promise<Fold>;
}

/** How an ask was served; counted by whoever measures. */
export type Found = "kept" | "moved" | "begun";

export interface Lease {
  readonly type: "lease";
  readonly fold: Fold;
  /** Holds every record up to the fold's offset. */
  readonly log: LogReader;
  readonly found: Found;
  release(): void;
}

interface Kept {
  readonly fold: Fold;
  log: LogReader;
  leases: number;
  /** On its way: its offset is nobody's yet. */
  moving: boolean;
  usedAt: number;
  bytes: number;
}

interface Reached {
  readonly kept: Kept;
  readonly found: Found;
}

/** A state on its way to an offset, and who waits for it. */
interface Journey {
  readonly waiting: Set<(outcome: Lease | Refusal | Error) => void>;
  readonly stop: AbortController;
}

/** A fold's size is asked for after so many records: streams are counted one by one. */
const WEIGHED_EVERY = 50_000;

export class PastFolds {
  readonly #source: FoldSource;
  readonly #limits: FoldLimits;
  readonly #kept = new Set<Kept>();
  readonly #journeys = new Map<Offset, Journey>();
  /** Journeys are made one after the other. */
  #turn: Promise<void> = Promise.resolve();
  #uses = 0;
  /** The last beginning that was too large: who asks again is told at once, also where reading it takes longer than anybody waits. */
  #oversized: { readonly from: Offset; readonly bytes: number } | undefined;
  #onRelease: (() => void)[] = [];
  replayedRecords = 0;

  constructor(source: FoldSource, limits: FoldLimits) {
    this.#source = source;
    this.#limits = limits;
  }

  get count(): number {
    return this.#kept.size;
  }

  get bytes(): number {
    let bytes = 0;
    for (const kept of this.#kept) bytes += kept.bytes;
    return bytes;
  }

  /**
   * The state after the record at `at`. Aborted: API_CLIENT_GONE.
   * @throws LogError as `LogReader.read`, ProjectionError, SnapshotError.
   */
  async lease(at: Offset, signal: AbortSignal): Promise<Lease | Refusal> {
    if (signal.aborted) return gone();
    const kept = this.#find(at);
    if (kept !== undefined) return this.#hand(kept, "kept");
    const outcome = await this.#join(at, signal);
    if (outcome instanceof Error) throw outcome;
    return outcome;
  }

  #find(at: Offset): Kept | undefined {
    for (const kept of this.#kept) if (!kept.moving && kept.fold.offset === at) return kept;
    return undefined;
  }

  #hand(kept: Kept, found: Found): Lease {
    kept.leases += 1;
    kept.usedAt = ++this.#uses;
    let held = true;
    const release = (): void => {
      if (!held) return;
      held = false;
      kept.leases -= 1;
      if (kept.leases > 0) return;
      const wake = this.#onRelease;
      this.#onRelease = [];
      for (const each of wake) each();
    };
    return { type: "lease", fold: kept.fold, log: kept.log, found, release };
  }

  #join(at: Offset, signal: AbortSignal): Promise<Lease | Refusal | Error> {
    let journey = this.#journeys.get(at);
    if (journey === undefined) {
      const begun: Journey = { waiting: new Set(), stop: new AbortController() };
      journey = begun;
      this.#journeys.set(at, begun);
      this.#turn = this.#turn.then(() => this.#travel(at, begun));
    }
    const { waiting, stop } = journey;
    return new Promise((resolve) => {
      const leave = (): void => {
        waiting.delete(arrive);
        if (waiting.size === 0) {
          // Whoever asks for it again begins anew, from how far this one came.
          if (this.#journeys.get(at)?.stop === stop) this.#journeys.delete(at);
          stop.abort();
        }
        resolve(gone());
      };
      const arrive = (outcome: Lease | Refusal | Error): void => {
        signal.removeEventListener("abort", leave);
        resolve(outcome);
      };
      signal.addEventListener("abort", leave, { once: true });
      waiting.add(arrive);
    });
  }

  /** Never rejects: the next journey waits for it. */
  async #travel(at: Offset, journey: Journey): Promise<void> {
    const { waiting, stop } = journey;
    let outcome: Reached | Refusal | Error;
    try {
      outcome = stop.signal.aborted ? gone() : await this.#reachInTime(at, stop.signal);
    } catch (error) {
      const failure = error instanceof Error ? error : new Error(String(error));
      outcome = stop.signal.aborted ? gone() : failure;
    }
    if (this.#journeys.get(at) === journey) this.#journeys.delete(at);
    // All leases in this turn, before another journey could take the fold away.
    for (const arrive of waiting) {
      arrive("kept" in outcome ? this.#hand(outcome.kept, outcome.found) : outcome);
    }
  }

  /** Retention may have removed what a view of a while ago shows; a new one knows, and may find a snapshot instead. */
  async #reachInTime(at: Offset, signal: AbortSignal): Promise<Reached | Refusal> {
    try {
      return await this.#reach(at, signal, false);
    } catch (error) {
      if (!(error instanceof LogError) || error.code !== "LOG_OFFSET_RETIRED" || signal.aborted) throw error;
      return this.#reach(at, signal, true);
    }
  }

  async #reach(at: Offset, signal: AbortSignal, fresh: boolean): Promise<Reached | Refusal> {
    const there = this.#find(at);
    if (there !== undefined) return { kept: there, found: "kept" };
    const log = await this.#source.view(at, fresh);
    const nearest = await this.#source.nearest(log, at);
    const earlier = this.#nearestIdle(at);
    const isMoved = earlier !== undefined && earlier.fold.offset >= (nearest ?? 0);
    const from = isMoved ? earlier.fold.offset : nearest;
    if (from === undefined) return retired(log, at);
    if (at - from > this.#limits.recordsMax) return this.#tooFar(at - from);
    if (!isMoved && from === this.#oversized?.from) return this.#tooLarge(this.#oversized.bytes);
    const kept = isMoved ? earlier : await this.#begin(log, from);
    if (!isMoved && !this.#fits(kept)) {
      this.#oversized = { from: kept.fold.offset, bytes: kept.bytes };
      return this.#dropTooLarge(kept);
    }
    kept.log = log;
    const away = at - kept.fold.offset;
    if (away > this.#limits.recordsMax) {
      this.#drop(kept);
      return this.#tooFar(away);
    }
    const refused = await this.#move(kept, at, signal);
    return refused ?? { kept, found: isMoved ? "moved" : "begun" };
  }

  #nearestIdle(at: Offset): Kept | undefined {
    let nearest: Kept | undefined;
    for (const kept of this.#kept) {
      const isFree = kept.leases === 0 && !kept.moving && kept.fold.offset <= at;
      if (isFree && kept.fold.offset > (nearest?.fold.offset ?? -1)) nearest = kept;
    }
    return nearest;
  }

  async #begin(log: LogReader, from: Offset): Promise<Kept> {
    while (this.#kept.size >= this.#limits.foldsMax) {
      if (!this.#dropOldest()) await new Promise<void>((resolve) => this.#onRelease.push(resolve));
    }
    const fold = await this.#source.begin(log, from);
    const kept: Kept = { fold, log, leases: 0, moving: true, usedAt: ++this.#uses, bytes: sizeOf(fold) };
    this.#kept.add(kept);
    return kept;
  }

  /** Brings the fold to `at`. Stopped between two reads, it stays kept where it is; after any failure it is let go. */
  async #move(kept: Kept, at: Offset, signal: AbortSignal): Promise<Refusal | undefined> {
    const { fold } = kept;
    kept.moving = true;
    try {
      let weighed = fold.offset;
      for await (const records of replay(kept.log, fold, at)) {
        this.replayedRecords += records;
        if (fold.offset - weighed >= WEIGHED_EVERY) {
          weighed = fold.offset;
          if (!this.#fits(kept)) return this.#dropTooLarge(kept);
        }
        if (signal.aborted) break;
      }
      if (fold.offset === at && !this.#fits(kept)) return this.#dropTooLarge(kept);
      kept.moving = false;
      return fold.offset === at ? undefined : gone();
    } catch (error) {
      this.#drop(kept);
      throw error;
    }
  }

  /** Weighs the fold and makes room for it. */
  #fits(kept: Kept): boolean {
    kept.bytes = sizeOf(kept.fold);
    if (kept.bytes > this.#limits.bytesMax) return false;
    while (this.bytes > this.#limits.bytesMax && this.#dropOldest()) {
      // One after the other, the longest unused first.
    }
    return true;
  }

  /** Drops the fold that was used the longest ago; false when all are held or on their way. */
  #dropOldest(): boolean {
    let oldest: Kept | undefined;
    for (const kept of this.#kept) {
      const isFree = kept.leases === 0 && !kept.moving;
      if (isFree && kept.usedAt < (oldest?.usedAt ?? Infinity)) oldest = kept;
    }
    if (oldest !== undefined) this.#drop(oldest);
    return oldest !== undefined;
  }

  #drop(kept: Kept): void {
    this.#kept.delete(kept);
    kept.fold.close();
  }

  #tooFar(records: number): Refusal {
    const { recordsMax } = this.#limits;
    return refusal("API_PAST_TOO_FAR", `${records} records would have to be replayed, ${recordsMax} may be`, {
      records,
      records_max: recordsMax,
    });
  }

  /** Nothing of it is kept. */
  #dropTooLarge(kept: Kept): Refusal {
    this.#drop(kept);
    return this.#tooLarge(kept.bytes);
  }

  #tooLarge(bytes: number): Refusal {
    const { bytesMax } = this.#limits;
    return refusal(
      "API_PAST_TOO_LARGE",
      `the state takes ${bytes} bytes and more, ${bytesMax} may be taken`,
      {
        bytes,
        bytes_max: bytesMax,
      },
    );
  }
}

/** What the states are charged: about what they take. */
function sizeOf({ kv, queue, stream, idempotency }: Fold): number {
  return kv.memoryBytes + queue.memoryBytes + stream.totals().indexBytes + idempotency.bytes;
}

function retired(log: LogReader, at: Offset): Refusal {
  return refusal("LOG_OFFSET_RETIRED", `the records that lead to offset ${at} were removed by retention`, {
    first_offset: log.firstOffset,
    end_offset: log.endOffset,
  });
}

const gone = (): Refusal => refusal("API_CLIENT_GONE", "nobody waits for the answer any more");
