/** What of this node's own log is known to be damaged at this moment, and what became of damage since the start. */
import { describeFinding, type Finding, type MendedSegments, type Offset } from "../log/index.js";
import type { Position } from "./position.js";
import type { DamageCounters, DamageStats, KnownDamageStats } from "./stats.js";

export interface Mismatch {
  readonly own: Position;
  readonly other: Position;
  readonly at: number;
}

export class KnownDamage {
  readonly #now: () => number;
  readonly #known = new Map<Offset, KnownDamageStats & { readonly finding: Finding }>();
  readonly #counts = {
    quarantines: 0,
    refetchedSegments: 0,
    refetchedBytes: 0,
    checks: 0,
    comparisons: 0,
    mismatches: 0,
  };
  #comparedAt: number | undefined;
  #mismatch: Mismatch | undefined;
  /** The node that is followed said that its own disk is damaged there. */
  #upstream:
    | { readonly first: Offset; readonly last: Offset; readonly words: string; readonly since: number }
    | undefined;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** True when that is news. */
  found(first: Offset, finding: Finding): boolean {
    const isNews = !this.#known.has(first);
    const since = this.#known.get(first)?.since ?? this.#now();
    this.#known.set(first, { first, file: finding.file, words: describeFinding(finding), since, finding });
    return isNews;
  }

  /** The segment that begins there is sound again, or no longer part of the log. */
  gone(first: Offset): void {
    this.#known.delete(first);
  }

  /** The log is another one. */
  clear(): void {
    this.#known.clear();
    this.turned();
  }

  /** Another node is followed. */
  turned(): void {
    this.#mismatch = undefined;
    this.#upstream = undefined;
  }

  /** By first offset. */
  get all(): readonly Offset[] {
    return [...this.#known.keys()];
  }

  get first(): Finding | undefined {
    for (const { finding } of this.#known.values()) return finding;
    return undefined;
  }

  checked(): void {
    this.#counts.checks++;
  }

  mended({ quarantined, bytes }: MendedSegments): void {
    this.#counts.quarantines += quarantined.length;
    this.#counts.refetchedSegments++;
    this.#counts.refetchedBytes += bytes;
  }

  /** The damaged end was put aside, to be had again by following. */
  cut(): void {
    this.#counts.quarantines++;
  }

  compared(own: Position, other: Position, isSame: boolean): void {
    this.#comparedAt = this.#now();
    this.#counts.comparisons++;
    if (this.#upstream !== undefined && other.offset === this.#upstream.last) this.#upstream = undefined;
    if (isSame) return;
    this.#counts.mismatches++;
    this.#mismatch = { own, other, at: this.#now() };
  }

  /** True when that is news. */
  upstreamDamaged(first: Offset, last: Offset, words: string): boolean {
    const isNews = this.#upstream?.first !== first;
    this.#upstream = { first, last, words, since: isNews ? this.#now() : (this.#upstream?.since ?? 0) };
    return isNews;
  }

  /** The node that is followed keeps nothing any more of what comes before. */
  upstreamBegins(first: Offset): void {
    if (this.#upstream !== undefined && this.#upstream.last < first) this.#upstream = undefined;
  }

  get counters(): DamageCounters {
    return this.#counts;
  }

  stats(owesSince: number | undefined, opening: string | undefined): DamageStats {
    const known = [...this.#known.values()].map(({ first, file, words, since }) => ({
      first,
      file,
      words,
      since,
    }));
    const { own, other, at } = this.#mismatch ?? {};
    return {
      known,
      owesSince,
      opening,
      comparedAt: this.#comparedAt,
      mismatch:
        own === undefined
          ? undefined
          : { offset: own.offset, own: own.crc, other: other?.crc ?? 0, at: at ?? 0 },
      upstream: this.#upstream,
    };
  }
}
