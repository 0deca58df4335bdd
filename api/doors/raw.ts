/**
 * The raw door: `PUT`, `GET`, `HEAD` and `DELETE /kv/{key}` with the value itself as the body, of any content type,
 * stored and given back byte for byte. The revision is the `ETag`, and HTTP's own preconditions guard it.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { BYTES_TYPE, type Expiry, type KvEntry, kv, type SetCommand } from "../../projections/index.js";
import { rawCommonErrors } from "../documented-errors.js";
import { type ErrorCode, errorTable, type Refusal, refusal } from "../errors.js";
import { unknownField } from "../explain.js";
import { keyProblem } from "../names.js";
import type { Call } from "../operations/call.js";
import { reservedKeys } from "../operations/catalog.js";
import type { Answered, Later } from "../operations/reply.js";
import { write } from "../operations/write.js";
import type { Moment, PastValue } from "../past.js";
import { runMeasured } from "../runner.js";
import { type Asks, asAsked, asksOf, READ_FIELDS } from "./asks.js";
import { registerBody } from "./body-bytes.js";
import type { Door } from "./door.js";
import { etag, matchesAny, singleRevision } from "./etag.js";
import { answerError } from "./failures.js";
import { type Body, bytesBody } from "./outbox.js";
import { callerOf, queryOf } from "./request.js";
import { urlProblem } from "./url.js";

export const RAW_PATH = "/kv/{key}";
const ROUTE = "/kv/:key";

interface RawMethod {
  /** What is measured. */
  readonly name: string;
  readonly kind: "read" | "write";
  /** Beside those of every method of its kind. */
  readonly errors: readonly ErrorCode[];
}

export const rawMethods = {
  put: {
    name: "kv.set",
    kind: "write",
    errors: [
      ...(["API_FIELD_INVALID", "API_HEADER_INVALID", "API_PRECONDITION_UNSUPPORTED"] as const),
      ...(["KV_CONTENT_TYPE_INVALID", "KV_EXPIRY_INVALID", "KV_MEMORY_FULL", "KV_VALUE_TOO_LARGE"] as const),
    ],
  },
  get: { name: "kv.get", kind: "read", errors: ["KV_KEY_NOT_FOUND"] },
  delete: {
    name: "kv.del",
    kind: "write",
    errors: ["API_PRECONDITION_UNSUPPORTED", "KV_CONTENT_TYPE_INVALID", "KV_KEY_NOT_FOUND"],
  },
} as const satisfies Record<string, RawMethod>;

/** All that a method may refuse, as the OpenAPI document tells it. */
export function rawErrors(method: keyof typeof rawMethods): readonly ErrorCode[] {
  const { kind, errors } = rawMethods[method];
  return [...rawCommonErrors(kind), ...errors];
}

interface RawAnswer {
  readonly type: "raw";
  readonly status: number;
  readonly headers: string[];
  readonly body?: Body;
}
/** A write answers as every operation does: what is kept of it for a repeat is the same. */
type RawReply = RawAnswer | Answered | Refusal;

export function registerRaw(server: FastifyInstance, door: Door): void {
  server.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.setErrorHandler((error: Error, request, reply) =>
      answerError(door, error, request, reply, "KV_CONTENT_TYPE_INVALID"),
    );
    registerBody(scope, "*", door.options.limits.bodyBytesMax, (bytes) => bytes);
    scope.put(ROUTE, (request, reply) => run(door, request, reply, rawMethods.put, put));
    scope.get(ROUTE, { config: { inTurn: true } }, (request, reply) =>
      run(door, request, reply, rawMethods.get, get),
    );
    scope.delete(ROUTE, (request, reply) => run(door, request, reply, rawMethods.delete, remove));
  });
}

type RawOperation = (call: Call, key: string, request: FastifyRequest, asks: Asks) => Later<RawReply>;

