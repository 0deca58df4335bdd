/**
 * The command envelope: `POST /api/v1/command` with `{command, request_id, payload}` runs any operation. The answer is
 * HTTP 200 also when the command failed, because clients read `success` and nothing else; only an envelope that
 * isn't one gets an HTTP error.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { Type } from "typebox";
import { Compile } from "typebox/compile";
import { type Refusal, refusal } from "../errors.js";
import { explain, nearestName } from "../explain.js";
import { writeJson } from "../json-write.js";
import type { Desk } from "../operations/call.js";
import { commands } from "../operations/catalog.js";
import type { Reply } from "../operations/operation.js";
import { runMeasured } from "../runner.js";
import { JSON_CONTENT, sendAnswer, sendRejection, statusOf } from "./answer.js";
import { bodyOf, type JsonBody } from "./body.js";
import { deliver } from "./failures.js";

export const COMMAND_PATH = "/api/v1/command";

export const Envelope = Type.Object(
  {
    command: Type.String({ description: "The operation's name, such as `kv.set`." }),
    request_id: Type.String({
      maxLength: 256,
      description: "Echoed, and kept in the history of what was written.",
    }),
    payload: Type.Unknown({ description: "The operation's input." }),
  },
  { additionalProperties: false },
);
const envelope = Compile(Envelope);
const envelopeFields = Object.keys(Envelope.properties);

export function registerCommand(server: FastifyInstance, desk: Desk): void {
  server.post(COMMAND_PATH, (request, reply) => {
    const body = bodyOf(request) ?? refusal("API_FIELD_MISSING", "the body is missing");
    if (body.type === "refused") return sendRejection(desk.options, request, reply, body);
    const { value } = body;
    if (!envelope.Check(value)) {
      return sendRejection(
        desk.options,
        request,
        reply,
        explain(envelope.Errors(value), value, envelopeFields),
      );
    }
    const send = (done: Reply) => sendEnvelope(desk, request, reply, value.request_id, done);
    const later = runCommand(desk, request, body, value);
    deliver(desk.options, request, reply, later, send);
  });
}

interface EnvelopeValue {
  readonly command: string;
  readonly request_id: string;
  readonly payload: unknown;
}

function runCommand(desk: Desk, request: FastifyRequest, body: JsonBody, value: EnvelopeValue) {
  const operation = commands.get(value.command);
  if (operation === undefined) {
    desk.options.observer.requestRejected("API_COMMAND_UNKNOWN");
    return unknownCommand(value.command);
  }
  const causeId = value.request_id === "" ? undefined : value.request_id;
  const input = value.payload === null ? {} : value.payload;
  const source = { text: body.text, root: "payload" } as const;
  return runMeasured<Reply>(desk, operation.name, { requestId: request.id, causeId }, (call) =>
    operation.invoke(input, source, call),
  );
}

function unknownCommand(name: string): Refusal {
  const nearest = nearestName(name, [...commands.keys()]);
  const hint = nearest === undefined ? "" : `; did you mean ${nearest}?`;
  return refusal("API_COMMAND_UNKNOWN", `Unknown command: ${name.slice(0, 60)}${hint}`);
}

function sendEnvelope(
  desk: Desk,
  request: FastifyRequest,
  reply: FastifyReply,
  id: string,
  done: Reply,
): void {
  const headers =
    done.type === "answered" && done.offset !== undefined ? ["X-Annals-Offset", String(done.offset)] : [];
  const text = writeJson(
    done.type === "answered"
      ? { success: true, request_id: id, payload: done.payload, error: null }
      : {
          success: false,
          request_id: id,
          payload: null,
          error: done.message,
          code: statusOf(done.code),
          error_code: done.code,
        },
  );
  sendAnswer(desk.options, request, reply, 200, headers, {
    contentType: JSON_CONTENT,
    text,
    encoding: "utf8",
  });
}
