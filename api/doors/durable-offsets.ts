/**
 * Offset tokens of the durable streams protocol: 16 digits, `_`, 16 digits: the log offset of the last event that a reader
 * has, and the place of that event in its record. All zeros lie before everything.
 *
 * They are places in the one log, not in one stream: a fork goes on from its source's tokens, a stream that was deleted and
 * made again never mints an old one, and every node mints the same. Digits are padded, so tokens sort as text.
 */
import type { Offset } from "../../log/index.js";
import type { EventPlace } from "../../projections/index.js";

/** What a reader may ask for: a token, `-1` (the beginning) or `now` (the tail). The last two are never minted. */
export type ReadOffset =
  | { readonly type: "start" }
  | { readonly type: "now" }
  | { readonly type: "at"; readonly token: EventPlace };

const DIGITS = 16;
const FORM = /^([0-9]{16})_([0-9]{16})$/;

export function formatToken({ offset, place }: EventPlace): string {
  return `${String(offset).padStart(DIGITS, "0")}_${String(place).padStart(DIGITS, "0")}`;
}

/** Undefined for anything that is not of the form. A number past 2^53 - 1 is clamped: no log reaches it. */
export function parseToken(text: string): EventPlace | undefined {
  const found = FORM.exec(text);
  if (found === null) return undefined;
  return { offset: exact(found[1]) as Offset, place: exact(found[2]) };
}

function exact(digits: string | undefined): number {
  return Math.min(Number(digits), Number.MAX_SAFE_INTEGER);
}

/** Negative when `left` is before `right`. */
export function compareTokens(left: EventPlace, right: EventPlace): number {
  return left.offset - right.offset || left.place - right.place;
}

export function parseReadOffset(text: string): ReadOffset | undefined {
  if (text === "-1") return { type: "start" };
  if (text === "now") return { type: "now" };
  const token = parseToken(text);
  return token === undefined ? undefined : { type: "at", token };
}
