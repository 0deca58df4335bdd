/** Reads of the durable streams door: metadata, catch-up, long-poll. They show what is committed, and nothing else. */
import type { FastifyRequest } from "fastify";
import { stream } from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import type { Epochs } from "../lineage.js";
import type { Later } from "../operations/reply.js";
import { nextCursor } from "./durable-cursor.js";
import { headerOf, lifetimeHeaders, matchesTag, tailHeaders } from "./durable-headers.js";
import { LiveWait } from "./durable-live.js";
import { compareTokens, formatPlace, formatToken, parseReadOffset } from "./durable-offsets.js";
import { bytesOf, caughtUp, type Page, type ReadFrom, readPage, refusedFrom, renew } from "./durable-page.js";
import type { DurableRequest } from "./durable-request.js";
import { answer, type DurableResult } from "./durable-result.js";
import { serveEvents } from "./durable-sse.js";
import { bufferBody } from "./outbox.js";

/** A page of catch-up ends at about 1 MiB; an append that is larger goes out whole. */
const PAGE = { messagesMax: 100_000, bytesMax: 1 << 20, wholeAppends: true };

export function head({ call, name }: DurableRequest): Later<DurableResult> {
  return call.query(stream.head, { name }, ({ facts }): DurableResult => {
    const headers = ["Content-Type", facts.contentType, "Cache-Control", "no-store"];
    return answer(200, [
      ...headers,
      ...tailHeaders(call.desk.options.log.epochs, facts.tail, facts.closed),
      ...lifetimeHeaders(facts.lifetime),
    ]);
  });
}

interface Asked {
  readonly type: "asked";
  readonly from: ReadFrom;
  readonly live: "no" | "long-poll" | "sse";
  readonly cursor: string | undefined;
}

export function read(asked: DurableRequest): Later<DurableResult> {
  const wanted = wantedOf(asked.request);
  if (wanted.type === "refused") return wanted;
  const { from } = wanted;
  const refused = typeof from === "string" ? undefined : refusedFrom(asked, from);
  if (refused instanceof Promise) return refused.then((why) => why ?? readFrom(asked, wanted));
  return refused ?? readFrom(asked, wanted);
}

function readFrom(asked: DurableRequest, { live, from, cursor }: Asked): Later<DurableResult> {
  if (live === "no") return catchUp(asked, from);
  const { limits } = asked.call;
  if (asked.readers.count >= limits.liveReadersMax) {
    return refusal("API_LIVE_READERS_MAX", `${limits.liveReadersMax} live readers are connected already`);
  }
  if (live === "sse") return serveEvents(asked, from, cursor);
  return longPoll(asked, from, cursor);
}

function wantedOf(request: FastifyRequest): Asked | Refusal {
  const { query } = request;
  const member = (name: string): unknown =>
    typeof query === "object" && query !== null ? Reflect.get(query, name) : undefined;
  const live = member("live") ?? "no";
  if (live !== "no" && live !== "long-poll" && live !== "sse") {
    return refusal("API_OFFSET_INVALID", "live is long-poll or sse");
  }
  const offset = member("offset");
  if (offset === undefined && live !== "no") {
    return refusal("API_OFFSET_INVALID", "a live read needs an offset; -1 is the beginning, now the tail");
  }
  const parsed = typeof offset === "string" ? parseReadOffset(offset) : undefined;
  if (offset !== undefined && parsed === undefined) {
    return refusal(
      "API_OFFSET_INVALID",
      "offset is one that this server gave out, -1 or now, and comes once",
    );
  }
  const cursor = member("cursor");
  const from = parsed === undefined ? "start" : parsed.type === "at" ? parsed : parsed.type;
  return { type: "asked", from, live, cursor: typeof cursor === "string" ? cursor : undefined };
}

