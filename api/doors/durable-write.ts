/** Writes of the durable streams door: create, append, close, delete. Every one is one command, answered when committed. */
import type { IncomingHttpHeaders } from "node:http";
import type { Offset } from "../../log/index.js";
import { type AppendOutcome, type AppendStreamCommand, BYTES_TYPE, stream } from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import type { Epochs } from "../lineage.js";
import type { Later } from "../operations/reply.js";
import { bodyOf, fingerprintOf, getOrCreate, messagesOf, present } from "./durable-create.js";
import { createFork } from "./durable-fork.js";
import {
  closesStream,
  forkOf,
  headerOf,
  lifetimeOf,
  offsetHeader,
  producerOf,
  tailHeaders,
} from "./durable-headers.js";
import { perform } from "./durable-once.js";
import type { DurableRequest } from "./durable-request.js";
import { answer, type DurableResult, publishing, refuseWith } from "./durable-result.js";

type Draft<Command> = { -readonly [Name in keyof Command]: Command[Name] };

export function create(asked: DurableRequest): Later<DurableResult> {
  const { headers } = asked.request;
  const lifetime = lifetimeOf(headers);
  if (lifetime.type === "refused") return lifetime;
  const fork = forkOf(headers);
  if (fork.type === "refused") return fork;
  const wanted = { lifetime: lifetime.value, closed: closesStream(headers) };
  if (fork.value !== undefined) return createFork(asked, fork.value, wanted);
  const contentType = headerOf(headers, "content-type") ?? BYTES_TYPE;
  const found = messagesOf(contentType, bodyOf(asked.request), asked.call.limits.jsonDepthMax);
  if (found.type === "refused") return found;
  const fingerprint = fingerprintOf(contentType, wanted.lifetime, undefined);
  return getOrCreate(asked, { contentType, fingerprint, messages: found.messages, ...present(wanted) });
}

export function append({ call, name, request }: DurableRequest): Later<DurableResult> {
  const command = appendCommand(name, request.headers, bodyOf(request), call.limits.jsonDepthMax);
  if ("type" in command) return command;
  return perform(call, stream.append, command, (outcome, offset) => {
    const done = appended(call.desk.options.log.epochs, outcome, offset);
    const isNews = outcome.type === "appended" && done.type === "answer";
    return isNews ? publishing(done, command.messages.length) : done;
  });
}

function appendCommand(
  name: string,
  headers: IncomingHttpHeaders,
  body: Buffer,
  depthMax: number,
): AppendStreamCommand | Refusal {
  const producer = producerOf(headers);
  if (producer.type === "refused") return producer;
  const close = closesStream(headers);
  const command: Draft<AppendStreamCommand> = { name, messages: [], close };
  if (producer.value !== undefined) command.producer = producer.value;
  const writerSeq = headerOf(headers, "stream-seq");
  if (writerSeq !== undefined) command.writerSeq = writerSeq;
  if (body.length === 0) {
    // The content type of a mere close says nothing.
    return close ? command : refusal("API_BODY_EMPTY", "an append needs a body");
  }
  const contentType = headerOf(headers, "content-type");
  if (contentType === undefined) return refusal("API_HEADER_INVALID", "an append needs a Content-Type");
  command.contentType = contentType;
  const found = messagesOf(contentType, body, depthMax);
  // What the state refuses comes first: a repeat of an accepted request is a repeat, whatever its body.
  if (found.type === "refused") command.invalid = found.message;
  else if (found.messages.length === 0) command.invalid = "an append needs at least one message";
  else command.messages = found.messages;
  return command;
}

/** A case that is missing here does not compile. */
function appended(epochs: Epochs, outcome: AppendOutcome, offset: Offset): DurableResult {
  const headers = tailHeaders(epochs, outcome.tail, outcome.closed);
  switch (outcome.type) {
    case "appended":
    case "closed":
    case "duplicate": {
      const { producer } = outcome;
      if (producer !== undefined) {
        headers.push("Producer-Epoch", String(producer.epoch), "Producer-Seq", String(producer.seq));
      }
      const isNew = outcome.type === "appended" && producer !== undefined;
      return answer(isNew ? 200 : 204, [...headers, ...offsetHeader(offset)]);
    }
    case "already_closed":
      return answer(204, headers);
    case "refused_closed":
      return refuseWith("STREAM_CLOSED", "the stream is closed", headers);
    case "stale_epoch":
      headers.push("Producer-Epoch", String(outcome.epoch));
      return refuseWith("STREAM_PRODUCER_STALE", `the producer has epoch ${outcome.epoch}`, headers);
    case "gap":
      headers.push("Producer-Expected-Seq", String(outcome.expected));
      headers.push("Producer-Received-Seq", String(outcome.received));
      return refuseWith("STREAM_PRODUCER_GAP", `the next request has seq ${outcome.expected}`, headers);
    case "epoch_start":
      return refuseWith("STREAM_PRODUCER_EPOCH_START", "a new epoch begins with seq 0", headers);
  }
}

export function remove({ call, name }: DurableRequest): Later<DurableResult> {
  return perform(call, stream.delete, { name }, (_answer, offset): DurableResult => {
    return answer(204, offsetHeader(offset));
  });
}
