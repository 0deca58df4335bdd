/**
 * What an operation is: one definition that REST, the command envelope and the OpenAPI document are all made from. Its
 * `run` is three moves: take the checked input, call the store, map the answer. It knows nothing of HTTP.
 */
import type { Static, TObject, TSchema } from "@sinclair/typebox";
import { Checker } from "../checker.js";
import type { ErrorCode, Refusal } from "../errors.js";
import { type ExactPath, type SourceText, takeExactText } from "../exact.js";
import { explain } from "../explain.js";
import type { Json } from "../json-write.js";
import { itemsOf, refuseNames } from "../names.js";
import type { ApiLimits, ApiOptions } from "../options.js";
import type { Call } from "./call.js";
import { ClientId } from "./fields.js";
import type { Later, Reply } from "./reply.js";
import type { Preparation } from "./write.js";

/** `{name}` in a path takes the field of that name; all other fields travel in the query (GET, DELETE) or the JSON body (POST, PUT). */
export interface RestBinding {
  readonly method: "GET" | "POST" | "PUT" | "DELETE";
  readonly path: string;
  /** Fields that this route asks for though the envelope has a default for them. */
  readonly required?: readonly string[];
  /** The documented body where it differs from the payload of the envelope. */
  readonly shape?: (payload: Json) => Json;
  /** Of that body. */
  readonly output?: TSchema;
}

/** The names in braces in a path. */
export function pathFields(path: string): readonly string[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name]) => name ?? "");
}

export function takesBody({ method }: RestBinding): boolean {
  return method === "POST" || method === "PUT";
}

interface OperationFacts<Input extends TObject> {
  /** `kv.set`: the command's name in the envelope, the operation's name in metrics and in the history. */
  readonly name: string;
  /** Further names in the envelope. */
  readonly aliases?: readonly string[];
  readonly kind: "read" | "write";
  readonly summary: string;
  readonly description?: string;
  readonly input: Input;
  /** Of the payload. */
  readonly output: TSchema;
  /** Codes that only this operation answers; those that every operation can answer are not repeated. */
  readonly errors: readonly ErrorCode[];
  /** Members whose JSON text is taken exactly as sent when they aren't strings. */
  readonly exact?: readonly ExactPath[];
  readonly rest: readonly RestBinding[];
  /** False for what makes no sense in the envelope. */
  readonly envelope?: false;
  /** The status with which it answers the same output when the news is bad. */
  readonly badNewsStatus?: 503;
  /** True when it answers also while the server drains: probes and measurements. */
  readonly whileDraining?: true;
  /** True for a read that tells of this process or of this moment: it cannot be asked of the past. */
  readonly ofNow?: true;
  /** What a checked input is about, for metrics. */
  readonly subject?: (input: unknown) => string;
}

/** Whatever is no single decision on the store: reads, and writes that wait or do more. */
interface Runnable<Input extends TObject> {
  readonly run: (input: Static<Input>, call: Call, source: SourceText | undefined) => Later<Reply>;
  readonly prepare?: undefined;
}

/** A write that is one decision: run alone, as a part of a batch, or queued in a transaction. */
interface Preparable<Input extends TObject> {
  readonly prepare: (input: Static<Input>, options: ApiOptions) => Preparation;
  readonly run?: undefined;
}

export type OperationDefinition<Input extends TObject> = OperationFacts<Input> &
  (Runnable<Input> | Preparable<Input>);

/**
 * A definition, ready to be called with whatever a client sent. Refuses, never throws, on anything that a client can send.
 */
export interface Operation extends OperationFacts<TObject> {
  /** Why this input cannot be used, or undefined. */
  check(input: unknown, limits: ApiLimits): Refusal | undefined;
  /** Checks the input, then runs. */
  invoke(input: unknown, source: SourceText | undefined, call: Call): Later<Reply>;
  /** Checks the input and gives back what a batch decides; undefined for what cannot be a part of one. */
  readonly prepare?: (input: unknown, source: SourceText | undefined, options: ApiOptions) => Preparation;
}

export function defineOperation<Input extends TObject>(definition: OperationDefinition<Input>): Operation {
  return definition.prepare === undefined
    ? runnable(definition, definition.run)
    : preparable(definition, definition.prepare);
}

function runnable<Input extends TObject>(
  facts: OperationFacts<Input>,
  run: Runnable<Input>["run"],
): Operation {
  const validator = new Checker(facts.input);
  const names = Object.keys(facts.input.properties);
  return {
    ...factsOf(facts),
    check(input, limits) {
      if (!validator.accepts(input)) return explain(validator.mistakes(input), input, names);
      return refuseNames(input, limits);
    },
    invoke(input, source, call) {
      if (!validator.accepts(input)) return explain(validator.mistakes(input), input, names);
      const refused = refuseNames(input, call.limits);
      if (refused !== undefined) return refused;
      if (facts.exact !== undefined && source !== undefined) takeExactText(input, facts.exact, source);
      if (facts.subject !== undefined) call.subject = facts.subject(input);
      return run(input, call, source);
    },
  };
}

function preparable<Input extends TObject>(
  facts: OperationFacts<Input>,
  prepareChecked: Preparable<Input>["prepare"],
): Operation {
  // A client with an open transaction names itself in the input, and the write is queued instead of run.
  const accepted = { ...facts.input, properties: { ...facts.input.properties, client_id: ClientId } };
  const validator = new Checker<Input>(accepted);
  const names = Object.keys(accepted.properties);
  const prepare = (input: unknown, source: SourceText | undefined, options: ApiOptions): Preparation => {
    if (!validator.accepts(input)) return explain(validator.mistakes(input), input, names);
    const refused = refuseNames(input, options.limits);
    if (refused !== undefined) return refused;
    if (facts.exact !== undefined && source !== undefined) takeExactText(input, facts.exact, source);
    return prepareChecked(input, options);
  };
  return {
    ...factsOf(facts),
    input: accepted,
    prepare,
    check(input, limits) {
      if (!validator.accepts(input)) return explain(validator.mistakes(input), input, names);
      return refuseNames(input, limits);
    },
    invoke(input, source, call) {
      const prepared = prepare(input, source, call.desk.options);
      if (prepared.type === "refused") return prepared;
      if (facts.subject !== undefined) call.subject = facts.subject(input);
      const client = clientOf(input);
      if (client === undefined) return prepared.run(call);
      const queued = { name: facts.name, step: prepared };
      const reply = call.desk.transactions.queue(client, queued, itemsOf(input), source, call);
      return reply ?? prepared.run(call);
    },
  };
}

/** A definition without what only this file calls. */
function factsOf<Input extends TObject>(definition: OperationFacts<Input>): OperationFacts<TObject> {
  const { name, kind, summary, input, output, errors, rest } = definition;
  const { aliases, description, exact, envelope, badNewsStatus, whileDraining, ofNow, subject } = definition;
  return {
    name,
    kind,
    summary,
    input,
    output,
    errors,
    rest,
    ...(aliases && { aliases }),
    ...(description !== undefined && { description }),
    ...(exact && { exact }),
    ...(envelope === false && { envelope }),
    ...(badNewsStatus && { badNewsStatus }),
    ...(whileDraining && { whileDraining }),
    ...(ofNow && { ofNow }),
    ...(subject && { subject }),
  };
}

/** Whose transaction a write is for, by its input. */
export function clientOf(input: unknown): string | undefined {
  const client: unknown =
    typeof input === "object" && input !== null ? Reflect.get(input, "client_id") : undefined;
  return typeof client === "string" ? client : undefined;
}
