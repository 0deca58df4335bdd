/**
 * Frames: how messages are cut out of a stream of bytes. `README.md` repeats the tables and a test keeps the two equal.
 * Everything is little-endian.
 *
 * Frame = header (16 bytes), then the payload.
 *
 *   place bytes field     meaning                                                  checked on read
 *     0     4   length    bytes of the payload                                     ≤ the type's bound, before a byte is kept
 *     4     4   crc       CRC-32 of all that follows, payload included             equal, before the payload is looked at
 *     8     1   type      which message                                            known
 *     9     3   check     low 24 bits of the CRC-32 of length and type             equal, before the length is believed
 *    12     4   epoch     of the leadership that its sender stated last; 0 = none  equal to that
 *
 * The length is bounded by the type that is claimed: a liar gets nothing more than what that type may take anyway. Before the greeting is
 * over every type has the bound of a greeting. The check is against chance: one changed bit in the length of a run would else be waited out,
 * with everything that comes, up to 64 MiB of heartbeats, as the rest of one frame.
 *
 * Example: PROBE of offset 7 under epoch 3 (`81 a6 6f6666736574 07` is the MessagePack map {offset: 7}):
 *
 *   09000000 9769e469 05 e36158 03000000 81a66f666673657407
 */
import { crc32, RECORD_BODY_BYTES_MAX, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES } from "../log/index.js";
import { ReplicationError } from "./errors.js";
import type { MessageType } from "./messages.js";

export const FRAME_HEADER_BYTES = 16;
/** Of any frame before the other side is known. */
export const GREETING_BYTES_MAX = 4 * 1024;
export const CONTROL_BYTES_MAX = 64 * 1024;
export const CHUNK_BYTES_MAX = 1024 * 1024;
/** Before the records of a run: flags, reserved, the segment's header. */
export const RUN_PREFIX_BYTES = 4 + SEGMENT_HEADER_BYTES;
/** A run holds at least one record, and a record may be this large. */
export const RUN_BYTES_MAX = RUN_PREFIX_BYTES + RECORD_HEADER_BYTES + RECORD_BODY_BYTES_MAX;

const NOTHING = Buffer.alloc(0);
const BUFFER_BYTES_MIN = 4 * 1024;
/** A larger buffer that has become empty is let go. A stream's runs are some mebibytes, and there is one stream. */
const STREAM_BUFFER_BYTES = 4 * 1024 * 1024;
const WORDS_BUFFER_BYTES = 16 * 1024;

/** Numbers on the wire: never reused. */
export const FRAME_TYPES: Readonly<Record<MessageType, number>> = {
  challenge: 1,
  hello: 2,
  welcome: 3,
  refused: 4,
  probe: 5,
  mark: 6,
  continue: 7,
  cut: 8,
  cutDone: 9,
  install: 10,
  chunk: 11,
  run: 12,
  ack: 13,
  heartbeat: 14,
  fence: 15,
  fenced: 16,
  below: 17,
  held: 18,
  fetch: 19,
  fetched: 20,
  check: 21,
  checked: 22,
};

const TYPE_OF = new Map<number, MessageType>(
  Object.entries(FRAME_TYPES).map(([type, number]) => [number, type as MessageType]),
);

export interface Frame {
  readonly type: MessageType;
  readonly epoch: number;
  /** Borrowed: the reader's own memory, until its next `next`. */
  readonly payload: Uint8Array;
}

/** Below this a part is copied behind the others; from here on it is written as it is. */
const LARGE_PART_BYTES = 16 * 1024;

/** The frame in one or two pieces: the parts are copied together, but for a large last one. */
export function encodeFrame(type: MessageType, epoch: number, parts: readonly Uint8Array[]): Uint8Array[] {
  const last = parts[parts.length - 1];
  const apart = last !== undefined && last.length >= LARGE_PART_BYTES ? last : undefined;
  const copied = apart === undefined ? parts : parts.slice(0, -1);
  let copiedBytes = 0;
  for (const part of copied) copiedBytes += part.length;
  const frame = Buffer.allocUnsafe(FRAME_HEADER_BYTES + copiedBytes);
  frame.writeUInt32LE(copiedBytes + (apart?.length ?? 0), 0);
  frame.writeUInt8(FRAME_TYPES[type], 8);
  frame.writeUIntLE(checkOf(frame), 9, 3);
  frame.writeUInt32LE(epoch, 12);
  let at = FRAME_HEADER_BYTES;
  for (const part of copied) {
    frame.set(part, at);
    at += part.length;
  }
  const crc = crc32(frame.subarray(8), 0);
  frame.writeUInt32LE(apart === undefined ? crc : crc32(apart, crc), 4);
  return apart === undefined ? [frame] : [frame, apart];
}

/** Of length and type, as they stand in a header. */
export function checkOf(header: Uint8Array): number {
  return crc32(header.subarray(8, 9), crc32(header.subarray(0, 4), 0)) & 0xff_ffff;
}

