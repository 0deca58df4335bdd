/**
 * JSON mode of durable streams: a body becomes messages, an array one message an element, and messages become one array
 * again. Messages are pieces of the body as it was sent: a number keeps its digits, an object its members.
 */
import { isUtf8 } from "node:buffer";
import type { ReadSlice } from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import { deeperThan, elementSpans } from "../json-text.js";

export interface JsonMessages {
  readonly type: "messages";
  readonly messages: readonly Buffer[];
}

/** `[]` gives no messages. Any other value than an array is one message. */
export function splitJson(body: Buffer, depthMax: number): JsonMessages | Refusal {
  if (!isUtf8(body)) return refusal("API_TEXT_INVALID", "the body is not UTF-8");
  const text = body.toString("utf8");
  if (deeperThan(text, depthMax)) {
    return refusal("API_JSON_TOO_DEEP", `the body is nested deeper than ${depthMax} levels`);
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return refusal("API_JSON_INVALID", "the body is not JSON");
  }
  if (!Array.isArray(value)) {
    const trimmed = text.trim();
    return { type: "messages", messages: [trimmed.length === text.length ? body : Buffer.from(trimmed)] };
  }
  const messages = elementSpans(text, 0).map(({ start, end }) => Buffer.from(text.slice(start, end)));
  return { type: "messages", messages };
}

const OPEN = 0x5b;
const CLOSE = 0x5d;
const COMMA = 0x2c;

/** The messages as one array. Copied once, into one buffer: a page may hold very many. */
export function joinJson(slices: readonly Messages[]): Buffer {
  let bytes = 1;
  for (const slice of slices) bytes += slice.bytes + slice.count;
  if (bytes === 1) return Buffer.from("[]");
  const joined = Buffer.allocUnsafe(bytes);
  joined[0] = OPEN;
  let at = 1;
  for (const slice of slices) at = slice.copyTo(joined, at, COMMA);
  // In the place of the last comma.
  joined[at - 1] = CLOSE;
  return joined;
}

/** The bytes of all messages, one after the other. */
export function joinBytes(slices: readonly Messages[]): Buffer {
  let bytes = 0;
  for (const slice of slices) bytes += slice.bytes;
  const joined = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (const slice of slices) at = slice.copyTo(joined, at);
  return joined;
}

type Messages = Pick<ReadSlice, "count" | "bytes" | "copyTo">;
