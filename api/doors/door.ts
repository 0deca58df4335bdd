/**
 * What every door shares: the desk behind it and how answers leave. The one place that makes up the response:
 * the head as one flat list and the body as one string, past Fastify's reply, whose hooks and serializers cost more than
 * most operations.
 */
import type { FastifyReply, FastifyRequest } from "fastify";
import {
  type ErrorCode,
  errorBody,
  errorTable,
  failureCode,
  problemBody,
  type Refusal,
  refusal,
} from "../errors.js";
import { type Forward, forwarderOf, sendOn } from "../forwarding.js";
import type { Desk } from "../operations/call.js";
import type { ApiOptions } from "../options.js";
import type { ForwardedAnswer, OnceBy } from "../replication.js";
import { AnswerLog } from "./answer-log.js";
import { Cors } from "./cors.js";
import { headersAt } from "./durable-headers.js";
import { LineageLines } from "./lineage-lines.js";
import { type Answer, type Body, bufferBody, Outbox, textBody } from "./outbox.js";
import { urlHere } from "./url.js";
import { wireResponseOf } from "./wire.js";

export const JSON_CONTENT = "application/json; charset=utf-8";
const JSON_LINE = `Content-Type: ${JSON_CONTENT}\r\n`;
/** Of a request whose client hung up, where otherwise the status of its answer is told; as nginx has it. */
const HUNG_UP = 499;
const PROBLEM_CONTENT = "application/problem+json; charset=utf-8";

export class Door {
  readonly desk: Desk;
  readonly options: ApiOptions;
  readonly lineage: LineageLines;
  readonly cors: Cors;
  readonly #log: AnswerLog;
  readonly #outbox = new Outbox((answer, error) => this.#unwritten(answer, error));

  constructor(desk: Desk) {
    this.desk = desk;
    this.options = desk.options;
    this.lineage = new LineageLines(desk.options.log);
    this.#log = new AnswerLog(desk.options.logger);
    this.cors = new Cors(desk.options.corsOrigins);
  }

  /** `headers` is a flat list of names and values; the rest of the head is added to it. `unsent`: see `Answered`. */
  send(
    request: FastifyRequest,
    reply: FastifyReply,
    status: number,
    headers: string[],
    body: Body | undefined,
    unsent?: () => void,
  ): void {
    this.#tell(request, reply, headers);
    this.#put(request, reply, status, headers, body, unsent);
  }

