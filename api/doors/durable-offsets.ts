/**
 * Offset tokens of the durable streams protocol: 16 digits, `_`, 16 digits, `_`, 8 digits: the log offset of the last event that
 * a reader has, the place of that event in its record, and the lineage in which it was told, as in `X-Annals-Lineage`. All zeros lie
 * before everything, and have no lineage; nor has what is older than every epoch that the log still knows.
 *
 * They are places in the one log, not in one stream: a fork goes on from its source's tokens, a stream that was deleted and
 * made again never mints an old one, and every node mints the same. Digits are padded, so tokens sort as text. After a restore the
 * offsets go on from an earlier one; the lineage tells those of the lost history.
 */
import type { Offset } from "../../log/index.js";
import type { EventPlace } from "../../projections/index.js";
import { type Epochs, isLost, lineageAt, mayBeLost } from "../lineage.js";

/** What a reader may ask for: a token, `-1` (the beginning) or `now` (the tail). The last two are never minted. */
export type ReadOffset = { readonly type: "start" } | { readonly type: "now" } | AtToken;

export interface AtToken {
  readonly type: "at";
  readonly token: EventPlace;
  /** Undefined in tokens of a release that did not tell it. */
  readonly lineage?: string;
}

const DIGITS = 16;
const FORM = /^([0-9]{16})_([0-9]{16})(?:_([0-9a-f]{8}))?$/;

export function tokenAt(epochs: Epochs, token: EventPlace): AtToken {
  const lineage = lineageAt(epochs, token.offset);
  return lineage === undefined ? { type: "at", token } : { type: "at", token, lineage };
}

export function formatToken(epochs: Epochs, token: EventPlace): string {
  const { lineage } = tokenAt(epochs, token);
  return lineage === undefined ? formatPlace(token) : `${formatPlace(token)}_${lineage}`;
}

/** A place as text, where no history can be mistaken. */
export function formatPlace({ offset, place }: EventPlace): string {
  return `${String(offset).padStart(DIGITS, "0")}_${String(place).padStart(DIGITS, "0")}`;
}

/** The token was told before the data was restored to an earlier time: it names another place now, or none. */
export function isOfLostHistory(epochs: Epochs, { token: { offset }, lineage }: AtToken): boolean {
  return lineage === undefined ? mayBeLost(epochs, offset) : isLost(epochs, offset, lineage);
}

/** Undefined for anything that is not of the form. A number past 2^53 - 1 is clamped: no log reaches it. */
function parseToken(text: string): AtToken | undefined {
  const found = FORM.exec(text);
  if (found === null) return undefined;
  const [, digits, place, lineage] = found;
  const token = { offset: exact(digits) as Offset, place: exact(place) };
  return lineage === undefined ? { type: "at", token } : { type: "at", token, lineage };
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
  return parseToken(text);
}
