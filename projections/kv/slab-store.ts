/**
 * Blocks of bytes outside V8's heap: slabs of 1 MiB, each cut into blocks of one size. Sizes grow by an eighth at most, so a
 * block is seldom much larger than what is in it. Blocks past 128 KiB get a slab of their own; a store that holds little yet has small slabs.
 *
 * Each slab keeps its own free blocks, chained through the blocks themselves; a slab without a live block is free for any size
 * and, past a few, given back to the system. What it does not do is move blocks: many sizes that come and go leave slabs that
 * are partly used, so the process can be larger than what is charged.
 */
import { assert } from "../../log/index.js";
import { lastingMemory } from "../lasting-memory.js";

const SLAB_BYTES = 1 << 20;
/** Of blocks up to an eighth of that, as long as all slabs together are not more than a few large ones. */
const SMALL_SLAB_BYTES = 1 << 16;
const SMALL_STORE_BYTES = 4 * SLAB_BYTES;
const UNIT_BYTES = 16;
const UNITS_PER_SLAB = SLAB_BYTES / UNIT_BYTES;
/** Larger blocks would leave too much of a slab's end unused. */
const SHARED_BLOCK_BYTES_MAX = 128 * 1024;
/** Larger blocks are whole pages. */
const PAGE_BYTES = 4096;
/** Kept for the next that needs one; more are given back. */
const EMPTY_SLABS_MAX = 8;

/** Where a block is: its slab's number, times the units of a slab, plus its first unit. A safe integer. */
export type BlockRef = number;

/** Bytes of the block that holds `bytes`. Sizes: 16, 32, … 128, then eight steps for every doubling, then whole pages. */
export function blockBytes(bytes: number): number {
  if (bytes > SHARED_BLOCK_BYTES_MAX) return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES;
  const units = Math.max(1, (bytes + UNIT_BYTES - 1) >>> 4);
  if (units <= 8) return units * UNIT_BYTES;
  const shift = 28 - Math.clz32(units - 1);
  return (((units - 1) >>> shift) + 1) * (UNIT_BYTES << shift);
}

/** Dense numbers for the sizes that share slabs, from 0. */
function classOf(size: number): number {
  const last = size / UNIT_BYTES - 1;
  if (last < 8) return last;
  const shift = 28 - Math.clz32(last);
  return 8 * shift + (last >>> shift);
}

class Slab {
  readonly bytes: Buffer<SharedArrayBuffer>;
  /** The same memory, for the chain through free blocks. */
  readonly words: Uint32Array;
  blockBytes = 0;
  live = 0;
  /** From here on no block was ever given out. */
  unused = 0;
  /** Position of the first free block before `unused`, plus 1; 0 = none. Its first word holds the next in the same way. */
  free = 0;
  /** Its index among the slabs of its size that have room; -1 = it has none. */
  place = -1;

  constructor(bytes: number) {
    this.bytes = Buffer.from(lastingMemory(bytes));
    this.words = new Uint32Array(this.bytes.buffer);
  }

  get hasRoom(): boolean {
    return this.free > 0 || this.unused + this.blockBytes <= this.bytes.length;
  }

  /** Position of a block that is free. */
  take(): number {
    this.live++;
    if (this.free > 0) {
      const position = this.free - 1;
      this.free = this.words[position >>> 2] ?? 0;
      return position;
    }
    const position = this.unused;
    this.unused += this.blockBytes;
    return position;
  }

  giveBack(position: number): void {
    this.live--;
    this.words[position >>> 2] = this.free;
    this.free = position + 1;
  }

  /** Empty, and cut into blocks of another size. */
  begin(size: number): void {
    this.blockBytes = size;
    this.live = 0;
    this.unused = 0;
    this.free = 0;
  }
}

export class SlabStore {
  /** By number; undefined = the number is vacant. */
  #slabs: (Slab | undefined)[] = [];
  #vacant: number[] = [];
  /** By class: the numbers of its slabs that have room. The last is used first. */
  #withRoom: number[][] = [];
  #empty: Slab[] = [];
  #liveBytes = 0;
  #slabBytes = 0;

