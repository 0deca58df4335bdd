/**
 * The records that were written last, as their bytes lie in the segment, for whoever ships them on: one that is not behind costs no read of the
 * disk, and what this process has just stamped, or verified as it came, is not verified again. How far they are durable is the reader's to
 * know.
 *
 * Bounded, and kept only while somebody ships. What is not here is on the disk.
 */
import { assert } from "./errors.js";
import type { LogSegment, SegmentList } from "./segment-list.js";
import type { ReadPoint } from "./segment-reader.js";
import type { Offset } from "./units.js";

const BLOCK_BYTES = 256 * 1024;
const BLOCKS_MAX = 4;

/** What was written at once. */
interface Piece {
  readonly first: Offset;
  readonly segment: LogSegment;
  readonly end: number;
  readonly after: ReadPoint;
}

/** Filled once, and never changed after: whoever has a part of it keeps it. */
interface Block {
  readonly bytes: Uint8Array;
  readonly pieces: Piece[];
}

/** Whole records of one segment. */
export interface NewestRun {
  readonly segment: LogSegment;
  readonly bytes: Uint8Array;
  /** Behind the last one. */
  readonly after: ReadPoint;
}

export class NewestRecords {
  readonly #segments: SegmentList;
  #blocks: Block[] = [];
  /** How often the log had been cut when they were written. */
  #cuts = 0;
  #readers = 0;

  constructor(segments: SegmentList) {
    this.#segments = segments;
  }

  /** Somebody reads from here until the answer is called. */
  keep(): () => void {
    this.#readers += 1;
    let isKept = true;
    return () => {
      if (isKept) this.#readers -= 1;
      isKept = false;
      if (this.#readers === 0) this.#blocks = [];
    };
  }

  /** Records were written to the end of a segment, the first of them with this offset. The bytes are copied, if anybody reads them here. */
  written(segment: LogSegment, first: Offset, bytes: Uint8Array, after: ReadPoint): void {
    if (this.#readers === 0) return;
    this.#forgetCut();
    // So much at once is as well read from the disk.
    if (bytes.length > BLOCK_BYTES) {
      this.#blocks = [];
      return;
    }
    const block = this.#blockFor(bytes.length);
    const at = usedOf(block);
    block.bytes.set(bytes, at);
    block.pieces.push({ first, segment, end: at + bytes.length, after });
  }

  /** Records from `next` on, none above `last`, which is written; undefined when they, or so few bytes, must be read from the disk. */
  from(next: Offset, last: Offset, bytesMax = BLOCK_BYTES): NewestRun | undefined {
    this.#forgetCut();
    const block = this.#blocks.findLast(({ pieces }) => (pieces[0]?.first ?? next) <= next);
    if (block === undefined || next < this.#segments.first.base) return undefined;
    const { pieces } = block;
    const begin = indexAt(pieces, next);
    const begins = pieces[begin];
    if (begins?.first !== next) return undefined;
    const start = pieces[begin - 1]?.end ?? 0;
    let taken: Piece | undefined;
    for (let i = begin; i < pieces.length; i++) {
      const piece = pieces[i];
      if (piece === undefined || piece.segment !== begins.segment || piece.after.offset > last + 1) break;
      if (piece.end - start > bytesMax) break;
      taken = piece;
    }
    if (taken === undefined) return undefined;
    return { segment: taken.segment, bytes: block.bytes.subarray(start, taken.end), after: taken.after };
  }

  #blockFor(size: number): Block {
    const newest = this.#blocks[this.#blocks.length - 1];
    if (newest !== undefined && usedOf(newest) + size <= BLOCK_BYTES) return newest;
    const block = { bytes: Buffer.allocUnsafeSlow(BLOCK_BYTES), pieces: [] };
    this.#blocks.push(block);
    if (this.#blocks.length > BLOCKS_MAX) this.#blocks.shift();
    return block;
  }

  /** After a cut the same offsets are other records. */
  #forgetCut(): void {
    if (this.#cuts === this.#segments.cuts) return;
    this.#cuts = this.#segments.cuts;
    this.#blocks = [];
  }
}

const usedOf = ({ pieces }: Block): number => pieces[pieces.length - 1]?.end ?? 0;

/** Of the last piece that begins at `next` or before. */
function indexAt(pieces: readonly Piece[], next: Offset): number {
  let low = 0;
  let high = pieces.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    const piece = pieces[middle];
    assert(piece !== undefined, "the middle is among them");
    if (piece.first <= next) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}
