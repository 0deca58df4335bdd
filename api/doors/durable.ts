/**
 * The Durable Streams door: the open protocol of that name at `/v1/stream/*`, on the stream projection. This file holds the
 * routes, how a URL names a stream, and how results leave; `durable-write.ts` and `durable-read.ts` hold the operations.
 * Left out: subscriptions, which the protocol calls optional; their reserved paths answer 501.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { type ErrorCode, errorTable } from "../errors.js";
import type { Later } from "../operations/reply.js";
import { DURABLE_STREAMS } from "../options.js";
import { runMeasured } from "../runner.js";
import { asAsked, asksOf } from "./asks.js";
import { registerBody } from "./body-bytes.js";
import type { Door } from "./door.js";
import { SECURITY_HEADERS } from "./durable-headers.js";
import type { LiveReaders } from "./durable-live.js";
import { identityOf } from "./durable-once.js";
import { head, read } from "./durable-read.js";
import { type DurableRequest, pathOf, streamName } from "./durable-request.js";
import type { DurableResult } from "./durable-result.js";
import { append, create, remove } from "./durable-write.js";
import { answerError } from "./failures.js";
import { callerOf } from "./request.js";
import { urlProblem } from "./url.js";

const ROUTE = "/v1/stream/*";

interface Named {
  readonly name: string;
  readonly kind: "read" | "write";
}

type DurableOperation = (asked: DurableRequest) => Later<DurableResult>;

export function registerDurable(server: FastifyInstance, door: Door, readers: LiveReaders): void {
  server.addHook("preClose", async () => readers.endAll());
  server.register(async (scope) => {
    scope.removeAllContentTypeParsers();
    scope.setErrorHandler((error: Error, request, reply) =>
      answerError(door, error, request, reply, "STREAM_CONTENT_TYPE_INVALID"),
    );
    registerBody(scope, "*", door.options.limits.bodyBytesMax, (bytes) => bytes);
    const route = (method: string, kind: Named["kind"], name: string, operation: DurableOperation): void => {
      scope.route({
        method,
        url: ROUTE,
        exposeHeadRoute: false,
        config: { inTurn: kind === "read" },
        handler: (request, reply) => run(door, readers, request, reply, { name, kind }, operation),
      });
    };
    route("PUT", "write", "stream.create", create);
    route("POST", "write", "stream.append", append);
    route("DELETE", "write", "stream.delete", remove);
    route("HEAD", "read", "stream.head", head);
    route("GET", "read", "stream.read", read);
  });
}

function run(
  door: Door,
  readers: LiveReaders,
  request: FastifyRequest,
  reply: FastifyReply,
  { name: operationName, kind }: Named,
  operation: DurableOperation,
): void {
  request.route = ROUTE;
  // This door shows the present; rooms can be asked of the past.
  const asks = asksOf(request, { kind, ofNow: true }, () => identityOf(operationName, request));
  if (asks.type === "refused") {
    door.reject(request, reply, asks);
    return;
  }
  runMeasured<DurableResult>(
    door.desk,
    operationName,
    callerOf(request, asks),
    (call) => {
      call.subject = DURABLE_STREAMS;
      const name = urlProblem(request) ?? streamName(pathOf(request));
      if (typeof name !== "string") return name;
      return asAsked<DurableResult>(asks, () => operation({ door, readers, request, reply, call, name }))(
        call,
      );
    },
    door.sender(request, reply, (done: DurableResult) => leave(door, request, reply, done)),
  );
}

function leave(door: Door, request: FastifyRequest, reply: FastifyReply, done: DurableResult): void {
  if (done.type === "left") return;
  const headers = [...SECURITY_HEADERS, ...(done.headers ?? [])];
  if (done.type === "answer") door.send(request, reply, done.status, headers, done.body);
  else door.refuse(request, reply, done, headers, statusOf(done.code, request.method));
}

/** What the protocol answers, where the rest of the API keeps to the statuses of rooms. */
const protocolStatus: Partial<Record<ErrorCode, number>> = {
  // Clients of the protocol begin again when an offset is gone.
  API_LINEAGE_LOST: 410,
  STREAM_NOT_FOUND: 404,
  STREAM_EXISTS: 409,
  STREAM_OFFSET_TRIMMED: 410,
};

function statusOf(code: ErrorCode, method: string): number {
  // The name of a source that lives on for its forks cannot be taken.
  if (code === "STREAM_GONE" && method === "PUT") return 409;
  return protocolStatus[code] ?? errorTable[code].status;
}
