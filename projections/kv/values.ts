/**
 * Values between their three forms: what a caller gives (text or bytes), what the state keeps (one character per byte), and
 * what leaves (text when it is text). Nothing here looks inside a value.
 */
import { isUtf8 } from "node:buffer";
import type { ByteString, KvEntry, StoredValue, ValueInput } from "./contract.js";

// biome-ignore lint/suspicious/noControlCharactersInRegex: every ASCII character, the control ones too
const ASCII = /^[\x00-\x7f]*$/;

/** The bytes that a ByteString stands for. */
export function bytesOf(bytes: ByteString): Buffer {
  return Buffer.from(bytes, "latin1");
}

/** The text that the bytes are in UTF-8, a byte order mark included; undefined when they are not UTF-8. */
export function textOf(bytes: ByteString): string | undefined {
  if (ASCII.test(bytes)) return bytes;
  const raw = bytesOf(bytes);
  return isUtf8(raw) ? raw.toString("utf8") : undefined;
}

export function inputBytes(value: ValueInput): number {
  return typeof value === "string" ? Buffer.byteLength(value) : value.byteLength;
}

export function inputBuffer(value: ValueInput): Buffer {
  return typeof value === "string"
    ? Buffer.from(value)
    : Buffer.from(value.buffer, value.byteOffset, value.byteLength);
}

/** A value as the state would keep it. */
export function byteStringOf(value: ValueInput): ByteString {
  return inputBuffer(value).toString("latin1") as ByteString;
}

/** Only what a StoredValue has: an entry's revision and expiry stay behind. */
export function storedValue(entry: KvEntry): StoredValue {
  return { bytes: entry.bytes, contentType: entry.contentType };
}
