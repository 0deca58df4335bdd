/**
 * The few MessagePack forms that hot event bodies are made of, written and read by hand: arrays, strings, binaries,
 * unsigned integers and nil. The bytes are those of `@msgpack/msgpack` (a property holds the two equal); it is five times
 * slower at this, and the speed of replay is the speed of this file. Every other body goes through the package itself.
 *
 *   array  0x90+n | dc u16 | dd u32      str  0xa0+n | d9 u8 | da u16 | db u32     bin  c4 u8 | c5 u16 | c6 u32
 *   uint   0x00+n | cc u8 | cd u16 | ce u32 | cf u64                               nil  c0
 *
 * Numbers are big-endian. The writer takes the shortest form, the reader any; a length is checked against what is left
 * before it is believed. Integers are safe integers: a u64 past 2^53 is malformed.
 */
import { isUtf8 } from "node:buffer";
import { copyBytes, utf8 } from "./bytes.js";
import { malformed, type ProjectionError } from "./errors.js";

const TWO_32 = 4_294_967_296;
/** A scratch buffer that one huge event made larger than this is let go after use. */
const SCRATCH_BYTES_KEPT = 1_048_576;

/** Writes one body at a time into a buffer that it keeps. */
export class BodyWriter {
  #bytes = Buffer.allocUnsafe(4096);
  #at = 0;

  /** Begins a new body; what `finish` gave before is no longer valid. */
  begin(): void {
    if (this.#bytes.length > SCRATCH_BYTES_KEPT) this.#bytes = Buffer.allocUnsafe(4096);
    this.#at = 0;
  }

  /** Bytes written since `begin`. */
  get length(): number {
    return this.#at;
  }

  /** The body, borrowed: valid until the next `begin`. */
  finish(): Uint8Array {
    // Not `subarray`: a Buffer costs twice as much to make as a plain view.
    return new Uint8Array(this.#bytes.buffer, this.#bytes.byteOffset, this.#at);
  }

  array(count: number): void {
    this.#reserve(5);
    if (count < 16) this.#byte(0x90 + count);
    else if (count < 0x1_0000) this.#tagged(0xdc, 2, count);
    else this.#tagged(0xdd, 4, count);
  }

  nil(): void {
    this.#reserve(1);
    this.#byte(0xc0);
  }

  uint(value: number): void {
    this.#reserve(9);
    if (value < 0x80) this.#byte(value);
    else if (value < 0x100) this.#tagged(0xcc, 1, value);
    else if (value < 0x1_0000) this.#tagged(0xcd, 2, value);
    else if (value < TWO_32) this.#tagged(0xce, 4, value);
    else {
      this.#tagged(0xcf, 4, Math.floor(value / TWO_32));
      this.#bytes.writeUInt32BE(value % TWO_32, this.#at);
      this.#at += 4;
    }
  }

  /** `byteLength` is the text's length in UTF-8, which the caller knows already. */
  str(text: string, byteLength: number): void {
    this.#reserve(5 + byteLength);
    if (byteLength < 32) this.#byte(0xa0 + byteLength);
    else if (byteLength < 0x100) this.#tagged(0xd9, 1, byteLength);
    else if (byteLength < 0x1_0000) this.#tagged(0xda, 2, byteLength);
    else this.#tagged(0xdb, 4, byteLength);
    this.#text(text, byteLength);
  }

  /** Text as a binary, or bytes. */
  bin(value: string | Uint8Array, byteLength: number): void {
    this.binOf(byteLength);
    this.part(value, byteLength);
  }

  /** Begins a binary of `byteLength` bytes, which `part` writes piece by piece. */
  binOf(byteLength: number): void {
    this.#reserve(5 + byteLength);
    if (byteLength < 0x100) this.#tagged(0xc4, 1, byteLength);
    else if (byteLength < 0x1_0000) this.#tagged(0xc5, 2, byteLength);
    else this.#tagged(0xc6, 4, byteLength);
  }

  /** The next piece of the binary that `binOf` began. */
  part(value: string | Uint8Array, byteLength: number): void {
    if (typeof value === "string") this.#text(value, byteLength);
    else {
      this.#bytes.set(value, this.#at);
      this.#at += byteLength;
    }
  }

  /** source[from, end) as a binary. */
  binFrom(source: Uint8Array, from: number, end: number): void {
    this.binOf(end - from);
    copyBytes(source, from, end, this.#bytes, this.#at);
    this.#at += end - from;
  }

  #text(text: string, byteLength: number): void {
    if (byteLength === text.length && byteLength < 24) {
      // All ASCII and short: a call into the runtime costs more than the loop.
      for (let index = 0; index < byteLength; index++) this.#bytes[this.#at + index] = text.charCodeAt(index);
    } else this.#bytes.write(text, this.#at, byteLength, byteLength === text.length ? "latin1" : "utf8");
    this.#at += byteLength;
  }

  #byte(value: number): void {
    this.#bytes[this.#at++] = value;
  }

  #tagged(tag: number, width: 1 | 2 | 4, value: number): void {
    this.#byte(tag);
    for (let shift = (width - 1) * 8; shift >= 0; shift -= 8) this.#byte((value >>> shift) & 0xff);
  }

  #reserve(count: number): void {
    const needed = this.#at + count;
    if (needed <= this.#bytes.length) return;
    const larger = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
    this.#bytes.copy(larger, 0, 0, this.#at);
    this.#bytes = larger;
  }
}

