/**
 * The body of an epoch's first record: why the epoch began. Version 1 is empty: whoever wrote it knew neither promotions nor
 * restores, so it began the log's first epoch. Version 2 is a MessagePack map with text keys, in this order:
 *
 *   reason    str    "created": the log's first; "promoted": this node became the primary; "restored": from a backup
 *                    "migrated": rewritten from an older directory
 *   from      str    restored: which backup, of which repository; migrated: which directory
 *   offset    uint   the last offset that was taken over
 *   lineage   str    lineage id of the epoch that wrote it there, 32 hex digits
 *
 * What a later release adds to the map is passed over. The log writes MessagePack by hand, for it imports no codec; a test
 * holds the bytes equal to those of `@msgpack/msgpack`.
 */
import { offset as asOffset, type Offset } from "./units.js";

export const EPOCH_START_VERSION = 2;
const FROM_BYTES_MAX = 4096;

export type EpochStart =
  | { readonly reason: "created" | "promoted" }
  | {
      readonly reason: "restored" | "migrated";
      readonly from: string;
      readonly offset: Offset;
      readonly lineage: string;
    };

export function encodeEpochStart(start: EpochStart): Uint8Array {
  if (!("from" in start)) return Buffer.concat([Buffer.of(0x81), text("reason"), text(start.reason)]);
  return Buffer.concat([
    Buffer.of(0x84),
    ...[text("reason"), text(start.reason)],
    ...[text("from"), text(start.from.slice(0, FROM_BYTES_MAX))],
    ...[text("offset"), uint(start.offset)],
    ...[text("lineage"), text(start.lineage)],
  ]);
}

/** The body of version 2 that says what the empty one of version 1 did. */
export const upgradeEpochStart1 = (): Uint8Array => encodeEpochStart({ reason: "created" });

/** Undefined when the record does not say: it is of a later version that means something else. Never throws. */
export function decodeEpochStart(version: number, body: Uint8Array): EpochStart | undefined {
  if (version === 1) return decodeEpochStart(2, upgradeEpochStart1());
  if (version !== EPOCH_START_VERSION) return undefined;
  const fields = new FieldReader(body).fields();
  const [reason, from] = [fields?.get("reason"), fields?.get("from")];
  const [last, lineage] = [fields?.get("offset"), fields?.get("lineage")];
  if (reason === "created" || reason === "promoted") return { reason };
  const isWhole = typeof from === "string" && typeof last === "number" && typeof lineage === "string";
  const isTakenOver = reason === "restored" || reason === "migrated";
  return isTakenOver && isWhole ? { reason, from, offset: asOffset(last), lineage } : undefined;
}

function text(value: string): Uint8Array {
  const bytes = Buffer.from(value);
  if (bytes.length < 32) return Buffer.concat([Buffer.of(0xa0 | bytes.length), bytes]);
  if (bytes.length < 256) return Buffer.concat([Buffer.of(0xd9, bytes.length), bytes]);
  return Buffer.concat([Buffer.of(0xda, bytes.length >> 8, bytes.length & 0xff), bytes]);
}

function uint(value: number): Uint8Array {
  if (value < 0x80) return Buffer.of(value);
  if (value < 0x100) return Buffer.of(0xcc, value);
  if (value < 0x1_0000) return Buffer.of(0xcd, value >> 8, value & 0xff);
  const bytes = Buffer.alloc(9);
  if (value < 0x1_0000_0000) {
    bytes.writeUInt8(0xce, 0);
    bytes.writeUInt32BE(value, 1);
    return bytes.subarray(0, 5);
  }
  bytes.writeUInt8(0xcf, 0);
  bytes.writeBigUInt64BE(BigInt(value), 1);
  return bytes;
}

/** Reads a map of texts and whole numbers; anything else, or bytes that end early, make it give up. */
class FieldReader {
  readonly #bytes: Buffer;
  #at = 0;
  #isBroken = false;

  constructor(body: Uint8Array) {
    this.#bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
  }

  fields(): ReadonlyMap<string, string | number> | undefined {
    const head = this.#unsigned(1);
    if ((head & 0xf0) !== 0x80) return undefined;
    const fields = new Map<string, string | number>();
    for (let left = head & 0x0f; left > 0; left--) {
      const [name, value] = [this.#value(), this.#value()];
      if (this.#isBroken || typeof name !== "string" || value === undefined) return undefined;
      fields.set(name, value);
    }
    return fields;
  }

  #value(): string | number | undefined {
    const head = this.#unsigned(1);
    if (head < 0x80) return head;
    if ((head & 0xe0) === 0xa0) return this.#text(head & 0x1f);
    switch (head) {
      case 0xcc:
        return this.#unsigned(1);
      case 0xcd:
        return this.#unsigned(2);
      case 0xce:
        return this.#unsigned(4);
      case 0xcf:
        return this.#unsigned(8);
      case 0xd9:
        return this.#text(this.#unsigned(1));
      case 0xda:
        return this.#text(this.#unsigned(2));
      default:
        return undefined;
    }
  }

  #text(length: number): string {
    const bytes = this.#take(length);
    return bytes.toString("utf8");
  }

  #unsigned(length: 1 | 2 | 4 | 8): number {
    const bytes = this.#take(length);
    let value = 0;
    for (const byte of bytes) value = value * 256 + byte;
    return value;
  }

  #take(length: number): Buffer {
    const taken = this.#bytes.subarray(this.#at, this.#at + length);
    if (taken.length < length) this.#isBroken = true;
    this.#at += length;
    return taken;
  }
}
