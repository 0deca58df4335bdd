/**
 * The command envelope: `POST /api/v1/command` with `{command, request_id, payload}` runs any operation. The answer is
 * HTTP 200 also when the command failed, because clients read `success` and nothing else; only an envelope that
 * isn't one gets an HTTP error.
 */

import { Type } from "@sinclair/typebox";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Checker } from "../checker.js";
import { errorTable, type Refusal, refusal } from "../errors.js";
import { explain, nearestName } from "../explain.js";
import { memberSpan } from "../json-text.js";
import { writeJson } from "../json-write.js";
import { commands } from "../operations/catalog.js";
import { CLIENT_ID_MAX } from "../operations/fields.js";
import type { Reply } from "../operations/reply.js";
import { runMeasured } from "../runner.js";
import { type AsksInBody, asAsked, asksOf } from "./asks.js";
import { bodyOf, type JsonBody } from "./body.js";
import { type Door, JSON_CONTENT } from "./door.js";
import { readAt } from "./looking-back.js";
import { textBody } from "./outbox.js";
import { replyHeaders } from "./reply-headers.js";

export const COMMAND_PATH = "/api/v1/command";

export const Envelope = Type.Object(
  {
    command: Type.String({ description: "The operation's name, such as `kv.set`." }),
    request_id: Type.String({
      maxLength: 256,
      description: "Echoed, and kept in the history of what was written.",
    }),
    payload: Type.Unknown({ description: "The operation's input." }),
    idempotency_key: Type.Optional(
      Type.String({ description: "Of a write, instead of the header `Idempotency-Key`." }),
    ),
    acks: Type.Optional(
      Type.Union([Type.Integer({ minimum: 0, maximum: 63 }), Type.Literal("quorum")], {
        description: "Of a write, instead of the header `X-Annals-Acks`.",
      }),
    ),
    min_offset: Type.Optional(
      Type.Union([Type.Integer({ minimum: 0 }), Type.String({ maxLength: 32 })], {
        description: "Instead of the header `X-Annals-Min-Offset`.",
      }),
    ),
    at: Type.Optional(
      Type.Union([Type.Integer({ minimum: 0 }), Type.String({ maxLength: 64 })], {
        description: "Of a read: the state as it was after this offset, or at this time.",
      }),
    ),
  },
  { additionalProperties: false },
);
const envelope = new Checker(Envelope);
const envelopeFields = Object.keys(Envelope.properties);

export function registerCommand(server: FastifyInstance, door: Door): void {
  // What it asks for is not known before its body is there: it may be a read.
  server.post(COMMAND_PATH, { config: { inTurn: true } }, (request, reply) => {
    request.route = COMMAND_PATH;
    const body = bodyOf(request) ?? refusal("API_FIELD_MISSING", "the body is missing");
    if (body.type === "refused") return door.reject(request, reply, body);
    const { value } = body;
    if (!envelope.accepts(value)) {
      return door.reject(request, reply, explain(envelope.mistakes(value), value, envelopeFields));
    }
    const send = (done: Reply) => sendEnvelope(door, request, reply, value.request_id, done);
    runCommand(door, request, body, value, door.sender(request, reply, send));
  });
}

interface EnvelopeValue extends AsksInBody {
  readonly command: string;
  readonly request_id: string;
  readonly payload: unknown;
}

function runCommand(
  door: Door,
  request: FastifyRequest,
  body: JsonBody,
  value: EnvelopeValue,
  done: (reply: Reply) => void,
): void {
  const operation = commands.get(value.command);
  if (operation === undefined) {
    door.options.observer.requestRejected("API_COMMAND_UNKNOWN");
    done(unknownCommand(value.command));
    return;
  }
  const causeId = value.request_id === "" ? undefined : value.request_id;
  const input = value.payload === null ? {} : value.payload;
  const source = { text: body.text, root: "payload" } as const;
  const asks = asksOf(request, operation, () => [operation.name, "[]", payloadText(body)], value);
  if (asks.type === "refused") {
    door.options.observer.requestRejected(asks.code);
    done(asks);
    return;
  }
  const caller = {
    requestId: request.id,
    causeId,
    connection: request.raw.socket,
    once: asks.once,
    acks: asks.acks,
    client: clientOf(value.request_id),
  };
  runMeasured<Reply>(
    door.desk,
    operation.name,
    caller,
    asAsked(asks, (call) =>
      asks.at === undefined ? operation.invoke(input, source, call) : readAt(operation, input, asks.at, call),
    ),
    done,
  );
}

/** As documented, the request's id where it can name a client: it can be sent as `client_id` by the next request. */
function clientOf(requestId: string): string | undefined {
  return requestId !== "" && requestId.length <= CLIENT_ID_MAX ? requestId : undefined;
}

/** As it was sent: a repeat may have another request id. */
function payloadText({ text }: JsonBody): string {
  const span = memberSpan(text, 0, "payload");
  return span === undefined ? "" : text.slice(span.start, span.end);
}

function unknownCommand(name: string): Refusal {
  const nearest = nearestName(name, [...commands.keys()]);
  const hint = nearest === undefined ? "" : `; did you mean ${nearest}?`;
  return refusal("API_COMMAND_UNKNOWN", `Unknown command: ${name.slice(0, 60)}${hint}`);
}

function sendEnvelope(
  door: Door,
  request: FastifyRequest,
  reply: FastifyReply,
  id: string,
  done: Reply,
): void {
  const headers = done.type === "answered" ? replyHeaders(done) : [];
  const text = writeJson(
    done.type === "answered"
      ? { success: true, request_id: id, payload: done.payload, error: null }
      : {
          success: false,
          request_id: id,
          payload: null,
          error: done.message,
          code: errorTable[done.code].status,
          error_code: done.code,
          ...done.details,
        },
  );
  const unsent = done.type === "answered" ? done.unsent : undefined;
  door.send(request, reply, 200, headers, textBody(JSON_CONTENT, text), unsent);
}
