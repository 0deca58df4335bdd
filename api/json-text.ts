/**
 * Finds pieces of a JSON text without decoding them, so that a value is stored exactly as it was sent: `1.0` stays
 * `1.0`, a 64-bit integer keeps its digits, `__proto__` inside a value stays a member like any other.
 *
 * Not a validator: every function but `deeperThan` is given only text that `JSON.parse` has accepted. Of members that
 * occur twice the last one counts, as `JSON.parse` has it.
 */

/** A piece of a text: from `start` up to, not including, `end`. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OBJECT_OPEN = 0x7b;
const OBJECT_CLOSE = 0x7d;
const ARRAY_OPEN = 0x5b;
const ARRAY_CLOSE = 0x5d;

/**
 * True when arrays and objects are nested deeper than `depthMax`. Runs before `JSON.parse` and so on any text: in a
 * broken one it may count too much or too little, and what it lets through `JSON.parse` then refuses.
 */
export function deeperThan(text: string, depthMax: number): boolean {
  // Nothing can be nested deeper than there are brackets, wherever they stand: most texts have only a few.
  if (!occursOftener(text, "{", depthMax >> 1) && !occursOftener(text, "[", depthMax >> 1)) return false;
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = stringEnd(text, at) - 1;
    } else if (code === OBJECT_OPEN || code === ARRAY_OPEN) {
      depth += 1;
      if (depth > depthMax) return true;
    } else if (code === OBJECT_CLOSE || code === ARRAY_CLOSE) {
      depth -= 1;
    }
  }
  return false;
}

function occursOftener(text: string, character: string, times: number): boolean {
  let at = -1;
  for (let found = 0; found <= times; found += 1) {
    at = text.indexOf(character, at + 1);
    if (at === -1) return false;
  }
  return true;
}

/** The value of the member `name` of the object that begins at `from` (white space allowed), or undefined. */
export function memberSpan(text: string, from: number, name: string): Span | undefined {
  let at = skipSpace(text, from);
  if (text.charCodeAt(at) !== OBJECT_OPEN) return undefined;
  let found: Span | undefined;
  at = skipSpace(text, at + 1);
  while (text.charCodeAt(at) === QUOTE) {
    const nameEnd = stringEnd(text, at);
    const matches = isName(text, at, nameEnd, name);
    const start = skipSpace(text, skipSpace(text, nameEnd) + 1);
    const end = valueEnd(text, start);
    if (matches) found = { start, end };
    at = skipSpace(text, end);
    if (text.charCodeAt(at) !== COMMA) break;
    at = skipSpace(text, at + 1);
  }
  return found;
}

/** The elements of the array that begins at `from` (white space allowed); empty for anything else. */
export function elementSpans(text: string, from: number): readonly Span[] {
  let at = skipSpace(text, from);
  if (text.charCodeAt(at) !== ARRAY_OPEN) return [];
  const spans: Span[] = [];
  at = skipSpace(text, at + 1);
  while (at < text.length && text.charCodeAt(at) !== ARRAY_CLOSE) {
    const end = valueEnd(text, at);
    spans.push({ start: at, end });
    at = skipSpace(text, end);
    if (text.charCodeAt(at) === COMMA) at = skipSpace(text, at + 1);
  }
  return spans;
}

/** A name without escapes is compared where it stands; one with escapes is decoded first (`"k\u0065y"` is `key`). */
function isName(text: string, start: number, end: number, name: string): boolean {
  const backslash = text.indexOf("\\", start);
  if (backslash === -1 || backslash >= end) {
    return end - start - 2 === name.length && text.startsWith(name, start + 1);
  }
  return JSON.parse(text.slice(start, end)) === name;
}

function skipSpace(text: string, from: number): number {
  let at = from;
  for (;;) {
    const code = text.charCodeAt(at);
    if (code !== 0x20 && code !== 0x0a && code !== 0x0d && code !== 0x09) return at;
    at += 1;
  }
}

/** Just behind the closing quote of the string whose opening quote is at `start`; the text's end if there is none. */
function stringEnd(text: string, start: number): number {
  let quote = text.indexOf('"', start + 1);
  while (quote !== -1) {
    let backslashes = 0;
    while (text.charCodeAt(quote - 1 - backslashes) === BACKSLASH && quote - 1 - backslashes > start) {
      backslashes += 1;
    }
    if (backslashes % 2 === 0) return quote + 1;
    quote = text.indexOf('"', quote + 1);
  }
  return text.length;
}

function valueEnd(text: string, start: number): number {
  const first = text.charCodeAt(start);
  if (first === QUOTE) return stringEnd(text, start);
  if (first === OBJECT_OPEN || first === ARRAY_OPEN) return nestedEnd(text, start);
  let at = start;
  while (at < text.length && !endsScalar(text.charCodeAt(at))) at += 1;
  return at;
}

function nestedEnd(text: string, start: number): number {
  let depth = 0;
  for (let at = start; at < text.length; at += 1) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = stringEnd(text, at) - 1;
    } else if (code === OBJECT_OPEN || code === ARRAY_OPEN) {
      depth += 1;
    } else if (code === OBJECT_CLOSE || code === ARRAY_CLOSE) {
      depth -= 1;
      if (depth === 0) return at + 1;
    }
  }
  return text.length;
}

function endsScalar(code: number): boolean {
  return (
    code === COMMA ||
    code === OBJECT_CLOSE ||
    code === ARRAY_CLOSE ||
    code === 0x20 ||
    code === 0x0a ||
    code === 0x0d ||
    code === 0x09
  );
}