/** What a type may take once the other side is known. */
export function payloadBytesMax(type: MessageType): number {
  if (type === "run") return RUN_BYTES_MAX;
  if (type === "chunk") return CHUNK_BYTES_MAX;
  return CONTROL_BYTES_MAX;
}

/**
 * Cuts frames out of bytes that come in any pieces, which are copied one behind the other into one buffer: so that a large frame lies in one piece
 * when its end comes, and a stream of them needs no memory beside it. Holds no more than one frame that is within its bound and the piece
 * that ended it, in a buffer of at most twice that. After a fault nothing more can be read: where the next frame begins is not known.
 */
export class FrameReader {
  /** What came and was not read lies in [#start, #end); behind it is room. */
  #bytes = NOTHING;
  #start = 0;
  #end = 0;
  /** The frame before `#start` was given, and whoever has it may still be at work. */
  #isShown = false;
  #takes: "greetings" | "words" | "records" = "greetings";
  #fault: ReplicationError | undefined;

  /** Bytes that came and were not read. */
  get bufferedBytes(): number {
    return this.#end - this.#start;
  }

  /** The other side is known: frames may be as large as their types allow, if it may send records, or as large as words are. */
  greeted(takes: "words" | "records"): void {
    this.#takes = takes;
  }

  /** Copies the bytes. What `next` gave last stays as it is. */
  push(bytes: Uint8Array): void {
    if (this.#fault !== undefined) return;
    if (this.#bytes.length - this.#end < bytes.length) this.#makeRoom(bytes.length);
    this.#bytes.set(bytes, this.#end);
    this.#end += bytes.length;
  }

  /**
   * The next whole frame, or undefined until more bytes come.
   * @throws ReplicationError REPLICATION_FRAME_BAD, from then on always.
   */
  next(): Frame | undefined {
    if (this.#fault !== undefined) throw this.#fault;
    this.#release();
    if (this.bufferedBytes < FRAME_HEADER_BYTES) return undefined;
    const header = this.#show(FRAME_HEADER_BYTES);
    const length = header.readUInt32LE(0);
    const type = TYPE_OF.get(header.readUInt8(8));
    if (type === undefined) throw this.#bad("type", "a known type", header.readUInt8(8));
    const check = header.readUIntLE(9, 3);
    if (check !== checkOf(header)) throw this.#bad("check", checkOf(header), check);
    const bound = this.#bound(type);
    if (length > bound) throw this.#bad("length", `at most ${bound} of ${type}`, length);
    if (this.bufferedBytes < FRAME_HEADER_BYTES + length) return undefined;
    return this.#take(type, length);
  }

  #bound(type: MessageType): number {
    if (this.#takes === "greetings") return GREETING_BYTES_MAX;
    return this.#takes === "words" ? CONTROL_BYTES_MAX : payloadBytesMax(type);
  }

  #take(type: MessageType, length: number): Frame {
    const frame = this.#show(FRAME_HEADER_BYTES + length);
    const crc = frame.readUInt32LE(4);
    const found = crc32(frame.subarray(8), 0);
    if (crc !== found) throw this.#bad("crc", crc, found);
    this.#start += frame.length;
    this.#isShown = true;
    return { type, epoch: frame.readUInt32LE(12), payload: frame.subarray(FRAME_HEADER_BYTES) };
  }

  /** The next `count` bytes; there are as many. */
  #show(count: number): Buffer {
    return this.#bytes.subarray(this.#start, this.#start + count);
  }

  /** Nobody looks any more at the frame that was given: its place may be written over. */
  #release(): void {
    this.#isShown = false;
    const held = this.bufferedBytes;
    if (held === 0) {
      this.#start = 0;
      this.#end = 0;
      const kept = this.#takes === "records" ? STREAM_BUFFER_BYTES : WORDS_BUFFER_BYTES;
      if (this.#bytes.length > kept) this.#bytes = NOTHING;
    } else if (held < this.#start / 8) this.#moveToFront();
  }

  #makeRoom(count: number): void {
    const needed = this.bufferedBytes + count;
    const fits = needed <= this.#bytes.length;
    if (fits && !this.#isShown) {
      this.#moveToFront();
      return;
    }
    const before = this.#show(this.bufferedBytes);
    this.#bytes = Buffer.allocUnsafeSlow(
      fits ? this.#bytes.length : Math.max(BUFFER_BYTES_MIN, needed, 2 * this.#bytes.length),
    );
    this.#bytes.set(before);
    this.#start = 0;
    this.#end = before.length;
  }

  #moveToFront(): void {
    this.#bytes.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }

  #bad(field: string, expected: string | number, found: number): ReplicationError {
    this.#bytes = NOTHING;
    this.#start = 0;
    this.#end = 0;
    this.#fault = new ReplicationError(
      "REPLICATION_FRAME_BAD",
      `a frame's ${field} is ${found}, expected ${expected}`,
      { field, expected, found },
    );
    return this.#fault;
  }
}
