/** Creating a stream: what a body becomes, what makes a repeat the same request, and what is answered. */
import type { FastifyRequest } from "fastify";
import type { Offset } from "../../log/index.js";
import {
  type CreateStreamAnswer,
  type CreateStreamCommand,
  type Lifetime,
  type NewStreamMessage,
  stream,
} from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import type { Later } from "../operations/reply.js";
import { bareType, type ForkRequest, isJsonType, offsetHeader, tailHeaders } from "./durable-headers.js";
import { splitJson } from "./durable-json.js";
import { perform } from "./durable-once.js";
import { type DurableRequest, pathOf } from "./durable-request.js";
import { answer, type DurableAnswer, type DurableResult, publishing } from "./durable-result.js";
import { urlHere } from "./url.js";

export function bodyOf(request: FastifyRequest): Buffer {
  return Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
}

/** A body as messages; `[]` and an empty body are none. */
export function messagesOf(
  contentType: string,
  body: Buffer,
  depthMax: number,
): { readonly type: "messages"; readonly messages: readonly NewStreamMessage[] } | Refusal {
  if (body.length === 0) return { type: "messages", messages: [] };
  if (!isJsonType(contentType)) return { type: "messages", messages: [{ bytes: body }] };
  const split = splitJson(body, depthMax);
  if (split.type === "refused") return split;
  return { type: "messages", messages: split.messages.map((bytes) => ({ bytes })) };
}

export interface WantedStream {
  readonly lifetime: Lifetime | undefined;
  readonly closed: boolean;
}

/** A member that is undefined is left out. */
export function present({
  lifetime,
  closed,
}: WantedStream): Pick<CreateStreamCommand, "lifetime" | "closed"> {
  return lifetime === undefined ? { closed } : { lifetime, closed };
}

/** What makes a repeat of a PUT the same request: everything that it asked for but the content. */
export function fingerprintOf(
  contentType: string,
  lifetime: Lifetime | undefined,
  fork: ForkRequest | undefined,
): string {
  const from = fork === undefined ? null : [fork.path, fork.offset ?? null, fork.extra];
  return JSON.stringify([bareType(contentType), lifetime?.ttlMs ?? null, lifetime?.expiresAt ?? null, from]);
}

export function getOrCreate(
  asked: DurableRequest,
  command: Omit<CreateStreamCommand, "name"> & { readonly fingerprint: string },
): Later<DurableResult> {
  const { call, name } = asked;
  return perform(call, stream.getOrCreate, { name, ...command }, (made, offset): DurableResult => {
    if (made.created) {
      const done = created(asked, command.contentType, made, offset);
      return publishing(done, command.messages?.length ?? 0);
    }
    const { epochs } = call.desk.options.log;
    const existing = made.existing;
    if (existing === undefined || existing.fingerprint !== command.fingerprint) return otherConfig();
    if (existing.closed !== (command.closed ?? false)) return otherConfig();
    return answer(200, [
      "Content-Type",
      existing.contentType,
      ...tailHeaders(epochs, made.tail, made.closed),
    ]);
  });
}

export function otherConfig(): Refusal {
  return refusal("STREAM_EXISTS", "the stream is there already, with another configuration");
}

function created(
  { request, call }: DurableRequest,
  contentType: string,
  made: CreateStreamAnswer,
  offset: Offset,
): DurableAnswer {
  const headers = ["Location", urlHere(request, pathOf(request)), "Content-Type", contentType];
  const { epochs } = call.desk.options.log;
  return answer(201, [...headers, ...tailHeaders(epochs, made.tail, made.closed), ...offsetHeader(offset)]);
}
