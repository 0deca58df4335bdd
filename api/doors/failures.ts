/**
 * Everything that goes wrong before an operation runs: what Fastify and Node's HTTP parser find, unknown routes, wrong
 * methods, and errors nobody expected. Each gets a code from the one table.
 */
import { type IncomingMessage, type ServerResponse, STATUS_CODES } from "node:http";
import type { Socket } from "node:net";
import type { FastifyError, FastifyReply, FastifyRequest } from "fastify";
import { type ErrorCode, errorBody, errorTable, type Refusal, refusal } from "../errors.js";
import type { Door } from "./door.js";
import type { RouteMap } from "./route-map.js";
import { nameIn, pathIn } from "./url.js";

/** Fastify's own codes. Anything else that reaches the error handler is a bug. */
const frameworkCodes: ReadonlyMap<string, ErrorCode> = new Map<string, ErrorCode>([
  ["FST_ERR_CTP_BODY_TOO_LARGE", "API_BODY_TOO_LARGE"],
  ["FST_ERR_CTP_INVALID_MEDIA_TYPE", "API_CONTENT_TYPE_UNSUPPORTED"],
  ["FST_ERR_CTP_EMPTY_TYPE", "API_CONTENT_TYPE_UNSUPPORTED"],
  ["FST_ERR_CTP_INVALID_CONTENT_LENGTH", "API_BODY_INCOMPLETE"],
  ["FST_ERR_BAD_URL", "API_URL_INVALID"],
  ["FST_ERR_MAX_PARAM_LENGTH", "API_URL_TOO_LONG"],
]);

/** After one of these the rest of the body is not read, so the connection can't be used again. */
const closes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  ...(["API_BODY_TOO_LARGE", "API_BODY_INCOMPLETE"] as const),
  ...(["API_REQUEST_MALFORMED", "API_REQUEST_TIMEOUT"] as const),
]);

/** What Node's parser refuses in the middle of a body. */
class BrokenBody extends Error {
  constructor(readonly code: ErrorCode) {
    super(errorTable[code].title);
  }
}

/** What a door says of a content type that is none. */
export type ContentTypeCode =
  | "API_CONTENT_TYPE_UNSUPPORTED"
  | "KV_CONTENT_TYPE_INVALID"
  | "STREAM_CONTENT_TYPE_INVALID";

export function answerError(
  door: Door,
  error: FastifyError | Error,
  request: FastifyRequest,
  reply: FastifyReply,
  typeCode: ContentTypeCode = "API_CONTENT_TYPE_UNSUPPORTED",
): void {
  const refused = refusalOf(door, error, request, typeCode);
  const extra = closes.has(refused.code) ? ["Connection", "close"] : [];
  door.reject(request, reply, refused, extra);
}

function refusalOf(
  door: Door,
  error: FastifyError | Error,
  request: FastifyRequest,
  typeCode: ContentTypeCode,
): Refusal {
  const code = "code" in error ? error.code : undefined;
  const known = code === undefined ? undefined : frameworkCodes.get(code);
  const nameCode = nameIn(request.raw.url ?? "");
  if (known === "API_URL_INVALID" && nameCode !== undefined) {
    const what = nameCode === "KV_KEY_INVALID" ? "the key" : "the queue's name";
    return refusal(nameCode, `${what} in the URL is not percent-encoded UTF-8`);
  }
  if (known === "API_URL_TOO_LONG" && nameCode === "KV_KEY_INVALID") {
    return refusal(nameCode, `a key may have ${door.options.limits.keyBytesMax} bytes at most`);
  }
  if (known === "API_CONTENT_TYPE_UNSUPPORTED" && known !== typeCode) {
    return refusal(typeCode, "a content type is a type and a subtype, such as text/plain; charset=utf-8");
  }
  if (known !== undefined) return refusal(known, errorTable[known].title);
  if (error instanceof BrokenBody) return refusal(error.code, error.message);
  if (request.raw.destroyed || code === "ECONNRESET") {
    return refusal("API_BODY_INCOMPLETE", "the request broke off");
  }
  return door.unexpected(request, error);
}

