/**
 * The OpenAPI 3.1 document, made from the same definitions that check the requests: an operation appears once per REST
 * binding and once as a command of the envelope. The raw door has no operation of its own and is described here, its errors by the table that the door has.
 */
import type { TSchema } from "@sinclair/typebox";
import { bodyErrors, commonErrors, NO_RECORD } from "./documented-errors.js";
import { COMMAND_PATH, Envelope } from "./doors/command.js";
import { RAW_PATH, rawErrors, type rawMethods } from "./doors/raw.js";
import { type ErrorCode, type ErrorRow, errorTable } from "./errors.js";
import { commands, operations } from "./operations/catalog.js";
import { set } from "./operations/kv.js";
import { USABLE_KEY } from "./operations/once.js";
import { type Operation, pathFields, type RestBinding, takesBody } from "./operations/operation.js";

type Node = Readonly<Record<string, unknown>>;

const LINEAGE_PATTERN = "^[0-9a-f]{8}$";
const ACKS_PATTERN = "^([0-9]|[1-5][0-9]|6[0-3]|quorum)$";

export function openApiDocument(version: string): Node {
  const paths = new Map<string, Record<string, unknown>>();
  for (const operation of operations) {
    for (const [index, binding] of operation.rest.entries()) {
      const item = paths.get(binding.path) ?? {};
      item[binding.method.toLowerCase()] = restOperation(operation, binding, index);
      paths.set(binding.path, item);
    }
  }
  paths.set(COMMAND_PATH, { post: commandOperation() });
  paths.set(RAW_PATH, rawOperations());
  paths.set("/openapi.json", { get: documentOperation() });
  return {
    openapi: "3.1.0",
    info: {
      title: "Annals",
      version,
      description:
        "An event-sourced store. A write's answer names its offset in the log and leaves only when the write is committed by the configured rule. Errors are `{error, code, error_code, request_id}`, or RFC 9457 problems for `Accept: application/problem+json`; ERRORS.md lists every code. `/v1/stream/{path}` speaks the Durable Streams protocol, whose own document describes it (https://github.com/durable-streams/durable-streams); ops/docs/durable-streams.md says what holds here beside it.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    servers: [{ url: "/" }],
    tags: ["kv", "key", "queue", "admin", "command"].map((name) => ({ name })),
    paths: Object.fromEntries([...paths].map(([path, item]) => [path, withHistory(item)])),
    components: {
      schemas: { Error: errorSchema, Problem: problemSchema },
      parameters: askedBeside,
      headers: { Offset: offsetHeader, Lineage: lineageHeader, Epoch: epochHeader },
    },
  };
}

function restOperation(operation: Operation, binding: RestBinding, index: number): Node {
  const fromPath = pathFields(binding.path);
  const others = Object.entries(operation.input.properties).filter(([name]) => !fromPath.includes(name));
  const required = [...(operation.input.required ?? []), ...(binding.required ?? [])];
  const parameters = [
    ...fromPath.map((name) => parameter(name, "path", true, operation.input.properties[name])),
    ...(takesBody(binding)
      ? []
      : others.map(([name, schema]) => parameter(name, "query", required.includes(name), schema))),
    ...(hasPast(operation) ? [atParameter] : []),
    ...besideRefs(operation),
  ];
  const withBody = takesBody(binding) && others.length > 0;
  const bodyRequired = required.filter((name) => !fromPath.includes(name));
  const contentType = operation.name === "admin.metrics" ? "text/plain" : "application/json";
  return {
    // Two paths of one operation need two ids.
    operationId: index === 0 ? operation.name : `${operation.name}.${index + 1}`,
    tags: [operation.name.includes(".") ? (operation.name.split(".")[0] ?? "admin") : "admin"],
    summary: operation.summary,
    ...(operation.description === undefined ? {} : { description: operation.description }),
    ...(parameters.length === 0 ? {} : { parameters }),
    ...(withBody ? { requestBody: jsonBody(objectOf(others, bodyRequired), bodyRequired.length > 0) } : {}),
    responses: {
      200: {
        description: "Done.",
        ...(operation.kind === "write" || hasPast(operation) ? { headers: offsetHeaders } : {}),
        content: { [contentType]: { schema: binding.output ?? answerSchema(operation) } },
      },
      ...badNews(operation, errorResponses([...operation.errors, ...commonErrors(operation, binding)])),
    },
  };
}

/** A probe says with its status, too, what it says in its answer. */
function badNews({ badNewsStatus: status, output }: Operation, responses: Node): Node {
  if (status === undefined) return responses;
  const { description, content } = nodeOf(responses[status]);
  const schema = { anyOf: [{ $ref: "#/components/schemas/Error" }, output] };
  const words = `The same answer, when the news is bad. ${description}`;
  return {
    ...responses,
    [status]: { description: words, content: { ...nodeOf(content), "application/json": { schema } } },
  };
}

function answerSchema(operation: Operation): unknown {
  if (operation.name !== "kv.get") return operation.output;
  const absent = objectOf([["error", { type: "string", const: "Key not found" }]], ["error"]);
  return { anyOf: [operation.output, absent] };
}

function parameter(
  name: string,
  place: "path" | "query",
  required: boolean,
  schema: TSchema | undefined,
): Node {
  return { name, in: place, required, schema: schema ?? {} };
}

function objectOf(properties: readonly (readonly [string, unknown])[], required: readonly string[]): Node {
  return {
    type: "object",
    properties: Object.fromEntries(properties),
    ...(required.length === 0 ? {} : { required }),
    additionalProperties: false,
  };
}

/** An answer that may tell more, by its code. */
function withDetails(...described: Parameters<typeof objectOf>): Node {
  const description =
    "What the code tells beside: such as `offset`, `operation_index`, `primary`; see ERRORS.md.";
  return { ...objectOf(...described), additionalProperties: { description } };
}

function jsonBody(schema: unknown, required: boolean): Node {
  return { required, content: { "application/json": { schema } } };
}

/** One response a status, naming its codes. */
function errorResponses(
  codes: readonly ErrorCode[],
  statusOf: (row: ErrorRow) => number = ({ status }) => status,
): Node {
  const byStatus = new Map<number, Set<ErrorCode>>();
  for (const code of codes) {
    const status = statusOf(errorTable[code]);
    byStatus.set(status, (byStatus.get(status) ?? new Set()).add(code));
  }
  const content = {
    "application/json": { schema: { $ref: "#/components/schemas/Error" } },
    "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } },
  };
  const responses = [...byStatus].map(([status, found]): [string, unknown] => [
    String(status),
    { description: [...found].map((code) => `\`${code}\`: ${errorTable[code].title}.`).join(" "), content },
  ]);
  return Object.fromEntries(responses);
}

function commandOperation(): Node {
  const requests = [...commands].map(([name, operation]) => ({
    title: name,
    description: operation.summary,
    ...objectOf(
      [
        ["command", { type: "string", const: name }],
        ["request_id", Envelope.properties.request_id],
        ["payload", operation.input],
        ...asksInEnvelope(operation),
      ],
      ["command", "request_id", "payload"],
    ),
  }));
  const answer = withDetails(
    [
      ["success", { type: "boolean" }],
      ["request_id", { type: "string", description: "As it was sent." }],
      ["payload", { description: "The operation's output; null when it failed." }],
      ["error", { type: ["string", "null"] }],
      ["code", { type: "integer", description: "When it failed: the status that REST would have answered." }],
      ["error_code", { type: "string" }],
    ],
    ["success", "request_id", "payload", "error"],
  );
  return {
    operationId: "command",
    tags: ["command"],
    summary: "Run any operation",
    description: "Answers 200 also when the command failed; `success` tells.",
    parameters: besideRefs({ name: "command", kind: "write" }),
    requestBody: jsonBody({ oneOf: requests }, true),
    responses: {
      200: {
        description: "The command ran, or was refused.",
        content: { "application/json": { schema: answer } },
      },
      ...errorResponses([
        ...bodyErrors,
        "API_FIELD_MISSING",
        "API_FIELD_INVALID",
        "API_FIELD_UNKNOWN",
        "API_DRAINING",
      ]),
    },
  };
}

const MIN_OFFSET =
  "An offset as `X-Annals-Offset` told it, alone or with `@` and the `X-Annals-Lineage` beside it. Nothing is decided or shown before it is there; one of a history that a restore left behind is refused.";

/** What may be asked beside every operation. */
const askedBeside = {
  MinOffset: header("X-Annals-Min-Offset", MIN_OFFSET),
  Lineage: {
    ...header("X-Annals-Lineage", "The lineage of `X-Annals-Min-Offset`, if it does not name it itself."),
    schema: { type: "string", pattern: LINEAGE_PATTERN },
  },
  Acks: {
    ...header(
      "X-Annals-Acks",
      "How many replicas must have the write on disk before it is answered: 0 to 63, or `quorum`. Default: as the server's settings say. 504 `REPLICATION_NOT_CONFIRMED` when they do not in time.",
    ),
    schema: { type: "string", pattern: ACKS_PATTERN },
  },
  IdempotencyKey: {
    ...header(
      "Idempotency-Key",
      "The write happens once, however often the same request comes with the same key: a repeat is given the first answer, with `Idempotent-Replayed: true`. In the envelope: `idempotency_key`.",
    ),
    schema: { type: "string", pattern: USABLE_KEY.source },
  },
  MinOffsetInQuery: { ...header("min_offset", "The same as `X-Annals-Min-Offset`."), in: "query" },
};

function besideRefs({ name, kind }: Pick<Operation, "name" | "kind">): readonly Node[] {
  const ofKind = kind === "read" ? (["MinOffsetInQuery"] as const) : (["Acks", "IdempotencyKey"] as const);
  const names: readonly (keyof typeof askedBeside)[] = [
    ...(["MinOffset", "Lineage"] as const),
    ...(NO_RECORD.has(name) ? [] : ofKind),
  ];
  return names.map((each) => ({ $ref: `#/components/parameters/${each}` }));
}

/** The same where it stands in the envelope. */
function asksInEnvelope(operation: Operation): readonly (readonly [string, unknown])[] {
  const { idempotency_key, acks, min_offset, at } = Envelope.properties;
  const ofKind = operation.kind === "write" ? { idempotency_key, acks } : hasPast(operation) ? { at } : {};
  return Object.entries({ ...ofKind, min_offset });
}

function hasPast({ kind, ofNow }: Operation): boolean {
  return kind === "read" && ofNow !== true;
}

const atParameter = {
  name: "at",
  in: "query",
  required: false,
  description:
    "The state as it was: after this offset, or at this time (RFC 3339 with its zone, or `1769860800000ms`). `X-Annals-Offset` says which offset was looked at.",
  schema: { type: "string" },
};

const offsetHeader = { description: "Offset in the log.", schema: { type: "integer" } };
const offsetHeaders = { "X-Annals-Offset": { $ref: "#/components/headers/Offset" } };
const lineageHeader = {
  description:
    "Which history the answer is of: that of the offset beside it, else of the newest record that the node shows. A restore to an earlier time and a promotion begin another. Sent back with the offset beside it, it tells what is of a lost one.",
  schema: { type: "string", pattern: LINEAGE_PATTERN },
};
const epochHeader = { description: "The epoch of that lineage.", schema: { type: "integer" } };
const historyHeaders = {
  "X-Annals-Lineage": { $ref: "#/components/headers/Lineage" },
  "X-Annals-Epoch": { $ref: "#/components/headers/Epoch" },
};

/** What every answer tells, whatever the operation. */
function withHistory(item: Readonly<Record<string, unknown>>): Node {
  return mapped(item, (operation) => ({
    ...operation,
    responses: mapped(operation["responses"], (response) => ({
      ...response,
      headers: { ...historyHeaders, ...nodeOf(response["headers"]) },
    })),
  }));
}

function mapped(value: unknown, change: (member: Node) => Node): Node {
  return Object.fromEntries(
    Object.entries(nodeOf(value)).map(([name, member]) => [name, change(nodeOf(member))]),
  );
}

function nodeOf(value: unknown): Node {
  return typeof value === "object" && value !== null ? { ...value } : {};
}
const etagHeader = { description: "The revision, in quotes.", schema: { type: "string" } };

const rawKey = parameter("key", "path", true, set.input.properties["key"]);
const rawTtl = parameter("ttl", "query", false, set.input.properties["ttl"]);
const ifMatch = header("If-Match", "A revision in quotes, or `*`: the key must be there.");
const ifAbsent = header("If-None-Match", "`*`: the key must not be there.");
const ifChanged = header("If-None-Match", "Revisions in quotes: 304 if the key has one of them.");
const anything = { "*/*": { schema: {} } };

function rawOperations(): Node {
  return {
    get: { operationId: "raw.get", summary: "Get a value as it came", ...rawRead() },
    head: { operationId: "raw.head", summary: "Get a value's type, size and revision", ...rawRead() },
    put: rawWrite(),
    delete: {
      operationId: "raw.delete",
      tags: ["kv"],
      summary: "Delete a key",
      parameters: [rawKey, ifMatch, ...besideRefs({ name: "raw", kind: "write" })],
      responses: {
        204: { description: "Deleted.", headers: offsetHeaders },
        ...rawErrorResponses("delete"),
      },
    },
  };
}

function rawErrorResponses(method: keyof typeof rawMethods): Node {
  return errorResponses(rawErrors(method), ({ status, rawStatus }) => rawStatus ?? status);
}

function rawRead(): Node {
  return {
    tags: ["kv"],
    parameters: [rawKey, atParameter, ifMatch, ifChanged, ...besideRefs({ name: "raw", kind: "read" })],
    responses: {
      200: { description: "The value as it came.", headers: { ETag: etagHeader }, content: anything },
      304: { description: "Not changed." },
      ...rawErrorResponses("get"),
    },
  };
}

function rawWrite(): Node {
  const headers = { ETag: etagHeader, ...offsetHeaders };
  return {
    operationId: "raw.put",
    tags: ["kv"],
    summary: "Store any bytes with their content type",
    parameters: [
      rawKey,
      rawTtl,
      header("X-Annals-Ttl", "The same as `ttl`."),
      ifMatch,
      ifAbsent,
      ...besideRefs({ name: "raw", kind: "write" }),
    ],
    requestBody: { required: false, content: anything },
    responses: {
      201: { description: "Created.", headers },
      204: { description: "Replaced.", headers },
      ...rawErrorResponses("put"),
    },
  };
}

function header(name: string, description: string): Node {
  return { name, in: "header", required: false, description, schema: { type: "string" } };
}

function documentOperation(): Node {
  return {
    operationId: "openapi",
    tags: ["admin"],
    summary: "This document",
    responses: {
      200: { description: "OpenAPI 3.1.", content: { "application/json": { schema: { type: "object" } } } },
    },
  };
}

const errorSchema = withDetails(
  [
    ["error", { type: "string", description: "For people." }],
    ["code", { type: "integer", description: "The HTTP status." }],
    ["error_code", { type: "string", enum: Object.keys(errorTable) }],
    ["request_id", { type: "string" }],
  ],
  ["error", "code", "error_code", "request_id"],
);

const problemSchema = withDetails(
  [
    ["type", { type: "string", format: "uri" }],
    ["title", { type: "string" }],
    ["status", { type: "integer" }],
    ["detail", { type: "string" }],
    ["error_code", { type: "string", enum: Object.keys(errorTable) }],
    ["request_id", { type: "string" }],
  ],
  ["type", "title", "status", "detail", "error_code", "request_id"],
);
