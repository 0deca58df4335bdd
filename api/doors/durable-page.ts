/** One page of a durable stream: from where a reader is, up to what is committed, cut between appends. */
import type { EventPlace, PageLimits, ReadStreamAnswer } from "../../projections/index.js";
import { stream } from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import { isJsonType } from "./durable-headers.js";
import { joinBytes, joinJson } from "./durable-json.js";
import type { DurableRequest } from "./durable-request.js";

/** A token, the beginning, or the tail. */
export type ReadFrom = EventPlace | "start" | "now";

export interface Page {
  readonly type: "page";
  readonly answer: ReadStreamAnswer;
  /** Where the reader stands after it; never before where it stood. */
  readonly next: EventPlace;
}

/** `following` is an earlier page of the same read: a stream that took over the name since is none to go on with. */
export async function readPage(
  asked: DurableRequest,
  from: ReadFrom,
  limits: PageLimits,
  following?: Page,
): Promise<Page | Refusal> {
  // The beginning of a stream that was trimmed is the first message that is left.
  const place = from === "start" ? "earliest" : from;
  const page = await asked.call.query(
    stream.read,
    { name: asked.name, from: place, limits },
    (answer): Page => ({ type: "page", answer, next: answer.nextEvent }),
  );
  if (page.type === "refused") return page;
  if (following !== undefined && page.answer.stream.id.offset !== following.answer.stream.id.offset) {
    return refusal("STREAM_NOT_FOUND", "the stream was deleted");
  }
  return isToken(from) ? checked(asked, from, page) : page;
}

function isToken(from: ReadFrom): from is EventPlace {
  return typeof from !== "string";
}

/** A token that this stream never gave out: from a log that is longer, or from a stream that had this name before. */
function checked({ call }: DurableRequest, token: EventPlace, page: Page): Page | Refusal {
  if (token.offset > call.desk.options.log.endOffset) {
    return refusal("API_OFFSET_INVALID", "the offset lies beyond everything that was ever written");
  }
  if (!page.answer.foreign) return page;
  return refusal("STREAM_OFFSET_TRIMMED", "the offset is of a stream that was deleted; begin again with -1");
}

/**
 * For a live reader who listens already: waits for what was on its way to the disk when the listening began, which will not
 * ring. What comes after that rings.
 */
export async function caughtUp({
  call,
  name,
}: DurableRequest): Promise<Refusal | { readonly type: "there" }> {
  return call.query(stream.head, { name }, () => ({ type: "there" as const }));
}

export async function bytesOf({ call }: DurableRequest, { answer }: Page): Promise<Buffer> {
  const slices = answer.plan.count === 0 ? [] : await call.desk.options.store.bodies(answer.plan);
  return isJsonType(answer.stream.contentType) ? joinJson(slices) : joinBytes(slices);
}

/**
 * Reading renews a stream's time to live. The read does not wait for it, and is not refused when the log refuses: then the
 * stream may end sooner, which a log that takes no writes would bring about anyway.
 */
export function renew({ call, name }: DurableRequest, { answer }: Page): void {
  if (answer.stream.lifetime.ttlMs === undefined) return;
  const touch = async (): Promise<unknown> => call.execute(stream.touch, { name }, () => undefined);
  touch().catch(() => undefined);
}
