/**
 * The first thing that happens to a request: wait for its turn, note the time, and turn away what no route should have to look at, because
 * the server is going down or because nobody could say for sure what was meant.
 */
import type { IncomingHttpHeaders, ServerResponse } from "node:http";
import type { FastifyReply, FastifyRequest } from "fastify";
import { type ErrorCode, type Refusal, refusal } from "../errors.js";
import { draining } from "../waiting-room.js";
import type { Door } from "./door.js";
import { standBehind } from "./standing-behind.js";
import { hasReadableQuery } from "./url.js";
import { wireOf } from "./wire.js";

/** After one of these the connection can't be used again. */
const closes: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  "API_DRAINING",
  "API_EXPECTATION_FAILED",
  "API_REQUEST_MALFORMED",
]);

type Next = () => void;

export function gate(door: Door): (request: FastifyRequest, reply: FastifyReply, next: Next) => void {
  return (request, reply, next) => {
    if (isBodiless(request.headers)) wireOf(request.raw).ignore();
    inTurn(request, reply.raw, () => pass(door, request, reply, next));
  };
}

/**
 * Node takes whatever arrives in one piece, and a piece has room for a thousand small requests. A read is begun when those before it on
 * its connection are answered, so that answers which nobody takes do not pile up in memory; and it shows what those before it did. Writes
 * are begun as they come, and share a sync.
 */
function inTurn(request: FastifyRequest, response: ServerResponse, begin: Next): void {
  const isBehind = response.socket === null;
  if (isBehind) standBehind(request.raw.socket, response);
  if (isBehind && request.routeOptions.config.inTurn === true) response.once("socket", () => begin());
  else begin();
}

function pass(door: Door, request: FastifyRequest, reply: FastifyReply, next: Next): void {
  const { stopwatch, health } = door.options;
  request.receivedAt = stopwatch();
  // Also while draining: else the page could not read that.
  if (door.answersPreflight(request, reply)) return;
  const mayStay = request.routeOptions.config.whileDraining === true;
  const refused = health.draining() && !mayStay ? draining() : refusalOf(request);
  if (refused === undefined) next();
  else door.reject(request, reply, refused, closes.has(refused.code) ? ["Connection", "close"] : []);
}

function refusalOf({ headers, raw }: FastifyRequest): Refusal | undefined {
  const { expect, host } = headers;
  if (host === undefined && raw.httpVersion === "1.1") {
    return refusal("API_REQUEST_MALFORMED", "HTTP/1.1 asks for a Host header");
  }
  if (host !== undefined && !HOST.test(host)) {
    return refusal("API_REQUEST_MALFORMED", "Host is one name or address, with or without a port");
  }
  if (expect !== undefined && expect.toLowerCase() !== "100-continue") {
    return refusal("API_EXPECTATION_FAILED", "the only expectation met is 100-continue");
  }
  if (!hasReadableQuery(raw.url ?? "")) {
    return refusal("API_URL_INVALID", "the query is not percent-encoded UTF-8");
  }
  return isBodiless(headers) ? undefined : encodedBody(headers);
}

/** As RFC 9112 §3.2 has it. No comma: two lines, or names, are not one. */
const HOST = /^[\w.~%!$&'()*+;=[\]:-]*$/;

/** Read or stored as if it had no encoding, it would be taken for something else, and given back as that. */
function encodedBody(headers: IncomingHttpHeaders): Refusal | undefined {
  const encoding = headers["content-encoding"];
  const transfer = headers["transfer-encoding"];
  const isPlain = encoding === undefined || encoding.toLowerCase() === "identity";
  // Node undoes the chunks and hands on what was put into them, whatever that was.
  if (isPlain && (transfer === undefined || transfer.toLowerCase() === "chunked")) return undefined;
  return refusal("API_CONTENT_ENCODING_UNSUPPORTED", "a body is taken as it is, without an encoding");
}

function isBodiless(headers: IncomingHttpHeaders): boolean {
  return headers["content-length"] === undefined && headers["transfer-encoding"] === undefined;
}
