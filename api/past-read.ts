/** An operation run on a past state, and its answer in a form that travels between threads. */

import type { Offset } from "../log/index.js";
import { type Refusal, refusal } from "./errors.js";
import { coerced } from "./field-text.js";
import { JsonText, writeJson } from "./json-write.js";
import { Call, type Caller, Desk } from "./operations/call.js";
import { operations } from "./operations/catalog.js";
import type { Operation } from "./operations/operation.js";
import type { Answered } from "./operations/reply.js";
import type { ApiOptions } from "./options.js";

const reads: ReadonlyMap<string, Operation> = new Map(
  operations
    .filter(({ kind, ofNow }) => kind === "read" && ofNow !== true)
    .flatMap((operation) =>
      [operation.name, ...(operation.aliases ?? [])].map((name): [string, Operation] => [name, operation]),
    ),
);

/** The names of the operations that can be asked of the past, aliases included. */
export const pastReads: readonly string[] = [...reads.keys()];

/** What `Answered` says, with the payload as text: plain data. */
export interface PastReply {
  readonly type: "reply";
  readonly text: string;
  readonly revision?: Offset;
  readonly status?: number;
}

const NOBODY: Caller = { requestId: "", causeId: undefined, once: undefined };

/** Checks the input and runs the operation on the store of `options`. Rejects as the store does. */
export async function answerFrom(
  options: ApiOptions,
  name: string,
  input: unknown,
): Promise<PastReply | Refusal> {
  const operation = reads.get(name);
  if (operation === undefined) {
    return refusal("API_AT_UNSUPPORTED", `${JSON.stringify(name)} is not an operation that reads the past`);
  }
  const call = new Call(new Desk(options), operation.name, NOBODY);
  const reply = await operation.invoke(input, undefined, call);
  if (reply.type === "refused") return reply;
  const { payload, revision, status } = reply;
  return {
    type: "reply",
    text: writeJson(payload),
    ...(revision !== undefined && { revision }),
    ...(status !== undefined && { status }),
  };
}

/** The other way round. */
export function answeredAt({ text, revision, status }: PastReply, at: Offset): Answered {
  return {
    type: "answered",
    payload: new JsonText(text),
    at,
    ...(revision !== undefined && { revision }),
    ...(status !== undefined && { status }),
  };
}

/** The input of a read from fields as text: as in a query, and lists as JSON. Undefined for what is no read of the past. */
export function inputFromText(name: string, fields: Iterable<readonly [string, string]>): object | undefined {
  const schemas = reads.get(name)?.input.properties;
  if (schemas === undefined) return undefined;
  return Object.fromEntries(
    [...fields].map(([field, text]) => {
      const schema = schemas[field];
      if (schema === undefined) return [field, text];
      return [field, schema["type"] === "array" ? listFrom(text) : coerced(text, schema)];
    }),
  );
}

/** What is no JSON stays text, and the schema refuses it by name. */
function listFrom(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
