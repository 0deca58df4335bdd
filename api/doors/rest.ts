/** The REST door: one route per binding of an operation. Fields come from the path, the query or the JSON body. */

import type { TSchema } from "@sinclair/typebox";
import type { FastifyInstance, FastifyReply, FastifyRequest, RouteHandlerMethod } from "fastify";
import { type Refusal, refusal } from "../errors.js";
import type { SourceText } from "../exact.js";
import { unknownField } from "../explain.js";
import { coerced } from "../field-text.js";
import { type Json, JsonText, writeJson } from "../json-write.js";
import { operations } from "../operations/catalog.js";
import { type Operation, pathFields, type RestBinding, takesBody } from "../operations/operation.js";
import type { Reply } from "../operations/reply.js";
import { runMeasured } from "../runner.js";
import { AT_FIELD, asAsked, asksOf, READ_FIELDS } from "./asks.js";
import { bodyOf, isFields } from "./body.js";
import { type Door, JSON_CONTENT } from "./door.js";
import { readAt } from "./looking-back.js";
import { textBody } from "./outbox.js";
import { replyHeaders } from "./reply-headers.js";
import { callerOf, queryOf } from "./request.js";
import { urlProblem } from "./url.js";

export function registerRest(server: FastifyInstance, door: Door): void {
  for (const operation of operations) {
    for (const binding of operation.rest) {
      server.route({
        method: binding.method,
        url: routePattern(binding.path),
        // Consuming is a GET, as documented, and yet a write: nobody would see what a HEAD took.
        exposeHeadRoute: operation.kind === "read",
        config: { whileDraining: operation.whileDraining === true, inTurn: operation.kind === "read" },
        handler: restHandler(door, operation, binding),
      });
    }
  }
}

/** As the router has it, and the metrics show it. */
function routePattern(path: string): string {
  return path.replace(/\{(\w+)\}/g, ":$1");
}

function restHandler(door: Door, operation: Operation, binding: RestBinding): RouteHandlerMethod {
  const route = routePattern(binding.path);
  const fromPath = pathFields(binding.path);
  const fromQuery = queryFields(operation, fromPath);
  const withBody = takesBody(binding);
  return (request, reply) => {
    request.route = route;
    const found = withBody
      ? bodyInput(request, operation.kind)
      : queryInput(request, fromQuery, operation.kind);
    if (found.type === "refused") {
      door.reject(request, reply, found);
      return;
    }
    const refused =
      putPathFields(found.fields, fromPath, request) ?? missingField(found.fields, binding.required);
    if (refused !== undefined) {
      door.reject(request, reply, refused);
      return;
    }
    const asks = asksOf(request, operation, () => identityOf(operation, found, fromPath));
    if (asks.type === "refused") {
      door.reject(request, reply, asks);
      return;
    }
    runMeasured<Reply>(
      door.desk,
      operation.name,
      callerOf(request, asks),
      asAsked(asks, (call) =>
        asks.at === undefined
          ? operation.invoke(found.fields, found.source, call)
          : readAt(operation, found.fields, asks.at, call),
      ),
      door.sender(request, reply, (done) => sendReply(door, request, reply, binding, done)),
    );
  };
}

/** What makes one request another. The same as through the envelope where nothing stands in the path. */
function identityOf(operation: Operation, { fields, source }: Input, fromPath: readonly string[]): string[] {
  const path = JSON.stringify(fromPath.map((name) => fields[name]));
  return [operation.name, path, source?.text ?? JSON.stringify(fields)];
}

function putPathFields(
  fields: Fields,
  names: readonly string[],
  request: FastifyRequest,
): Refusal | undefined {
  if (names.length === 0) return undefined;
  for (const name of names) {
    if (Object.hasOwn(fields, name)) return twice(name);
    fields[name] = pathField(request, name);
  }
  return urlProblem(request);
}

function missingField(fields: Fields, required: readonly string[] = []): Refusal | undefined {
  const missing = required.find((name) => !Object.hasOwn(fields, name));
  return missing === undefined
    ? undefined
    : refusal("API_FIELD_MISSING", `field ${JSON.stringify(missing)} is missing`);
}

function sendReply(
  door: Door,
  request: FastifyRequest,
  reply: FastifyReply,
  binding: RestBinding,
  done: Reply,
): void {
  if (done.type === "refused") {
    door.refuse(request, reply, done);
    return;
  }
  const payload = binding.shape === undefined ? done.payload : binding.shape(parsedAgain(done.payload));
  const text = done.contentType === undefined ? writeJson(payload) : plainText(payload);
  const contentType = done.contentType ?? JSON_CONTENT;
  door.send(request, reply, done.status ?? 200, replyHeaders(done), textBody(contentType, text), done.unsent);
}

/** A kept answer is text, and a documented shape is made from what it says. */
function parsedAgain(payload: Json): Json {
  return payload instanceof JsonText ? JSON.parse(payload.text) : payload;
}

function plainText(payload: Json): string {
  return typeof payload === "string" ? payload : writeJson(payload);
}

type Fields = Record<string, unknown>;

/** What the client sent, gathered from body or query; the path's fields are put into it. */
interface Input {
  readonly type: "input";
  readonly fields: Fields;
  readonly source?: SourceText;
}

function bodyInput(request: FastifyRequest, kind: Operation["kind"]): Input | Refusal {
  for (const name in queryOf(request)) {
    if (!isAsk(name, kind)) return unknownField(name, [], []);
  }
  const body = bodyOf(request);
  if (body === undefined) return { type: "input", fields: {} };
  if (body.type === "refused") return body;
  if (isFields(body.value)) return { type: "input", fields: body.value, source: body };
  return refusal("API_FIELD_INVALID", "the body must be a JSON object");
}

/** The fields that a query may hold, with how their text is read. */
function queryFields(operation: Operation, fromPath: readonly string[]): ReadonlyMap<string, TSchema> {
  const fields = Object.entries(operation.input.properties);
  return new Map(fields.filter(([name]) => !fromPath.includes(name)));
}

function queryInput(
  request: FastifyRequest,
  known: ReadonlyMap<string, TSchema>,
  kind: Operation["kind"],
): Input | Refusal {
  const content = request.body === undefined ? undefined : refuseContent(request);
  if (content !== undefined) return content;
  const fields: Fields = {};
  for (const [name, text] of Object.entries(queryOf(request))) {
    if (isAsk(name, kind)) continue;
    const schema = known.get(name);
    if (schema === undefined) return unknownField(name, [], [...known.keys()]);
    if (typeof text !== "string") return twice(name);
    fields[name] = coerced(text, schema);
  }
  return { type: "input", fields };
}

/** What stands beside the fields, and is looked at for itself: no write is of the past, and it is told so. */
function isAsk(name: string, kind: Operation["kind"]): boolean {
  return kind === "read" ? READ_FIELDS.has(name) : name === AT_FIELD;
}

/** A DELETE may come with a body. A condition in it must not be passed over; an empty object says nothing. */
function refuseContent(request: FastifyRequest): Refusal | undefined {
  const body = bodyOf(request);
  if (body === undefined || body.type === "refused") return body;
  if (isFields(body.value) && Object.keys(body.value).length === 0) return undefined;
  return refusal("API_FIELD_INVALID", "this route takes its fields in the query, not in a body");
}

function pathField(request: FastifyRequest, name: string): unknown {
  return typeof request.params === "object" && request.params !== null
    ? Reflect.get(request.params, name)
    : undefined;
}

function twice(name: string): Refusal {
  return refusal("API_FIELD_INVALID", `field ${JSON.stringify(name)} is given twice`);
}
