/**
 * Where one stream's messages lie in the log: one entry for each append, a few bytes long, no bodies. Entries are appended at
 * one end and dropped at the other, and found by stream offset, by place in the log, or by time.
 *
 * Entries lie in chunks of up to 512. A chunk knows its first entry whole; its bytes hold what changes from entry to entry:
 *
 *   step     varint   4 × (log offset − the entry's before) + 2 if a place follows + 1 if a count follows
 *   place    varint   the event's place in its record; 0 if absent
 *   count    varint   messages; 1 if absent
 *   bytes    varint   of the message bodies
 *   time     varint   ms since the entry's before
 *
 * so that an append of one small message, now and then, costs three to five bytes. A varint has seven bits a byte, low first.
 */
import { assert, type Offset, offset } from "../../log/index.js";
import type { EventPlace } from "./contract.js";

const CHUNK_ENTRIES = 512;
/** Bytes that the longest entry can take: five varints of 53 bits. */
const ENTRY_BYTES_MAX = 40;
/** A chunk object with its array, roughly: what the accounting adds to its bytes. */
const CHUNK_OVERHEAD_BYTES = 240;

/** One append as the index has it. */
export interface Entry {
  /** Stream offset of its first message. */
  readonly first: number;
  readonly count: number;
  readonly bytes: number;
  readonly offset: number;
  readonly place: number;
  /** Ms since 1970, of its record. */
  readonly time: number;
}

/** Of a chunk's first entry: what its deltas are taken from. */
interface ChunkStart {
  readonly first: number;
  readonly offset: number;
  readonly place: number;
  readonly time: number;
}

interface Chunk extends ChunkStart {
  entries: number;
  /** Body bytes of those entries that are held. */
  bytes: number;
  length: number;
  data: Uint8Array;
}

/** Walks entries forward. Reads as the entry that it stands at. */
class Cursor implements Entry {
  first = 0;
  count = 0;
  bytes = 0;
  offset = 0;
  place = 0;
  time = 0;
  /** Which chunk, counted from the oldest held. */
  chunk = 0;
  /** Entries of the chunk that were read, this one included. */
  read = 0;
  at = 0;

  copy(): Cursor {
    return Object.assign(new Cursor(), this);
  }
}

export class EntryIndex {
  readonly #chunks: Chunk[] = [];
  /** The oldest entry held; undefined when there is none. */
  #head: Cursor | undefined;
  /** Stream offset of the next message. */
  #end: number;
  #lastOffset = 0;
  #lastTime = 0;
  #bytes = 0;
  #entries = 0;
  /** Of all chunks. */
  #dataBytes = 0;

  /** `base`: stream offset of the first message that will be added. */
  constructor(base: number) {
    this.#end = base;
  }

  get end(): number {
    return this.#end;
  }

  /** Body bytes of the entries held. */
  get bytes(): number {
    return this.#bytes;
  }

  get entries(): number {
    return this.#entries;
  }

  get oldest(): Entry | undefined {
    return this.#head;
  }

  /** Memory that it takes, roughly. */
  get residentBytes(): number {
    return this.#dataBytes + this.#chunks.length * CHUNK_OVERHEAD_BYTES;
  }

