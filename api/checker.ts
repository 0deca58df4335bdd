/**
 * The check of a value against a schema, compiled when the first value comes: a start would wait 11 ms for those of all
 * operations, and most are never asked for.
 */
import type { Static, TSchema } from "@sinclair/typebox";
import { type TypeCheck, TypeCompiler } from "@sinclair/typebox/compiler";

export class Checker<Schema extends TSchema> {
  readonly #schema: Schema;
  #compiled: TypeCheck<Schema> | undefined;

  constructor(schema: Schema) {
    this.#schema = schema;
  }

  accepts(value: unknown): value is Static<Schema> {
    return this.#check().Check(value);
  }

  mistakes(value: unknown): ReturnType<TypeCheck<Schema>["Errors"]> {
    return this.#check().Errors(value);
  }

  #check(): TypeCheck<Schema> {
    this.#compiled ??= TypeCompiler.Compile(this.#schema);
    return this.#compiled;
  }
}
