/**
 * What an operation is: one definition that REST, the command envelope and the OpenAPI document are all made from. Its
 * `run` is three moves: take the checked input, call the store, map the answer. It knows nothing of HTTP.
 */
import type { Static, TObject, TSchema } from "@sinclair/typebox";
import { TypeCompiler } from "@sinclair/typebox/compiler";
import type { ErrorCode } from "../errors.js";
import { type ExactPath, type SourceText, takeExactText } from "../exact.js";
import { explain } from "../explain.js";
import type { Json } from "../json-write.js";
import { refuseNames } from "../names.js";
import type { Call } from "./call.js";
import type { Later, Reply } from "./reply.js";

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

export interface OperationDefinition<Input extends TObject> {
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
  /** True when it answers also while the server drains: probes and measurements. */
  readonly whileDraining?: true;
  run(input: Static<Input>, call: Call): Later<Reply>;
}

/** A definition, ready to be called with whatever a client sent. */
export interface Operation extends Omit<OperationDefinition<TObject>, "run"> {
  /** Checks the input, then runs. Refuses, never throws, on anything that a client can send. */
  invoke(input: unknown, source: SourceText | undefined, call: Call): Later<Reply>;
}

export function defineOperation<Input extends TObject>(definition: OperationDefinition<Input>): Operation {
  const validator = TypeCompiler.Compile(definition.input);
  const names = Object.keys(definition.input.properties);
  return {
    ...definition,
    invoke(input, source, call) {
      if (!validator.Check(input)) return explain(validator.Errors(input), input, names);
      const refused = refuseNames(input, call.limits);
      if (refused !== undefined) return refused;
      if (definition.exact !== undefined && source !== undefined)
        takeExactText(input, definition.exact, source);
      return definition.run(input, call);
    },
  };
}