async function catchUp(asked: DurableRequest, from: ReadFrom): Promise<DurableResult> {
  const page = await readPage(asked, from, PAGE);
  if (page.type === "refused") return page;
  renew(asked, page);
  const { epochs } = asked.call.desk.options.log;
  const headers = pageHeaders(epochs, page);
  if (from === "now") headers.push("Cache-Control", "no-store");
  else {
    const tag = etagOf(epochs, from, page);
    headers.push("ETag", tag, "Cache-Control", cachePolicy(from, page));
    const known = headerOf(asked.request.headers, "if-none-match");
    if (known !== undefined && matchesTag(known, tag)) return answer(304, headers);
  }
  return withBody(asked, page, headers);
}

function pageHeaders(epochs: Epochs, { answer: { atEnd, closed }, next }: Page): string[] {
  const headers = tailHeaders(epochs, next.token, closed);
  if (atEnd) headers.push("Stream-Up-To-Date", "true");
  return headers;
}

/** Everything that the answer depends on: which stream, from where, to where in which history, and whether that is the end, or the last. */
function etagOf(
  epochs: Epochs,
  from: ReadFrom,
  { answer: { stream: facts, atEnd, closed }, next }: Page,
): string {
  const begin = typeof from === "string" ? from : formatPlace(from.token);
  const end = closed ? "closed" : atEnd ? "tail" : "more";
  return `"${formatPlace(facts.id)}:${begin}:${formatToken(epochs, next.token)}:${end}"`;
}

/**
 * What lies between two tokens of one stream never changes. The tail moves; and what is older than the stream may be a place in
 * the next one of the name tomorrow: the beginning, all zeros, a token of a fork's source.
 */
function cachePolicy(from: ReadFrom, { answer: { atEnd, stream: facts } }: Page): string {
  if (atEnd || typeof from === "string" || compareTokens(from.token, facts.id) < 0) return "no-cache";
  return "public, max-age=60, stale-while-revalidate=300";
}

async function withBody(asked: DurableRequest, page: Page, headers: string[]): Promise<DurableResult> {
  // What users store is shown on the origin of the documentation page: a browser must not run it there.
  headers.push("Content-Security-Policy", "default-src 'none'; sandbox");
  return answer(200, headers, bufferBody(page.answer.stream.contentType, await bytesOf(asked, page)));
}

async function longPoll(
  asked: DurableRequest,
  from: ReadFrom,
  cursor: string | undefined,
): Promise<DurableResult> {
  const wait = new LiveWait({
    readers: asked.readers,
    kind: "poll",
    wakes: asked.call.desk.options.store.wakes,
    topic: `stream:${asked.name}`,
    timeoutMs: asked.call.limits.longPollTimeoutMs,
    response: asked.reply.raw,
  });
  try {
    const page = await untilNews(asked, from, wait);
    if (page.type === "refused") return page;
    const headers = [...pageHeaders(asked.call.desk.options.log.epochs, page), "Cache-Control", "no-store"];
    if (!page.answer.closed || page.answer.plan.count > 0) {
      const { now, random } = asked.call.desk.options;
      headers.push("Stream-Cursor", nextCursor(now(), cursor, random()));
    }
    return page.answer.plan.count === 0 ? answer(204, headers) : await withBody(asked, page, headers);
  } finally {
    wait.close();
  }
}

/** A page with messages, the end of a closed stream, or an empty page when the time is over. */
async function untilNews(asked: DurableRequest, from: ReadFrom, wait: LiveWait): Promise<Page | Refusal> {
  const there = await caughtUp(asked);
  if (there.type === "refused") return there;
  let page = await readPage(asked, from, PAGE);
  if (page.type === "refused") return page;
  renew(asked, page);
  while (page.answer.plan.count === 0 && !page.answer.closed && wait.over === undefined) {
    await wait.ring();
    // The time that a client chose to wait is not time that its request took, however it ends.
    asked.request.receivedAt = asked.call.desk.options.stopwatch();
    const again: Page | Refusal = await readPage(asked, page.next, PAGE, page);
    if (again.type === "refused") return again;
    page = again;
  }
  return page;
}
