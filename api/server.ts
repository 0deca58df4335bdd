/**
 * Builds the HTTP server: bounds, doors, errors, documentation. It does not listen; whoever composes the process does.
 *
 * Fastify is given no logger and no schemas: a log line, a child logger or a second validation per request would cost
 * more than the request (measured: request logging halves the throughput). Operations check their input themselves.
 */
import Fastify, { type FastifyInstance } from "fastify";
import { registerJsonBody } from "./doors/body.js";
import { registerCommand } from "./doors/command.js";
import { registerDocumentation } from "./doors/documentation.js";
import { Door } from "./doors/door.js";
import { registerDurable } from "./doors/durable.js";
import { LiveReaders } from "./doors/durable-live.js";
import {
  answerBrokenRequest,
  answerConnect,
  answerError,
  answerUnknown,
  isUntakenQuery,
} from "./doors/failures.js";
import { gate } from "./doors/gate.js";
import { registerRaw } from "./doors/raw.js";
import { registerRest } from "./doors/rest.js";
import { RouteMap } from "./doors/route-map.js";
import { WireRequest, WireResponse } from "./doors/wire.js";
import { Desk } from "./operations/call.js";
import type { ApiLimits, ApiOptions } from "./options.js";

/** How often Node looks for requests that take too long to arrive; its default of 30 s would stretch every timeout. */
const TIMEOUT_CHECK_MS = 500;

/** What is known of a request before anything has looked at it. */
const JUST_ARRIVED = { receivedAt: 0, route: "", waitedMs: 0, once: "nothing", answered: false } as const;

export function buildServer(options: ApiOptions): FastifyInstance {
  const { limits } = options;
  const desk = new Desk(options);
  const door = new Door(desk);
  const server = Fastify({
    bodyLimit: limits.bodyBytesMax,
    requestTimeout: limits.requestTimeoutMs,
    keepAliveTimeout: limits.keepAliveTimeoutMs,
    routerOptions: { maxParamLength: limits.headersBytesMax },
    http: {
      headersTimeout: limits.headersTimeoutMs,
      connectionsCheckingInterval: TIMEOUT_CHECK_MS,
      maxHeaderSize: limits.headersBytesMax,
      // The gate asks for it, because Node would refuse without a code.
      requireHostHeader: false,
      // Else Node passes over the second of two that say different things.
      joinDuplicateHeaders: true,
      IncomingMessage: WireRequest,
      ServerResponse: WireResponse,
    },
    // While draining our own gate answers, with a code; a closing Fastify would answer without one.
    return503OnClosing: false,
    genReqId: (request) => requestId(request.headers["x-request-id"]) ?? options.newRequestId(),
    // Those that Fastify brings along take 15 ms to load.
    schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
    frameworkErrors: (error, request, reply) => {
      // Fastify makes it by itself, without what requests are decorated with, and calls no hook for it.
      Object.assign(request, JUST_ARRIVED, { receivedAt: options.stopwatch() });
      if (!door.answersPreflight(request, reply)) answerError(door, error, request, reply);
    },
    clientErrorHandler: (error, socket) => answerBrokenRequest(door, error, socket),
  });
  boundConnections(server, limits);
  server.server.on("connect", ({ socket }) => answerConnect(door, socket));

  const routes = new RouteMap();
  server.decorateRequest("receivedAt", JUST_ARRIVED.receivedAt);
  server.decorateRequest("route", JUST_ARRIVED.route);
  server.decorateRequest("waitedMs", JUST_ARRIVED.waitedMs);
  server.decorateRequest("once", JUST_ARRIVED.once);
  server.decorateRequest("answered", JUST_ARRIVED.answered);
  server.addHook("onRoute", ({ method, url }) => routes.add(method, url));
  server.addHook("preClose", (done) => {
    desk.waitingRoom.close();
    done();
  });
  server.setErrorHandler((error: Error, request, reply) => {
    if (isUntakenQuery(error)) answerUnknown(door, routes, request, reply);
    else answerError(door, error, request, reply);
  });
  server.setNotFoundHandler((request, reply) => answerUnknown(door, routes, request, reply));
  server.addHook("onRequest", gate(door));
  registerJsonBody(server, limits);
  registerRest(server, door);
  registerCommand(server, door);
  registerRaw(server, door);
  const readers = new LiveReaders();
  registerDurable(server, door, readers);
  options.observer.countWaiting(() => ({
    queue: desk.waitingRoom.waiting,
    streamPoll: readers.countOf("poll"),
    streamEvents: readers.countOf("events"),
  }));
  registerDocumentation(server, door);
  return server;
}

/** What Node's own server is told beside its options. */
function boundConnections(server: FastifyInstance, limits: ApiLimits): void {
  const { connectionsMax, bodyBytesMax, keepAliveTimeoutMs } = limits;
  const http = server.server;
  http.maxConnections = connectionsMax;
  // Who has finished asking still gets an answer: `nc -N` and clients of HTTP/1.0 send no more then. (A property without a type.)
  // Whether anybody is still there nobody can tell, so its connection is not kept for as long as a disk may take.
  Object.assign(http, { httpAllowHalfOpen: true });
  http.on("connection", (socket) => socket.once("end", () => socket.setTimeout(keepAliveTimeoutMs)));
  // Their bytes are bounded. By number Node would drop the last ones without a word, a condition as well as any other.
  http.maxHeadersCount = 0;
  http.on("checkExpectation", (request, response) => server.routing(request, response));
  http.on("checkContinue", (request, response) => {
    // Nobody is asked to send what is refused by its length alone.
    if (Number(request.headers["content-length"] ?? 0) <= bodyBytesMax) response.writeContinue();
    server.routing(request, response);
  });
}

function noSchemas(): never {
  throw new Error(
    "a route was given a schema: operations check their input and write their answers themselves",
  );
}

/** A client's own id if it is one: it is answered in a header, logged and kept in the history. */
function requestId(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" && /^[\x21-\x7e]{1,128}$/.test(header) ? header : undefined;
}

declare module "fastify" {
  interface FastifyContextConfig {
    /** Answered also while the server drains. */
    whileDraining?: boolean;
    /** It is, or may be, a read: begun when the requests before it on its connection are answered. */
    inTurn?: boolean;
  }
}