function run(
  door: Door,
  request: FastifyRequest,
  reply: FastifyReply,
  { name, kind }: RawMethod,
  operation: RawOperation,
): void {
  request.route = ROUTE;
  const asks = asksOf(request, { kind, comparesTags: true }, () => identityOf(request));
  if (asks.type === "refused") {
    door.reject(request, reply, asks);
    return;
  }
  runMeasured<RawAnswer | Answered>(
    door.desk,
    name,
    callerOf(request, asks),
    asAsked(asks, (call) => {
      const key = keyOf(request, door.options.limits.keyBytesMax);
      return typeof key === "string" ? operation(call, key, request, asks) : key;
    }),
    door.sender(request, reply, (done: RawReply) => {
      if (done.type === "answered")
        door.send(request, reply, done.status ?? 204, writtenHeaders(done), undefined);
      else if (done.type === "raw") door.send(request, reply, done.status, done.headers, done.body);
      else door.refuse(request, reply, done, [], errorTable[done.code].rawStatus);
    }),
  );
}

/** Everything that makes one write another: what is done to which key, how, and with what value. */
function identityOf({ method, url, headers, body }: FastifyRequest): (string | Uint8Array)[] {
  const conditions = ["content-type", "if-match", "if-none-match", "x-annals-ttl"].map(
    (name) => headers[name],
  );
  return [method, url, JSON.stringify(conditions), Buffer.isBuffer(body) ? body : ""];
}

function keyOf(request: FastifyRequest, keyBytesMax: number): string | Refusal {
  const bad = urlProblem(request);
  if (bad !== undefined) return bad;
  const { params } = request;
  const key = typeof params === "object" && params !== null && "key" in params ? String(params.key) : "";
  if (reservedKeys.has(key)) {
    return refusal(
      "API_KEY_RESERVED",
      `/kv/${key} is a route of its own; use POST /kv/set, GET /kv/get/${key}, DELETE /kv/del/${key} for this key`,
    );
  }
  const problem = keyProblem(key, keyBytesMax);
  return problem === undefined ? key : refusal("KV_KEY_INVALID", problem);
}

/** A command with optional members, while it is being put together. */
type Draft<Command> = { -readonly [Name in keyof Command]: Command[Name] };

function put(call: Call, key: string, request: FastifyRequest): Later<RawReply> {
  const contentType = request.headers["content-type"] ?? BYTES_TYPE;
  const value = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
  const command: Draft<SetCommand> = { key, value, contentType };
  if (request.headers["content-range"] !== undefined) {
    return refusal(
      "API_HEADER_INVALID",
      "Content-Range: a PUT sets the whole value; POST /kv/{key}/setrange a part",
    );
  }
  const expiry = expiryOf(request);
  if (expiry?.type === "refused") return expiry;
  if (expiry !== undefined) command.expiry = expiry;
  const ifMatch = request.headers["if-match"];
  const ifNoneMatch = request.headers["if-none-match"];
  if (ifMatch !== undefined && ifNoneMatch !== undefined) return oneCondition();
  if (ifMatch === "*") command.xx = true;
  else if (ifMatch !== undefined) {
    const revision = singleRevision(ifMatch);
    if (typeof revision !== "number") return revision;
    command.ifRevision = revision;
  }
  if (ifNoneMatch === "*") command.ifRevision = 0;
  else if (ifNoneMatch !== undefined) {
    return refusal("API_PRECONDITION_UNSUPPORTED", "If-None-Match on a write takes only *");
  }
  return write(kv.set, command, ({ written, revision, created }, offset) => {
    if (!written) return refusal("KV_REVISION_MISMATCH", "the key is not there");
    return { type: "answered", payload: null, offset, revision, status: created ? 201 : 204 };
  }).run(call);
}

function get(call: Call, key: string, request: FastifyRequest, { at }: Asks): Later<RawReply> {
  const bad = unknownQuery(request, [...READ_FIELDS]);
  if (bad !== undefined) return bad;
  if (at !== undefined) return getAt(call, key, request, at);
  return call.query(kv.get, { key }, (entry): RawReply => judged(entry, request));
}