  #put(
    request: FastifyRequest,
    reply: FastifyReply,
    status: number,
    headers: string[],
    body: Body | undefined,
    unsent?: () => void,
  ): void {
    if (body === undefined) {
      if (status !== 204 && status !== 304) headers.push("Content-Length", "0");
    } else {
      if (body.contentType === JSON_CONTENT) wireResponseOf(reply.raw).lines += JSON_LINE;
      else headers.push("Content-Type", body.contentType);
      headers.push("Content-Length", String(body.byteLength));
    }
    request.answered = true;
    this.#outbox.put({ request, reply, status, headers, body, unsent });
    this.note(request, status);
  }

  /** As `send`, for a body that the caller writes piece by piece to the reply's raw response. */
  begin(request: FastifyRequest, reply: FastifyReply, status: number, headers: string[]): void {
    this.#tell(request, reply, headers);
    request.answered = true;
    reply.raw.writeHead(status, headers);
    reply.raw.flushHeaders();
    this.note(request, status);
  }

  /** What every answer tells. None of it needs a check: numbers and words of this node's own, and an id whose characters were looked at. */
  #tell(request: FastifyRequest, reply: FastifyReply, headers: string[]): void {
    const at = headers.indexOf("X-Annals-Offset");
    const offset = at < 0 ? undefined : Number(headers[at + 1]);
    if (offset !== undefined) headers.splice(at, 2);
    const offsetLine = offset === undefined ? "" : `X-Annals-Offset: ${offset}\r\n`;
    wireResponseOf(reply.raw).lines =
      `${this.lineage.of(offset)}${offsetLine}${this.cors.linesFor(request)}${idLine(request)}`;
  }

  /** What an operation refused. `preferredStatus` is for the raw door, where HTTP has a status of its own for a code. */
  refuse(
    request: FastifyRequest,
    reply: FastifyReply,
    refused: Refusal,
    extra: readonly string[] = [],
    preferredStatus?: number,
  ): void {
    const row = errorTable[refused.code];
    const status = preferredStatus ?? row.status;
    const headers = [...extra];
    const primary = refused.details?.["primary"];
    if (typeof primary === "string") headers.push("X-Annals-Primary", primary);
    if (row.retryAfterSecs !== undefined) headers.push("Retry-After", String(row.retryAfterSecs));
    const asProblem = request.headers.accept?.includes("application/problem+json") === true;
    const text = (asProblem ? problemBody : errorBody)(refused, status, request.id);
    const contentType = asProblem ? PROBLEM_CONTENT : JSON_CONTENT;
    this.send(request, reply, status, headers, textBody(contentType, text));
  }

  /** Answers what a browser asks before it sends a page's request; false where this is no such question. */
  answersPreflight(request: FastifyRequest, reply: FastifyReply): boolean {
    const headers = this.cors.preflight(request);
    if (headers === undefined) return false;
    this.send(request, reply, 204, headers, undefined);
    return true;
  }

  /** What the door itself refuses, before any operation ran. */
  reject(
    request: FastifyRequest,
    reply: FastifyReply,
    refused: Refusal,
    extra: readonly string[] = [],
  ): void {
    this.options.observer.requestRejected(refused.code);
    this.refuse(request, reply, refused, [...headersAt(request.raw.url), ...extra]);
  }

  /** Makes `send` safe to be called from a promise: a mistake while sending must not become an unhandled rejection. */
  sender<Result extends { readonly type: string }>(
    request: FastifyRequest,
    reply: FastifyReply,
    send: (result: Result | Refusal) => void,
  ): (result: Result | Refusal, waitedMs?: number) => void {
    return (result, waitedMs = 0) => {
      request.waitedMs = waitedMs;
      try {
        const forward = forwarderOf(this.options, result);
        if (forward === undefined) send(result);
        else void this.#sendOn(request, reply, forward, send);
      } catch (error) {
        this.#broke(request, reply, error);
      }
    };
  }

  async #sendOn(
    request: FastifyRequest,
    reply: FastifyReply,
    forward: Forward,
    refuse: (refused: Refusal) => void,
  ): Promise<void> {
    try {
      const answer = await sendOn(request, forward);
      // How long another node takes is that node's to tell.
      request.waitedMs = this.options.stopwatch() - request.receivedAt;
      if (answer.type === "refused") refuse(answer);
      else this.#relay(request, reply, answer);
    } catch (error) {
      this.#broke(request, reply, error);
    }
  }

  /** Of the history of the node that answered, not of this one's; who asked this one stays with it, and this one says what a browser may read. */
  #relay(request: FastifyRequest, reply: FastifyReply, { status, headers, body }: ForwardedAnswer): void {
    const kept: string[] = [];
    let contentType = "";
    for (let index = 0; index + 1 < headers.length; index += 2) {
      const [name = "", value = ""] = headers.slice(index, index + 2);
      const lower = name.toLowerCase();
      if (lower === "content-type") contentType = value;
      else if (lower === "location")
        kept.push(name, value.replace(/^https?:\/\/[^/]+/, urlHere(request, "")));
      else if (!lower.startsWith("access-control-")) kept.push(name, value);
    }
    const shown = contentType === "" && body.length === 0 ? undefined : bufferBody(contentType, body);
    wireResponseOf(reply.raw).lines = `${this.cors.linesFor(request)}${idLine(request)}`;
    this.#put(request, reply, status, kept, shown);
  }

  /** Tells the observer, and the log if someone should look at this one. */
  note(request: FastifyRequest, answered: number): void {
    const status = request.raw.socket.destroyed ? HUNG_UP : answered;
    const { observer, stopwatch, limits } = this.options;
    const nowMs = stopwatch();
    const durationMs = nowMs - request.receivedAt;
    const route = request.route === "" ? (request.routeOptions.url ?? "unknown") : request.route;
    observer.requestFinished(request.method, route, status, durationMs);
    const failed = status >= 500 && status !== errorTable.API_NOT_BUILT.status;
    if (!failed && durationMs - request.waitedMs < limits.slowRequestMs) return;
    const facts = { requestId: request.id, method: request.method, route, status, durationMs };
    this.#log.note(failed ? "request failed" : "slow request", facts, nowMs);
  }

  #broke(request: FastifyRequest, reply: FastifyReply, error: unknown): void {
    const refused = this.unexpected(request, error);
    if (request.answered) reply.raw.destroy();
    else this.reject(request, reply, refused);
  }

  /** An answer that could not be written is replaced by one that says so; one that says so is not replaced again. */
  #unwritten({ request, reply, status }: Answer, error: unknown): void {
    request.answered = reply.raw.headersSent || status === errorTable.API_INTERNAL.status;
    this.#broke(request, reply, error);
  }

  /** Of a bug nothing is told but where its trace can be found. */
  unexpected(request: FastifyRequest, error: unknown): Refusal {
    const code: ErrorCode | undefined = failureCode(error);
    if (code !== undefined) return refusal(code, errorTable[code].title);
    this.options.logger.error({ err: error, requestId: request.id }, "unexpected error");
    return refusal(
      "API_INTERNAL",
      `unexpected error; the log of the server names it by request id ${request.id}`,
    );
  }
}

const idLine = ({ id }: FastifyRequest): string => `X-Request-Id: ${id}\r\n`;

declare module "fastify" {
  interface FastifyRequest {
    /** The route's pattern; empty until its handler runs. (Fastify's `routeOptions` builds an object at each access.) */
    route: string;
    /** By the stopwatch, when the request's headers had arrived. */
    receivedAt: number;
    /** Of the time until the answer, what the client asked to wait for. */
    waitedMs: number;
    /** Known once it is known what it asks. */
    once: OnceBy;
    /** An answer is on its way; there is never a second one. */
    answered: boolean;
  }
}