/** Fastify asks a QUERY for its content type before it tells it that there is no route; nothing here takes one. */
export function isUntakenQuery(error: FastifyError | Error): boolean {
  return "code" in error && error.code === "FST_ERR_ROUTE_MISSING_CONTENT_TYPE";
}

export function answerUnknown(
  door: Door,
  routes: RouteMap,
  request: FastifyRequest,
  reply: FastifyReply,
): void {
  const allowed = routes.methodsFor(pathIn(request.raw.url ?? ""));
  // A path that takes the method, and has nothing there: the page hands such a one back.
  const isUnknown = allowed.length === 0 || allowed.includes(request.method);
  const refused = isUnknown
    ? refusal("API_ROUTE_UNKNOWN", "no such route; GET /openapi.json lists them all")
    : refusal("API_METHOD_NOT_ALLOWED", `this path takes ${allowed.join(", ")}`);
  // Whatever body came with it has not been read.
  const extra =
    request.headers["content-length"] || request.headers["transfer-encoding"] ? ["Connection", "close"] : [];
  if (!isUnknown) extra.push("Allow", allowed.join(", "));
  door.reject(request, reply, refused, extra);
}

/** Nobody is put through. Node hands the socket over for good, its errors too, and would close it without a word. */
export function answerConnect(door: Door, socket: Socket): void {
  socket.on("error", () => socket.destroy());
  answerOnSocket(door, "API_METHOD_NOT_ALLOWED", socket, "Allow:\r\n");
}

/** What Node's parser refuses: in the middle of a body the request answers for itself, else nothing but the bare socket can. */
export function answerBrokenRequest(door: Door, error: Error, socket: Socket): void {
  const cause = "code" in error ? error.code : undefined;
  // The client hung up in the middle. A request that was being read fails by itself and is counted there.
  if (cause === "HPE_INVALID_EOF_STATE" || cause === "ECONNRESET") {
    socket.destroy();
    return;
  }
  const code = clientErrorCode(cause);
  const request = arrivingOn(socket);
  if (request !== undefined) {
    request.emit("error", new BrokenBody(code));
    return;
  }
  answerOnSocket(door, code, socket);
}

/** Of what is no request of the server's. `lines` of the head are its own. */
function answerOnSocket({ options, lineage }: Door, code: ErrorCode, socket: Socket, lines = ""): void {
  options.observer.requestRejected(code);
  if (!socket.writable || answersPending(socket)) {
    socket.destroy();
    return;
  }
  const requestId = options.newRequestId();
  const { status, title } = errorTable[code];
  const body = errorBody(refusal(code, title), status, requestId);
  socket.end(
    `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n${lineage.of()}X-Request-Id: ${requestId}\r\nConnection: close\r\n` +
      `${lines}Content-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}

function clientErrorCode(code: unknown): ErrorCode {
  if (code === "HPE_HEADER_OVERFLOW") return "API_HEADERS_TOO_LARGE";
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return "API_REQUEST_TIMEOUT";
  return "API_REQUEST_MALFORMED";
}

/** The request whose body is being collected: who collects it listens for errors, and answers with its own id, once. */
function arrivingOn(socket: Socket): IncomingMessage | undefined {
  const response = responseOn(socket);
  if (response === undefined || response.headersSent) return undefined;
  const { req } = response;
  return req.complete || req.listenerCount("error") === 0 ? undefined : req;
}

/**
 * True when an earlier, complete request on this socket still waits for its answer. Text written now would be taken for
 * that answer: a write that will be durable would look refused. Then the socket is closed without a word.
 */
function answersPending(socket: Socket): boolean {
  const response = responseOn(socket);
  return response !== undefined && (response.headersSent || response.req.complete);
}

function responseOn(socket: Socket): ServerResponse | undefined {
  const response = "_httpMessage" in socket ? socket._httpMessage : undefined;
  return isResponse(response) ? response : undefined;
}

function isResponse(value: unknown): value is ServerResponse {
  return typeof value === "object" && value !== null && "req" in value;
}
