/** One page of a durable stream: from where a reader is, up to what is committed, cut between appends. */
import type { EventPlace, PageLimits, ReadStreamAnswer } from "../../projections/index.js";
import { stream } from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import { isJsonType } from "./durable-headers.js";
import { joinJson } from "./durable-json.js";
import { compareTokens, laterOf } from "./durable-offsets.js";
import type { DurableRequest } from "./durable-request.js";

/** A token, the beginning, or the tail. */
export type ReadFrom = EventPlace | "start" | "now";

export interface Page {
  readonly type: "page";
  readonly answer: ReadStreamAnswer;
  /** Where the reader stands after it. Never before where it stood. */
  readonly next: EventPlace;
}

export async function readPage(
  asked: DurableRequest,
  from: ReadFrom,
  limits: PageLimits,
): Promise<Page | Refusal> {
  const place = from === "start" ? 0 : from;
  const found = await readFrom(asked, place, limits);
  if (found.type === "page" || from !== "start" || found.code !== "STREAM_OFFSET_TRIMMED") {
    return found.type === "page" && isToken(from) ? checked(asked, from, found) : found;
  }
  // The beginning of a stream that was trimmed is the first message that is left.
  const head = await asked.call.query(stream.head, { name: asked.name }, ({ earliest }) => ({
    type: "earliest" as const,
    earliest,
  }));
  return head.type === "refused" ? head : readFrom(asked, head.earliest, limits);
}

function isToken(from: ReadFrom): from is EventPlace {
  return typeof from !== "string";
}

async function readFrom(
  { call, name }: DurableRequest,
  from: EventPlace | number | "now",
  limits: PageLimits,
): Promise<Page | Refusal> {
  return call.query(stream.read, { name, from, limits }, (answer): Page => {
    return { type: "page", answer, next: nextOf(answer, typeof from === "object" ? from : undefined) };
  });
}

/** At the end also a fork without messages of its own, or a message still on its way to the disk, must not lead backward. */
function nextOf(answer: ReadStreamAnswer, from: EventPlace | undefined): EventPlace {
  const { facts, nextEvent, atEnd, next } = answer;
  const reached = atEnd && facts.end === next ? laterOf(nextEvent, facts.tail) : nextEvent;
  return from === undefined ? reached : laterOf(reached, from);
}

/** A token that this stream never gave out: from a log that is longer, or from a stream that had this name before. */
function checked({ call }: DurableRequest, token: EventPlace, page: Page): Page | Refusal {
  if (token.offset > call.desk.options.log.endOffset) {
    return refusal("API_OFFSET_INVALID", "the offset lies beyond everything that was ever written");
  }
  const { facts } = page.answer;
  const isStale = token.offset > 0 && facts.fork === undefined && compareTokens(token, facts.id) < 0;
  if (!isStale) return page;
  return refusal("STREAM_OFFSET_TRIMMED", "the offset is of a stream that was deleted; begin again with -1");
}

/** True when more is on its way to the disk than the page shows. Nobody is told of it; a live reader reads again. */
export function isBehind({ answer: { facts, next, closed } }: Page): boolean {
  return facts.end > next || facts.closed !== closed;
}

export async function bytesOf({ call }: DurableRequest, { answer }: Page): Promise<Buffer> {
  const slices = answer.plan.count === 0 ? [] : await call.desk.options.store.bodies(answer.plan);
  const messages = slices.flatMap((slice) => slice.messages);
  return isJsonType(answer.facts.contentType) ? joinJson(messages) : Buffer.concat(messages);
}

/**
 * Reading renews a stream's time to live. The read does not wait for it, and is not refused when the log refuses: then the
 * stream may end sooner, which a log that takes no writes would bring about anyway.
 */
export function renew({ call, name }: DurableRequest, { answer }: Page): void {
  if (answer.facts.lifetime.ttlMs === undefined) return;
  const touch = async (): Promise<unknown> => call.execute(stream.touch, { name }, () => undefined);
  touch().catch(() => undefined);
}
