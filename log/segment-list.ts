/**
 * The segments of an open log in order, as its readers and its writer share them. In memory only: files are made, cut
 * and removed elsewhere, in the order that a crash demands, and the list says what of them counts.
 */
import { assert } from "./errors.js";
import { segmentName } from "./file-names.js";
import type { SegmentHeader } from "./format.js";
import type { OffsetIndex } from "./offset-index.js";
import type { Offset } from "./units.js";

export interface LogSegment {
  readonly header: SegmentHeader;
  readonly base: Offset;
  readonly name: string;
  /** Bytes that may be read: up to the end of the last record that was written. Grows in the tail, final in a sealed one. */
  bytes: number;
  sealed: boolean;
  /** In memory for the tail; for a sealed segment while readers use it. */
  index: OffsetIndex | undefined;
}

export function logSegment(
  header: SegmentHeader,
  bytes: number,
  sealed: boolean,
  index?: OffsetIndex,
): LogSegment {
  const base = header.baseOffset;
  return { header, base, name: segmentName(base), bytes, sealed, index };
}

/** Somebody who is told when the end of the log is cut off. */
export interface CutWitness {
  /** The log ends with `last` now, and may go on differently. */
  cutAfter(last: Offset): void;
}

export class SegmentList {
  readonly #segments: LogSegment[] = [];
  /** Those who read now. */
  readonly readers = new Set<CutWitness>();
  /** Grows when something was taken from the end, so that readers look again where they are. */
  cuts = 0;

  get count(): number {
    return this.#segments.length;
  }

  get first(): LogSegment {
    return this.#at(0);
  }

  get tail(): LogSegment {
    return this.#at(this.#segments.length - 1);
  }

  all(): readonly LogSegment[] {
    return this.#segments;
  }

  push(segment: LogSegment): void {
    assert(
      this.#segments.length === 0 || segment.base > this.tail.base,
      "segments are in the order of their offsets",
    );
    this.#segments.push(segment);
  }

  /** An empty tail gives way to one that begins at the same offset. */
  replaceTail(segment: LogSegment): void {
    assert(this.tail.base === segment.base, "a segment is replaced by one with its base offset");
    this.#segments[this.#segments.length - 1] = segment;
    this.cuts += 1;
  }

  dropFirst(): LogSegment {
    assert(this.#segments.length > 1, "the tail segment is never dropped");
    const first = this.first;
    this.#segments.shift();
    return first;
  }

  dropTail(): LogSegment {
    assert(this.#segments.length > 1, "the first segment is never dropped");
    const tail = this.tail;
    this.#segments.pop();
    this.cuts += 1;
    return tail;
  }

  /** The segment in which `offset` is or would be; undefined before the first. */
  containing(offset: Offset): LogSegment | undefined {
    let low = 0;
    let high = this.#segments.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#at(middle).base <= offset) low = middle + 1;
      else high = middle;
    }
    return low === 0 ? undefined : this.#segments[low - 1];
  }

  #at(i: number): LogSegment {
    const segment = this.#segments[i];
    assert(segment !== undefined, "a log has at least one segment");
    return segment;
  }
}
