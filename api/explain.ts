/** Says what is wrong with an input in the client's own terms: the field, what it should be, the nearest known name. */
import { KindGuard, type TSchema, type TString } from "@sinclair/typebox";
import { type ValueError, ValueErrorType } from "@sinclair/typebox/errors";
import { type Refusal, refusal } from "./errors.js";

/** A long list can have an error in each of its items; what is wrong with an object's names comes before its members. */
const ERRORS_READ_MAX = 100;

/** The first name that is not known, else the first that is missing, else the first value that does not fit. */
export function explain(errors: Iterable<ValueError>, input: unknown, known: readonly string[]): Refusal {
  let missing: ValueError | undefined;
  let invalid: ValueError | undefined;
  let read = 0;
  for (const error of errors) {
    if (error.type === ValueErrorType.ObjectAdditionalProperties) {
      const steps = stepsOf(error.path);
      return unknownField(steps.at(-1) ?? "", steps.slice(0, -1), known);
    }
    if (error.type === ValueErrorType.ObjectRequiredProperty) missing ??= error;
    else invalid ??= error;
    read += 1;
    if (read === ERRORS_READ_MAX) break;
  }
  if (missing !== undefined) {
    return refusal("API_FIELD_MISSING", `field ${fieldName(stepsOf(missing.path))} is missing`);
  }
  return invalidField(invalid, input);
}

/** `holder` leads to the object that has the field; the names that are known at the top are hints there alone. */
export function unknownField(name: string, holder: readonly string[], known: readonly string[]): Refusal {
  const nearest = holder.length === 0 ? nearestName(name, known) : undefined;
  const hint = nearest === undefined ? "" : `; did you mean ${quoted(nearest)}?`;
  return refusal("API_FIELD_UNKNOWN", `field ${fieldName([...holder, name])} is not known${hint}`);
}

function invalidField(error: ValueError | undefined, input: unknown): Refusal {
  if (error === undefined || error.path === "") {
    const found = Array.isArray(input) ? "an array" : input === null ? "null" : `a ${typeof input}`;
    return refusal(
      "API_FIELD_INVALID",
      `an object with the fields of this operation is expected, not ${found}`,
    );
  }
  const name = fieldName(stepsOf(error.path));
  return refusal("API_FIELD_INVALID", `field ${name} must be ${expectation(error.schema)}`);
}

/** What the schema asks for, in words. */
function expectation(schema: TSchema): string {
  if (KindGuard.IsUnion(schema)) {
    const literals = schema.anyOf.filter(KindGuard.IsLiteral);
    return literals.length === schema.anyOf.length
      ? `one of ${literals.map((literal) => JSON.stringify(literal.const)).join(", ")}`
      : schema.anyOf.map(expectation).join(" or ");
  }
  if (KindGuard.IsInteger(schema)) return `an integer${bounds(schema.minimum, schema.maximum)}`;
  if (KindGuard.IsNumber(schema)) return `a number${bounds(schema.minimum, schema.maximum)}`;
  if (KindGuard.IsString(schema)) return `a string${lengthOrForm(schema)}`;
  if (KindGuard.IsBoolean(schema)) return "true or false";
  if (KindGuard.IsArray(schema)) return schema.minItems === 1 ? "an array that is not empty" : "an array";
  if (KindGuard.IsObject(schema)) return `an object of ${Object.keys(schema.properties).join(", ")}`;
  if (KindGuard.IsRecord(schema)) return "an object";
  return "as the OpenAPI document says";
}

function bounds(least: number | undefined, most: number | undefined): string {
  if (least === undefined && most === undefined) return "";
  if (most === undefined) return ` from ${least}`;
  return least === undefined ? ` up to ${most}` : ` from ${least} to ${most}`;
}

function lengthOrForm({ minLength = 0, maxLength, pattern }: TString): string {
  if (maxLength !== undefined && minLength > 0) return ` of ${minLength} to ${maxLength} characters`;
  if (maxLength !== undefined) return ` of at most ${maxLength} characters`;
  return pattern === undefined ? "" : ` that matches ${pattern}`;
}

/** The known name that differs by the fewest letters; none if the difference is more than a third of the name. */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  if (name.length > 40) return undefined;
  let best: string | undefined;
  let bestDistance = Math.max(1, Math.floor(name.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(name.toLowerCase(), candidate);
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein, one row at a time. */
function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 1; i <= left.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= right.length; j += 1) {
      const substitution = (row[j - 1] ?? 0) + (left[i - 1] === right[j - 1] ? 0 : 1);
      next.push(Math.min(substitution, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[right.length] ?? 0;
}

/** `/pairs/0/x` becomes `pairs`, `0`, `x`. */
function stepsOf(path: string): readonly string[] {
  return path
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
}

function fieldName(steps: readonly string[]): string {
  return quoted(steps.join("."));
}

function quoted(name: string): string {
  return JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name);
}
