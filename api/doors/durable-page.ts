/** One page of a durable stream: from where a reader is, up to what is committed, cut between appends. */
import type { EventPlace, PageLimits, ReadStreamAnswer } from "../../projections/index.js";
import { stream } from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import { judged } from "../lineage.js";
import type { Later } from "../operations/reply.js";
import { isJsonType } from "./durable-headers.js";
import { joinBytes, joinJson } from "./durable-json.js";
import { type AtToken, isOfLostHistory, tokenAt } from "./durable-offsets.js";
import type { DurableRequest } from "./durable-request.js";

/** A token, the beginning, or the tail. */
export type ReadFrom = AtToken | "start" | "now";

export interface Page {
  readonly type: "page";
  readonly answer: ReadStreamAnswer;
  /** Where the reader stands after it, in the history that it was read from; never before where it stood. */
  readonly next: AtToken;
}

/** `following` is an earlier page of the same read: a stream that took over the name since is none to go on with. */
export async function readPage(
  asked: DurableRequest,
  from: ReadFrom,
  limits: PageLimits,
  following?: Page,
): Promise<Page | Refusal> {
  // Since it was looked at first, or read up to, the log may have been cut there, or replaced.
  const refused = isToken(from) ? await refusedFrom(asked, from) : undefined;
  if (refused !== undefined) return refused;
  const { epochs } = asked.call.desk.options.log;
  const page = await asked.call.query(
    stream.read,
    { name: asked.name, from: placeOf(from), limits },
    (answer): Page => ({ type: "page", answer, next: tokenAt(epochs, answer.nextEvent) }),
  );
  if (page.type === "refused") return page;
  if (following !== undefined && page.answer.stream.id.offset !== following.answer.stream.id.offset) {
    return refusal("STREAM_NOT_FOUND", "the stream was deleted");
  }
  return isToken(from) ? checked(asked, from.token, page) : page;
}

function isToken(from: ReadFrom): from is AtToken {
  return typeof from !== "string";
}

/** The beginning of a stream that was trimmed is the first message that is left. */
function placeOf(from: ReadFrom): EventPlace | "earliest" | "now" {
  if (isToken(from)) return from.token;
  return from === "start" ? "earliest" : from;
}

/**
 * Why nobody reads on from there: the place is of a history that was left behind. A node that follows another may not have yet what its
 * reader has, who read it elsewhere, or here before a cut: that is waited for. Undefined: it is there.
 */
export function refusedFrom(asked: DurableRequest, at: AtToken): Later<Refusal | undefined> {
  const { log, replication } = asked.call.desk.options;
  const { lineage } = at;
  const { offset } = at.token;
  if (replication?.isBehind === true && offset > 0) {
    const verdict = judged(log, { offset, lineage }, replication);
    if (verdict !== "here" && verdict !== "lost") {
      const reached = asked.call.whenReached({ offset, lineage }, "read");
      return reached.then((refused) => refused ?? refusedFrom(asked, at));
    }
  }
  if (!isOfLostHistory(log.epochs, at)) return undefined;
  return refusal(
    "API_LINEAGE_LOST",
    "the offset is of a history that is lost: the data was restored to an earlier time since, or another node was promoted; begin again with -1",
  );
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
