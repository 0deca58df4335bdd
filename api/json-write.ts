/**
 * Writes JSON answers. Unlike `JSON.stringify` it takes a 64-bit integer (all its digits) and a piece of JSON text as
 * it is stored (spliced in byte for byte), and nothing that `toJSON`, `undefined` or `NaN` could change in silence.
 */

/** JSON text, known to be valid, that stands for itself. */
export class JsonText {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

export type Json = string | number | boolean | null | bigint | JsonText | readonly Json[] | JsonObject;
/** A member that is undefined is left out. */
export interface JsonObject {
  readonly [name: string]: Json | undefined;
}

export function writeJson(value: Json): string {
  switch (typeof value) {
    case "string":
      return JSON.stringify(value);
    case "number":
      return Number.isFinite(value) ? String(value) : "null";
    case "boolean":
      return value ? "true" : "false";
    case "bigint":
      return value.toString();
    default:
      return value === null ? "null" : writeComposite(value);
  }
}

function writeComposite(value: JsonText | readonly Json[] | JsonObject): string {
  if (value instanceof JsonText) return value.text;
  if (isList(value)) return writeList(value);
  let text = "";
  for (const name of Object.keys(value)) {
    const member = value[name];
    if (member === undefined) continue;
    const { first, next } = beginningOf(name);
    text += (text === "" ? first : next) + writeJson(member);
  }
  return text === "" ? "{}" : `${text}}`;
}

function writeList(list: readonly Json[]): string {
  let text = "[";
  for (const item of list) text += (text.length === 1 ? "" : ",") + writeJson(item);
  return `${text}]`;
}

/** What stands before a member's value, when it is the first of its object and when it is not. */
interface Beginning {
  readonly first: string;
  readonly next: string;
}

/** Member names come from our own code, apart from a few in `/info`: so few that they are quoted once. */
const beginnings = new Map<string, Beginning>();
const BEGINNINGS_MAX = 1_000;

function beginningOf(name: string): Beginning {
  const known = beginnings.get(name);
  if (known !== undefined) return known;
  const quoted = `${JSON.stringify(name)}:`;
  const beginning = { first: `{${quoted}`, next: `,${quoted}` };
  if (beginnings.size < BEGINNINGS_MAX) beginnings.set(name, beginning);
  return beginning;
}

/** `Array.isArray` does not narrow a readonly array. */
function isList(value: readonly Json[] | JsonObject): value is readonly Json[] {
  return Array.isArray(value);
}
