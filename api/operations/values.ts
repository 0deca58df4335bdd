/** Between JSON as clients send and read it, and values as the store keeps them: bytes with a content type. */
import {
  type ByteString,
  byteStringOf,
  bytesOf,
  JSON_TYPE,
  type KvEntry,
  type StoredValue,
  TEXT_TYPE,
  textOf,
  type ValueInput,
} from "../../projections/index.js";
import { type Json, JsonText } from "../json-write.js";

export interface TypedValue {
  readonly value: ValueInput;
  readonly contentType: string;
}

/** `value` is a string or a `JsonText`: the exact text of a body has been taken by then. */
export function typedValue(value: unknown): TypedValue {
  if (typeof value === "string") return { value, contentType: TEXT_TYPE };
  return { value: jsonTextOf(value), contentType: JSON_TYPE };
}

/** What to append or to write into a value: a string's text, or the JSON text of anything else. */
export function valueText(value: unknown): string {
  return typeof value === "string" ? value : jsonTextOf(value);
}

/** The text that was sent, where an operation takes it exactly; else one with the same meaning. */
export function jsonTextOf(value: unknown): string {
  return value instanceof JsonText ? value.text : JSON.stringify(value);
}

/** A value as a JSON string, or as an array of its bytes if it isn't UTF-8. */
export function textOrBytes(stored: StoredValue): Json {
  return textOf(stored.bytes) ?? byteList(stored.bytes);
}

export function byteList(bytes: ByteString): JsonText {
  return new JsonText(`[${bytesOf(bytes).join(",")}]`);
}

/** A value as the JSON that it is: text as a string, JSON as it was stored, other bytes as text if they are UTF-8. */
export function jsonValue(entry: KvEntry | undefined): Json {
  if (entry === undefined) return null;
  const text = textOf(entry.bytes);
  if (text === undefined) return byteList(entry.bytes);
  return isJson(entry.contentType) && parses(text) ? new JsonText(text) : text;
}

/** Anyone may store any bytes as `application/json` through the raw door, so what claims to be JSON is checked. */
function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

function isJson(contentType: string): boolean {
  return contentType === JSON_TYPE || /^application\/json\s*(;|$)/i.test(contentType);
}

/** As `textOrBytes`, of bytes as an event has them. */
export function storedText(value: ValueInput): Json {
  return textOrBytes({ bytes: byteStringOf(value), contentType: "" });
}
