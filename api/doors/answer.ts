/**
 * Writes answers: the one place where a door touches the response. The head goes out as one flat list and the body as
 * one string, past Fastify's reply, whose hooks and serializers cost more than the operation itself (measured).
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import { type ErrorCode, errorBody, errorTable, problemBody, type Refusal } from "../errors.js";
import type { ApiOptions } from "../options.js";

export const JSON_CONTENT = "application/json; charset=utf-8";
const PROBLEM_CONTENT = "application/problem+json; charset=utf-8";

export interface Body {
  readonly contentType: string;
  readonly text: string;
  /** `latin1` when every character of `text` stands for one byte. */
  readonly encoding: "utf8" | "latin1";
}

/** Sends an answer, measures it, and says in the log if it was slow or a failure of ours. `extra` is a flat list of headers. */
export function sendAnswer(
  options: ApiOptions,
  request: FastifyRequest,
  reply: FastifyReply,
  status: number,
  extra: readonly string[],
  body: Body | undefined,
): void {
  const headers = ["X-Request-Id", request.id, ...extra];
  if (options.corsOrigins.length > 0) addPluginHeaders(headers, reply);
  const response = reply.raw;
  if (body === undefined) {
    if (status !== 204 && status !== 304) headers.push("Content-Length", "0");
    response.writeHead(status, headers);
    response.end();
  } else {
    const length = body.encoding === "latin1" ? body.text.length : Buffer.byteLength(body.text);
    headers.push("Content-Type", body.contentType, "Content-Length", String(length));
    response.writeHead(status, headers);
    response.end(body.text, body.encoding);
  }
  noteAnswer(options, request, status);
}

/** `preferredStatus` is the raw door's, where HTTP has a status of its own for a code. */
export function sendRefusal(
  options: ApiOptions,
  request: FastifyRequest,
  reply: FastifyReply,
  refused: Refusal,
  extra: readonly string[] = [],
  preferredStatus?: number,
): void {
  const row = errorTable[refused.code];
  const status = preferredStatus ?? row.status;
  const headers = [...extra];
  if (row.retryAfterSecs !== undefined) headers.push("Retry-After", String(row.retryAfterSecs));
  const asProblem = request.headers.accept?.includes("application/problem+json") === true;
  const text = (asProblem ? problemBody : errorBody)(refused, status, request.id);
  const contentType = asProblem ? PROBLEM_CONTENT : JSON_CONTENT;
  sendAnswer(options, request, reply, status, headers, { contentType, text, encoding: "utf8" });
}

/** A refusal by the door itself, before any operation ran. */
export function sendRejection(
  options: ApiOptions,
  request: FastifyRequest,
  reply: FastifyReply,
  refused: Refusal,
  extra: readonly string[] = [],
): void {
  options.observer.requestRejected(refused.code);
  sendRefusal(options, request, reply, refused, extra);
}

/** Tells the observer, and the log if someone should look at this one. */
export function noteAnswer(options: ApiOptions, request: FastifyRequest, status: number): void {
  const durationMs = options.stopwatch() - request.receivedAt;
  const route = request.routeOptions.url ?? "unknown";
  options.observer.requestFinished(request.method, route, status, durationMs);
  if (status >= 500 || durationMs >= options.limits.slowRequestMs) {
    const facts = { requestId: request.id, method: request.method, route, status, durationMs };
    if (status >= 500) options.logger.error(facts, "request failed");
    else options.logger.warn(facts, "slow request");
  }
}

/** What the CORS plugin has put on the reply. */
function addPluginHeaders(headers: string[], reply: FastifyReply): void {
  for (const [name, value] of Object.entries(reply.getHeaders())) {
    if (value !== undefined) headers.push(name, Array.isArray(value) ? value.join(", ") : String(value));
  }
}

export function statusOf(code: ErrorCode): number {
  return errorTable[code].status;
}

declare module "fastify" {
  interface FastifyRequest {
    /** By the stopwatch, when the request's headers had arrived. */
    receivedAt: number;
  }
}