/** Reads one body at a time. Strings that it gives are copies; ranges are places in the body. */
export class BodyReader {
  #bytes: Uint8Array = new Uint8Array(0);
  #end = 0;
  #at = 0;

  /** The body; `at` and what `passStr` and `passBin` answer are positions in it. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Where the next byte to read stands. */
  get at(): number {
    return this.#at;
  }

  begin(body: Uint8Array): void {
    this.#bytes = body;
    this.#at = 0;
    this.#end = body.length;
  }

  /** Goes to a part of the body, whose places were found before, and sees nothing else of it. */
  narrow(start: number, end: number): void {
    this.#at = start;
    this.#end = end;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#end;
  }

  atEnd(): void {
    if (!this.isAtEnd) throw this.#malformed("bytes left over");
  }

  array(): number {
    const head = this.#byte();
    if (head >= 0x90 && head < 0xa0) return head - 0x90;
    if (head === 0xdc) return this.#number(2);
    if (head === 0xdd) return this.#number(4);
    throw this.#malformed("expected an array");
  }

  uint(): number {
    const head = this.#byte();
    if (head < 0x80) return head;
    if (head === 0xcc) return this.#number(1);
    if (head === 0xcd) return this.#number(2);
    if (head === 0xce) return this.#number(4);
    if (head === 0xcf) {
      const value = this.#number(4) * TWO_32 + this.#number(4);
      if (Number.isSafeInteger(value)) return value;
    }
    throw this.#malformed("expected an unsigned integer below 2^53");
  }

  /** Goes past a nil if one comes next, and says so. */
  passNil(): boolean {
    const isNil = this.#at < this.#end && this.#bytes[this.#at] === 0xc0;
    if (isNil) this.#at++;
    return isNil;
  }

  /** A number, or `absent` for nil. */
  uintOrNil(absent: number): number {
    return this.passNil() ? absent : this.uint();
  }

  /** True when a string comes next. */
  isStr(): boolean {
    const head = this.#at < this.#end ? (this.#bytes[this.#at] ?? 0) : 0;
    return (head >= 0xa0 && head < 0xc0) || head === 0xd9 || head === 0xda || head === 0xdb;
  }

  str(): string {
    const from = this.passStr();
    return utf8(this.#bytes, from, this.#at);
  }

  /** Goes past a string, which is UTF-8, and answers where it began; it ends at `at`. */
  passStr(): number {
    const length = this.#strLength();
    this.#need(length);
    const from = this.#at;
    const end = from + length;
    this.#at = end;
    let seen = 0;
    for (let index = from; index < end; index++) seen |= this.#bytes[index] ?? 0;
    if (seen >= 0x80 && !isUtf8(this.#bytes.subarray(from, end))) {
      throw this.#malformed("a string is not UTF-8");
    }
    return from;
  }

  /** Goes past a binary and answers where it began; it ends at `at`. */
  passBin(): number {
    const length = this.binLength();
    const from = this.#at;
    this.#at = from + length;
    return from;
  }

  /** Length of the binary whose bytes come next. */
  binLength(): number {
    const head = this.#byte();
    const width = head === 0xc4 ? 1 : head === 0xc5 ? 2 : head === 0xc6 ? 4 : 0;
    if (width === 0) throw this.#malformed("expected a binary");
    const length = this.#number(width);
    this.#need(length);
    return length;
  }

  /** Goes past all that is left. */
  passRest(): void {
    this.#at = this.#end;
  }

  /** What is left, a view on the body's memory, and goes to its end. */
  rest(): Uint8Array {
    const rest = this.#bytes.subarray(this.#at, this.#end);
    this.#at = this.#end;
    return rest;
  }

  /** Nil (undefined) or an array of one or two strings: the form of a cause. */
  fewStrings(): string[] | undefined {
    const count = this.#fewOrNil();
    if (count === 0) return undefined;
    return count === 1 ? [this.str()] : [this.str(), this.str()];
  }

  /** Goes past what `fewStrings` would read. */
  skipFewStrings(): void {
    for (let count = this.#fewOrNil(); count > 0; count--) {
      const length = this.#strLength();
      this.#need(length);
      this.#at += length;
    }
  }

  #fewOrNil(): number {
    if (this.#at < this.#end && this.#bytes[this.#at] === 0xc0) {
      this.#at++;
      return 0;
    }
    const count = this.array();
    if (count < 1 || count > 2) throw this.#malformed("expected one or two strings");
    return count;
  }

  #strLength(): number {
    const head = this.#byte();
    if (head >= 0xa0 && head < 0xc0) return head - 0xa0;
    if (head === 0xd9) return this.#number(1);
    if (head === 0xda) return this.#number(2);
    if (head === 0xdb) return this.#number(4);
    throw this.#malformed("expected a string");
  }

  #byte(): number {
    if (this.#at >= this.#end) throw this.#malformed("it ends early");
    return this.#bytes[this.#at++] ?? 0;
  }

  #number(width: number): number {
    this.#need(width);
    let value = 0;
    for (let index = 0; index < width; index++) value = value * 256 + (this.#bytes[this.#at++] ?? 0);
    return value;
  }

  #need(count: number): void {
    if (count > this.#end - this.#at) throw this.#malformed("it ends early");
  }

  #malformed(what: string): ProjectionError {
    return malformed(what, this.#at);
  }
}
