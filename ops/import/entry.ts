/** What one line asks to be stored. The value's JSON text goes on as it is in the file, digit for digit, and so does a number in a key. */
import { memberSpan } from "../../api/index.js";
import { ImportError } from "./errors.js";
import type { Line } from "./lines.js";

export interface Entry {
  readonly line: number;
  readonly key: string;
  /** `{"key":…,"value":…}` as the multi-key set takes it; with a `ttl`, as the single set does. */
  readonly pair: string;
  /** A time to live makes the line a request of its own. */
  readonly expires: boolean;
}

export type EntryReader = (line: Line) => Entry;

/** Lines that are themselves `{"key": …, "value": …[, "ttl": seconds]}`. */
export function entriesAsWritten(file: string): EntryReader {
  return (line) => {
    const object = objectOf(file, line);
    const { key, ttl } = object;
    if (typeof key !== "string") throw invalid(file, line, 'needs a "key" that is a string');
    if (!Object.hasOwn(object, "value")) throw invalid(file, line, 'needs a "value"');
    const unknown = Object.keys(object).find((name) => !["key", "value", "ttl"].includes(name));
    if (unknown !== undefined) {
      throw invalid(
        file,
        line,
        `has ${JSON.stringify(unknown)}; key, value and ttl are known (or give --key)`,
      );
    }
    if (ttl !== undefined && !(typeof ttl === "number" && Number.isSafeInteger(ttl) && ttl > 0)) {
      throw invalid(file, line, '"ttl" must be a whole number of seconds above 0');
    }
    return { line: line.number, key, pair: line.text, expires: ttl !== undefined };
  };
}

/** Lines that are values; the key is made from their fields: `commit:{sha}`, `user:{name.last}`. */
export function entriesByTemplate(file: string, template: string): EntryReader {
  const parts = template.split(/\{([^{}]+)\}/);
  if (parts.length < 2 || /[{}]/.test(parts.filter((_, at) => at % 2 === 0).join(""))) {
    throw new RangeError(`the key ${JSON.stringify(template)} needs fields in braces, as in 'commit:{sha}'`);
  }
  return (line) => {
    const object = objectOf(file, line);
    const key = parts
      .map((part, at) =>
        at % 2 === 0
          ? part
          : fieldOf(object, line.text, part.split("."), () =>
              invalid(file, line, `has no text or number ${JSON.stringify(part)} for the key`),
            ),
      )
      .join("");
    const pair = `{"key":${JSON.stringify(key)},"value":${line.text}}`;
    return { line: line.number, key, pair, expires: false };
  };
}

function fieldOf(
  object: Readonly<Record<string, unknown>>,
  text: string,
  path: readonly string[],
  missing: () => ImportError,
): string {
  let value: unknown = object;
  for (const name of path) {
    if (!isObject(value) || !Object.hasOwn(value, name)) throw missing();
    value = value[name];
  }
  if (typeof value === "number") return writtenAt(text, path);
  if (typeof value !== "string" && typeof value !== "boolean") throw missing();
  return String(value);
}

/** As it stands in the line: ids of 64 bits that a double would round to one another are several keys. */
function writtenAt(text: string, path: readonly string[]): string {
  let [start, end] = [0, text.length];
  for (const name of path) ({ start, end } = memberSpan(text, start, name) ?? { start, end });
  return text.slice(start, end);
}

function objectOf(file: string, line: Line): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(line.text);
  } catch (cause) {
    throw invalid(file, line, cause instanceof Error ? `not JSON: ${cause.message}` : "not JSON", cause);
  }
  if (!isObject(value)) throw invalid(file, line, "not a JSON object");
  return value;
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function invalid(file: string, line: Line, why: string, cause?: unknown): ImportError {
  const context = { file, line: line.number };
  return new ImportError("IMPORT_LINE_INVALID", `${file}, line ${line.number}: ${why}`, context, cause);
}
