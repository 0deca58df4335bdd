/**
 * From a hash to the slots that have it: linear probing over cells of (hash, slot + 1), in buckets that a directory finds by
 * the hash's high bits. A full bucket doubles while it is small and splits in two from then on, so that no single insert ever
 * moves more than some thousand cells, however many keys there are: one large array would have to be rebuilt in one turn, and
 * would need its old and its new half at once.
 *
 * It knows no keys: whoever asks compares them. Removing moves the cells behind back, so there are no tombstones.
 */
import { assert } from "../../log/index.js";
import { lastingMemory } from "../lasting-memory.js";

const CELLS_MIN = 16;
/** A bucket of 64 KiB: beyond it buckets split. */
const CELLS_MAX = 1 << 13;
/** The directory has at most 2^18 places, for 10^9 keys; beyond that buckets grow. */
const DEPTH_MAX = 18;

const emptyCells = (cells: number): Uint32Array => new Uint32Array(lastingMemory(8 * cells));

const isCrowded = (count: number, cells: number): boolean => count * 10 > cells * 7;

/** A part of the index: all slots whose hashes begin with the same `depth` bits. */
export class Bucket {
  depth: number;
  count = 0;
  /** By cell: its hash, then its slot + 1 (0 = empty). */
  #cells: Uint32Array;
  #mask: number;

  constructor(depth: number, cells: number) {
    this.depth = depth;
    this.#cells = emptyCells(cells);
    this.#mask = cells - 1;
  }

  get cells(): number {
    return this.#mask + 1;
  }

  /** The first cell with this hash, or -1. */
  first(hash: number): number {
    return this.#seek(hash & this.#mask, hash);
  }

  /** The next cell with this hash after `cell`, or -1. */
  next(cell: number, hash: number): number {
    return this.#seek((cell + 1) & this.#mask, hash);
  }

  /** The slot in a cell; -1 when the cell is empty. */
  slotAt(cell: number): number {
    return (this.#cells[2 * cell + 1] ?? 0) - 1;
  }

  hashAt(cell: number): number {
    return this.#cells[2 * cell] ?? 0;
  }

  add(hash: number, slot: number): void {
    const cells = this.#cells;
    let cell = hash & this.#mask;
    while (cells[2 * cell + 1] !== 0) cell = (cell + 1) & this.#mask;
    cells[2 * cell] = hash;
    cells[2 * cell + 1] = slot + 1;
    this.count++;
  }

  /** Empties a cell, and moves back whoever stands behind it only because it was taken. */
  remove(cell: number): void {
    const cells = this.#cells;
    const mask = this.#mask;
    let hole = cell;
    for (let next = (hole + 1) & mask; cells[2 * next + 1] !== 0; next = (next + 1) & mask) {
      const home = (cells[2 * next] ?? 0) & mask;
      // Its way from home to here leads over the hole: there it is found as well, and sooner.
      if (((next - home) & mask) < ((next - hole) & mask)) continue;
      cells[2 * hole] = cells[2 * next] ?? 0;
      cells[2 * hole + 1] = cells[2 * next + 1] ?? 0;
      hole = next;
    }
    cells[2 * hole] = 0;
    cells[2 * hole + 1] = 0;
    this.count--;
  }

  resize(cells: number): void {
    const before = this.#cells;
    this.#cells = emptyCells(cells);
    this.#mask = cells - 1;
    this.count = 0;
    for (let at = 0; at < before.length; at += 2) {
      const slot = before[at + 1] ?? 0;
      if (slot !== 0) this.add(before[at] ?? 0, slot - 1);
    }
  }

  /** There is always an empty cell, so a search ends. */
  #seek(from: number, hash: number): number {
    const cells = this.#cells;
    const mask = this.#mask;
    for (let cell = from; cells[2 * cell + 1] !== 0; cell = (cell + 1) & mask) {
      if (cells[2 * cell] === hash) return cell;
    }
    return -1;
  }
}

export class HashIndex {
  /** By the first `#depth` bits of a hash. A bucket of a lesser depth stands at each place that begins with its bits. */
  #directory: Bucket[] = [new Bucket(0, CELLS_MIN)];
  #depth = 0;

  bucketOf(hash: number): Bucket {
    return this.#at(this.#placeOf(hash));
  }

  /** Notes that `slot`, which is not in the index, has this hash. */
  add(hash: number, slot: number): void {
    let bucket = this.bucketOf(hash);
    while (isCrowded(bucket.count + 1, bucket.cells)) {
      if (bucket.cells < CELLS_MAX || bucket.depth === DEPTH_MAX) bucket.resize(bucket.cells * 2);
      else this.#split(bucket, hash);
      bucket = this.bucketOf(hash);
    }
    bucket.add(hash, slot);
  }

  /** Forgets `slot`, which is in the index under this hash. */
  remove(hash: number, slot: number): void {
    const bucket = this.bucketOf(hash);
    let cell = bucket.first(hash);
    while (cell >= 0 && bucket.slotAt(cell) !== slot) cell = bucket.next(cell, hash);
    assert(cell >= 0, "a slot is forgotten once");
    bucket.remove(cell);
    // Far below the measure at which it would grow again, so that a key that comes and goes moves nothing.
    if (bucket.cells > CELLS_MIN && bucket.count * 8 < bucket.cells) bucket.resize(bucket.cells / 2);
  }

  /** Every slot in the index, in no useful order. Nothing may change meanwhile. */
  *slots(): Generator<number> {
    for (let place = 0; place < this.#directory.length; ) {
      const bucket = this.#at(place);
      for (let cell = 0; cell < bucket.cells; cell++) {
        const slot = bucket.slotAt(cell);
        if (slot >= 0) yield slot;
      }
      place += 1 << (this.#depth - bucket.depth);
    }
  }

  clear(): void {
    this.#directory = [new Bucket(0, CELLS_MIN)];
    this.#depth = 0;
  }

  #placeOf(hash: number): number {
    // In two steps, since a shift by 32 would be none.
    return (hash >>> 1) >>> (31 - this.#depth);
  }

  #at(place: number): Bucket {
    const bucket = this.#directory[place];
    assert(bucket !== undefined, "a bucket stands at every place of the directory");
    return bucket;
  }

  /** Puts two buckets in the place of one; `hash` is any that falls into it. */
  #split(bucket: Bucket, hash: number): void {
    if (bucket.depth === this.#depth) {
      this.#directory = this.#directory.flatMap((each) => [each, each]);
      this.#depth++;
    }
    const depth = bucket.depth + 1;
    const halves = [new Bucket(depth, bucket.cells), new Bucket(depth, bucket.cells)] as const;
    for (let cell = 0; cell < bucket.cells; cell++) {
      const slot = bucket.slotAt(cell);
      if (slot < 0) continue;
      const itsHash = bucket.hashAt(cell);
      halves[(itsHash >>> (32 - depth)) & 1 ? 1 : 0].add(itsHash, slot);
    }
    const span = 1 << (this.#depth - depth);
    const begin = this.#placeOf(hash) & ~(2 * span - 1);
    this.#directory.fill(halves[0], begin, begin + span);
    this.#directory.fill(halves[1], begin + span, begin + 2 * span);
  }
}