async function getAt(call: Call, key: string, request: FastifyRequest, at: Moment): Promise<RawReply> {
  const found = await call.lookBack<PastValue>((past, signal) => past.value(key, at, signal));
  if (found.type === "refused") return found;
  const done = judged(found.value, request);
  if (done.type === "raw") done.headers.push("X-Annals-Offset", String(found.at));
  return done;
}

function judged(entry: KvEntry | undefined, request: FastifyRequest): RawAnswer | Refusal {
  if (entry === undefined) return refusal("KV_KEY_NOT_FOUND", "the key is not there");
  const ifMatch = request.headers["if-match"];
  if (ifMatch !== undefined && !matchesAny(ifMatch, entry.revision, "strong")) {
    return refusal("KV_REVISION_MISMATCH", `the key has revision ${entry.revision}`);
  }
  return entryAnswer(entry, request.headers["if-none-match"]);
}

function entryAnswer(entry: KvEntry, ifNoneMatch: string | undefined): RawAnswer {
  const headers = ["ETag", etag(entry.revision), "X-Annals-Revision", String(entry.revision)];
  if (ifNoneMatch !== undefined && matchesAny(ifNoneMatch, entry.revision, "weak")) {
    return { type: "raw", status: 304, headers };
  }
  // What users store is shown on the origin of the documentation page: a browser must not run it there.
  headers.push("X-Content-Type-Options", "nosniff", "Content-Security-Policy", "default-src 'none'; sandbox");
  const body = bytesBody(entry.contentType, entry.bytes);
  return { type: "raw", status: 200, headers, body };
}

function remove(call: Call, key: string, request: FastifyRequest): Later<RawReply> {
  const bad = unknownQuery(request, []);
  if (bad !== undefined) return bad;
  const ifMatch = request.headers["if-match"];
  if (request.headers["if-none-match"] !== undefined) {
    return refusal("API_PRECONDITION_UNSUPPORTED", "DELETE takes If-Match only");
  }
  const revision = ifMatch === undefined || ifMatch === "*" ? undefined : singleRevision(ifMatch);
  if (revision !== undefined && typeof revision !== "number") return revision;
  const command = revision === undefined ? { key } : { key, ifRevision: revision };
  return write(kv.delete, command, ({ deleted }, offset) => {
    if (deleted) return { type: "answered", payload: null, offset, status: 204 };
    return ifMatch === undefined
      ? refusal("KV_KEY_NOT_FOUND", "the key is not there")
      : refusal("KV_REVISION_MISMATCH", "the key is not there");
  }).run(call);
}

function writtenHeaders({ offset, revision, replayed }: Answered): string[] {
  const headers = revision === undefined ? [] : ["ETag", etag(revision)];
  if (offset !== undefined) headers.push("X-Annals-Offset", String(offset));
  if (replayed === true) headers.push("Idempotent-Replayed", "true");
  return headers;
}

/** From the query (`?ttl=60`) or, where a URL can't be changed, from the header `X-Annals-Ttl`. */
function expiryOf(request: FastifyRequest): Expiry | Refusal | undefined {
  const bad = unknownQuery(request, ["ttl"]);
  if (bad !== undefined) return bad;
  const fromQuery: unknown = Reflect.get(queryOf(request), "ttl");
  const text = fromQuery ?? request.headers["x-annals-ttl"];
  if (text === undefined) return undefined;
  if (typeof text !== "string" || !/^[0-9]{1,15}$/.test(text)) {
    return refusal("API_FIELD_INVALID", 'field "ttl" must be a whole number of seconds');
  }
  return { type: "seconds", value: Number(text) };
}

function unknownQuery(request: FastifyRequest, known: readonly string[]): Refusal | undefined {
  const name = Object.keys(queryOf(request)).find((found) => !known.includes(found));
  return name === undefined ? undefined : unknownField(name, [], known);
}

function oneCondition(): Refusal {
  return refusal("API_PRECONDITION_UNSUPPORTED", "give If-Match or If-None-Match, not both");
}
