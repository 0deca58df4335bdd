/** Says what is wrong with an input in the client's own terms: the field, what it should be, the nearest known name. */
import { type Refusal, refusal } from "./errors.js";

/** The part of a schema error that is read here. */
export interface SchemaError {
  readonly keyword: string;
  readonly instancePath: string;
  readonly message: string;
  readonly params: object;
}

export function explain(errors: readonly SchemaError[], input: unknown, known: readonly string[]): Refusal {
  for (const error of errors) {
    const unknownNames = namesIn(error, "additionalProperties");
    const [name] = unknownNames;
    if (name !== undefined) return unknownField(name, error.instancePath, known);
  }
  for (const error of errors) {
    const [name] = namesIn(error, "requiredProperties");
    if (name !== undefined) {
      return refusal("API_FIELD_MISSING", `field ${quoted(fieldPath(error.instancePath, name))} is missing`);
    }
  }
  return invalidField(errors, input);
}

export function unknownField(name: string, holder: string, known: readonly string[]): Refusal {
  const nearest = holder === "" ? nearestName(name, known) : undefined;
  const hint = nearest === undefined ? "" : `; did you mean ${quoted(nearest)}?`;
  return refusal("API_FIELD_UNKNOWN", `field ${quoted(fieldPath(holder, name))} is not known${hint}`);
}

function invalidField(errors: readonly SchemaError[], input: unknown): Refusal {
  const [first] = errors;
  if (first === undefined || first.instancePath === "") {
    const found = Array.isArray(input) ? "an array" : input === null ? "null" : `a ${typeof input}`;
    return refusal(
      "API_FIELD_INVALID",
      `an object with the fields of this operation is expected, not ${found}`,
    );
  }
  const allowed = errors.filter((error) => error.keyword === "const").map((error) => allowedValue(error));
  const expectation = allowed.length > 0 ? `must be one of ${allowed.join(", ")}` : first.message;
  return refusal("API_FIELD_INVALID", `field ${quoted(fieldPath(first.instancePath))} ${expectation}`);
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

function namesIn(error: SchemaError, parameter: string): readonly string[] {
  const names: unknown = Reflect.get(error.params, parameter);
  return Array.isArray(names) ? names.filter((name) => typeof name === "string") : [];
}

function allowedValue(error: SchemaError): string {
  return JSON.stringify(Reflect.get(error.params, "allowedValue"));
}

/** `/pairs/0` and `x` become `pairs.0.x`. */
function fieldPath(instancePath: string, name?: string): string {
  const steps = instancePath
    .split("/")
    .slice(1)
    .map((step) => step.replaceAll("~1", "/").replaceAll("~0", "~"));
  return (name === undefined ? steps : [...steps, name]).join(".");
}

function quoted(name: string): string {
  return JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name);
}