  /** Bytes of all blocks that are given out. */
  get liveBytes(): number {
    return this.#liveBytes;
  }

  /** Bytes of all slabs, those kept empty too. */
  get slabBytes(): number {
    return this.#slabBytes;
  }

  /** A block for `bytes`; what is in it is what was there before. */
  allocate(bytes: number): BlockRef {
    const size = blockBytes(bytes);
    this.#liveBytes += size;
    if (size > SHARED_BLOCK_BYTES_MAX) {
      const own = this.#newSlab(size);
      own.begin(size);
      own.take();
      return this.#enter(own) * UNITS_PER_SLAB;
    }
    const open = this.#openOf(size);
    const number = open[open.length - 1] ?? this.#open(size, open);
    const slab = this.#slab(number);
    const position = slab.take();
    if (!slab.hasRoom) {
      open.pop();
      slab.place = -1;
    }
    return number * UNITS_PER_SLAB + position / UNIT_BYTES;
  }

  /** Takes back a block that was given out. */
  free(ref: BlockRef): void {
    const number = Math.floor(ref / UNITS_PER_SLAB);
    const slab = this.#slab(number);
    assert(slab.live > 0, "a block is freed once");
    this.#liveBytes -= slab.blockBytes;
    slab.giveBack((ref - number * UNITS_PER_SLAB) * UNIT_BYTES);
    if (slab.live === 0) this.#release(number, slab);
    else if (slab.place < 0) this.#list(this.#openOf(slab.blockBytes), number, slab);
  }

  /** The memory that a block lies in. */
  bytesOf(ref: BlockRef): Buffer {
    return this.#slab(Math.floor(ref / UNITS_PER_SLAB)).bytes;
  }

  /** Where in it the block begins. */
  positionOf(ref: BlockRef): number {
    return (ref - Math.floor(ref / UNITS_PER_SLAB) * UNITS_PER_SLAB) * UNIT_BYTES;
  }

  /** Takes back every block and gives all memory back. */
  clear(): void {
    this.#slabs = [];
    this.#vacant = [];
    this.#withRoom = [];
    this.#empty = [];
    this.#liveBytes = 0;
    this.#slabBytes = 0;
  }

  #slab(number: number): Slab {
    const slab = this.#slabs[number];
    assert(slab !== undefined, "a block's slab is there");
    return slab;
  }

  #openOf(size: number): number[] {
    const sizeClass = classOf(size);
    for (let next = this.#withRoom.length; next <= sizeClass; next++) this.#withRoom.push([]);
    return this.#withRoom[sizeClass] ?? [];
  }

  /** A slab for blocks of this size that has nothing but room. */
  #open(size: number, open: number[]): number {
    const isSmall = this.#slabBytes < SMALL_STORE_BYTES && size <= SMALL_SLAB_BYTES / 8;
    const slab = this.#empty.pop() ?? this.#newSlab(isSmall ? SMALL_SLAB_BYTES : SLAB_BYTES);
    slab.begin(size);
    const number = this.#enter(slab);
    this.#list(open, number, slab);
    return number;
  }

  #newSlab(bytes: number): Slab {
    this.#slabBytes += bytes;
    return new Slab(bytes);
  }

  #enter(slab: Slab): number {
    const number = this.#vacant.pop() ?? this.#slabs.length;
    this.#slabs[number] = slab;
    return number;
  }

  #list(open: number[], number: number, slab: Slab): void {
    slab.place = open.length;
    open.push(number);
  }

  /** No block of the slab is live: it is free for any size. */
  #release(number: number, slab: Slab): void {
    this.#slabs[number] = undefined;
    this.#vacant.push(number);
    if (slab.place >= 0) this.#unlist(this.#openOf(slab.blockBytes), slab);
    if (slab.bytes.length === SLAB_BYTES && this.#empty.length < EMPTY_SLABS_MAX) this.#empty.push(slab);
    else this.#slabBytes -= slab.bytes.length;
  }

  #unlist(open: number[], slab: Slab): void {
    const last = open.pop();
    if (last !== undefined && slab.place < open.length) {
      open[slab.place] = last;
      this.#slab(last).place = slab.place;
    }
    slab.place = -1;
  }
}