  append(at: EventPlace, count: number, bytes: number, time: number): void {
    assert(count > 0 && at.offset >= this.#lastOffset, "entries come in the order of the log");
    const chunk = this.#tailChunk(at, time);
    const fresh = chunk.entries === 0;
    const step = fresh ? 0 : at.offset - this.#lastOffset;
    const room = this.#room(chunk);
    let to = putVarint(room, chunk.length, step * 4 + (at.place > 0 ? 2 : 0) + (count > 1 ? 1 : 0));
    if (at.place > 0) to = putVarint(room, to, at.place);
    if (count > 1) to = putVarint(room, to, count);
    to = putVarint(room, to, bytes);
    chunk.length = putVarint(room, to, fresh ? 0 : time - this.#lastTime);
    chunk.entries += 1;
    chunk.bytes += bytes;
    this.#lastOffset = at.offset;
    this.#lastTime = time;
    this.#end += count;
    this.#bytes += bytes;
    this.#entries += 1;
    this.#head ??= this.#begin(0);
  }

  /** Drops the oldest entry. */
  drop(): void {
    const head = this.#head;
    assert(head !== undefined, "there is an entry to drop");
    this.#bytes -= head.bytes;
    this.#chunk(0).bytes -= head.bytes;
    this.#entries -= 1;
    if (this.#entries === 0) {
      this.#chunks.length = 0;
      this.#dataBytes = 0;
      this.#head = undefined;
      return;
    }
    this.#advance(head);
    if (head.chunk === 0) return;
    this.#dataBytes -= this.#chunks.shift()?.data.length ?? 0;
    head.chunk = 0;
  }

  /**
   * Drops whole chunks from the oldest on, while another is there and `goes` says that everything before its first entry goes;
   * `bytesLeft` would be held then. Returns the last entry that was dropped. A million entries are two thousand chunks, so
   * a trim of that many holds nobody up.
   */
  dropChunks(goes: (next: ChunkStart, bytesLeft: number) => boolean): Entry | undefined {
    let chunks = 0;
    let bytesLeft = this.#bytes;
    let entriesLeft = this.#entries;
    for (let next = this.#chunks[1]; next !== undefined; next = this.#chunks[chunks + 1]) {
      const chunk = this.#chunk(chunks);
      if (!goes(next, bytesLeft - chunk.bytes)) break;
      bytesLeft -= chunk.bytes;
      entriesLeft -=
        chunks === 0 && this.#head !== undefined ? chunk.entries - this.#head.read + 1 : chunk.entries;
      chunks++;
    }
    if (chunks === 0) return undefined;
    const last = this.#begin(chunks - 1);
    while (last.read < this.#chunk(chunks - 1).entries) this.#advance(last);
    for (const { data } of this.#chunks.splice(0, chunks)) this.#dataBytes -= data.length;
    this.#bytes = bytesLeft;
    this.#entries = entriesLeft;
    this.#head = this.#begin(0);
    return last;
  }

  /** Entries from the one that holds stream offset `from` on (from the oldest when that is later). Nothing may change meanwhile. */
  *from(from: number): Generator<Entry, void> {
    const cursor = this.#seek(
      (chunk) => chunk.first <= from,
      (entry) => entry.first + entry.count > from,
    );
    while (cursor !== undefined) {
      yield cursor;
      if (!this.#advance(cursor)) return;
    }
  }

  /** The last entry at or before a place in the log; undefined when every entry held is later. */
  lastAt(at: EventPlace): Entry | undefined {
    const isAtOrBefore = (entry: { offset: number; place: number }): boolean =>
      entry.offset < at.offset || (entry.offset === at.offset && entry.place <= at.place);
    const cursor = this.#seek(isAtOrBefore, () => true);
    if (cursor === undefined || !isAtOrBefore(cursor)) return undefined;
    let last = cursor.copy();
    while (this.#advance(cursor) && isAtOrBefore(cursor)) last = cursor.copy();
    return last;
  }

  /** Stream offset of the first message whose record is not older than `time`; the end when there is none. */
  firstSince(time: number): number {
    if (this.#head === undefined || this.#lastTime < time) return this.#end;
    return (
      this.#seek(
        (chunk) => chunk.time < time,
        (entry) => entry.time >= time,
      )?.first ?? this.#end
    );
  }

  /**
   * A cursor at the first entry that is `wanted`, looked for from the last chunk on whose first entry is `early` – or
   * from the oldest entry. Undefined when no entry is wanted.
   */
  #seek(early: (chunk: Chunk) => boolean, wanted: (entry: Entry) => boolean): Cursor | undefined {
    if (this.#head === undefined) return undefined;
    let low = 0;
    let high = this.#chunks.length;
    while (high - low > 1) {
      const middle = (low + high) >>> 1;
      const chunk = this.#chunks[middle];
      if (chunk !== undefined && early(chunk)) low = middle;
      else high = middle;
    }
    const cursor = low === 0 ? this.#head.copy() : this.#begin(low);
    while (!wanted(cursor)) if (!this.#advance(cursor)) return undefined;
    return cursor;
  }

  /** A cursor at the first entry of a chunk. */
  #begin(number: number): Cursor {
    const chunk = this.#chunk(number);
    const cursor = new Cursor();
    cursor.chunk = number;
    cursor.first = chunk.first;
    cursor.offset = chunk.offset;
    cursor.time = chunk.time;
    this.#readEntry(cursor, chunk);
    return cursor;
  }

  /** To the next entry; false, and unmoved, at the last one. */
  #advance(cursor: Cursor): boolean {
    const chunk = this.#chunk(cursor.chunk);
    if (cursor.read < chunk.entries) {
      cursor.first += cursor.count;
      this.#readEntry(cursor, chunk);
      return true;
    }
    if (cursor.chunk + 1 >= this.#chunks.length) return false;
    Object.assign(cursor, this.#begin(cursor.chunk + 1));
    return true;
  }

  #readEntry(cursor: Cursor, { data }: Chunk): void {
    varintAt = cursor.at;
    const step = varint(data);
    cursor.offset += Math.floor(step / 4);
    cursor.place = step % 4 >= 2 ? varint(data) : 0;
    cursor.count = step % 2 === 1 ? varint(data) : 1;
    cursor.bytes = varint(data);
    cursor.time += varint(data);
    cursor.at = varintAt;
    cursor.read += 1;
  }

  #chunk(number: number): Chunk {
    const chunk = this.#chunks[number];
    assert(chunk !== undefined, "the chunk is held");
    return chunk;
  }

  #tailChunk(at: EventPlace, time: number): Chunk {
    const last = this.#chunks[this.#chunks.length - 1];
    if (last !== undefined && last.entries < CHUNK_ENTRIES) return last;
    // Full: it takes no more than it needs from now on.
    if (last !== undefined) {
      this.#dataBytes -= last.data.length - last.length;
      last.data = last.data.slice(0, last.length);
    }
    const { offset, place } = at;
    // Most streams are short: begin small.
    const data = new Uint8Array(ENTRY_BYTES_MAX);
    const chunk = { first: this.#end, offset, place, time, entries: 0, bytes: 0, length: 0, data };
    this.#chunks.push(chunk);
    this.#dataBytes += data.length;
    return chunk;
  }

  /** The chunk's bytes with room for one more entry. */
  #room(chunk: Chunk): Uint8Array {
    if (chunk.data.length - chunk.length >= ENTRY_BYTES_MAX) return chunk.data;
    const larger = new Uint8Array(chunk.data.length * 2 + ENTRY_BYTES_MAX);
    larger.set(chunk.data.subarray(0, chunk.length));
    this.#dataBytes += larger.length - chunk.data.length;
    chunk.data = larger;
    return larger;
  }
}

/** The place of an entry's event, as a value of its own. */
export function placeOf(entry: Entry): EventPlace {
  return { offset: asOffset(entry.offset), place: entry.place };
}

const asOffset = (value: number): Offset => offset(value);

function putVarint(data: Uint8Array, at: number, value: number): number {
  let rest = value;
  let to = at;
  while (rest >= 0x80) {
    data[to++] = (rest % 0x80) + 0x80;
    rest = Math.floor(rest / 0x80);
  }
  data[to++] = rest;
  return to;
}

/** Where `varint` reads next: decoding is synchronous and never nests. */
let varintAt = 0;

function varint(data: Uint8Array): number {
  let value = 0;
  for (let scale = 1; ; scale *= 0x80) {
    const byte = data[varintAt++] ?? 0;
    if (byte < 0x80) return value + byte * scale;
    value += (byte - 0x80) * scale;
  }
}
