/**
 * A stream as server-sent events: what there is, then what comes, each piece with a control event that says where the reader
 * stands, so that a connection may end at any moment and be taken up again from there.
 *
 * The reader sets the pace: the next page is read when the last was taken, so a client that does not read costs one page. A
 * connection ends when the stream is closed or gone, when the server drains, and after a while anyway, so that clients
 * spread over the nodes that there are.
 */
import { nextCursor } from "./durable-cursor.js";
import { base64Frame, type ControlEvent, controlFrame, needsBase64, textFrame } from "./durable-frames.js";
import { SECURITY_HEADERS } from "./durable-headers.js";
import { LiveWait } from "./durable-live.js";
import { formatToken } from "./durable-offsets.js";
import { bytesOf, caughtUp, type Page, type ReadFrom, readPage, renew } from "./durable-page.js";
import type { DurableRequest } from "./durable-request.js";
import type { DurableResult } from "./durable-result.js";

/** Smaller than a page of catch-up: this much waits in memory for a client that does not read. */
const PAGE = { messagesMax: 10_000, bytesMax: 128 << 10, wholeAppends: true };

export async function serveEvents(
  asked: DurableRequest,
  from: ReadFrom,
  cursor: string | undefined,
): Promise<DurableResult> {
  const { call, door, request, reply } = asked;
  const wait = new LiveWait({
    readers: asked.readers,
    kind: "events",
    wakes: call.desk.options.store.wakes,
    topic: `stream:${asked.name}`,
    timeoutMs: call.limits.eventStreamMaxMs,
    response: reply.raw,
  });
  try {
    const there = await caughtUp(asked);
    if (there.type === "refused") return there;
    const first = await readPage(asked, from, PAGE);
    if (first.type === "refused") return first;
    renew(asked, first);
    const isBinary = needsBase64(first.answer.stream.contentType);
    const headers = [...SECURITY_HEADERS, "Content-Type", "text/event-stream", "Cache-Control", "no-cache"];
    if (isBinary) headers.push("Stream-SSE-Data-Encoding", "base64");
    door.begin(request, reply, 200, headers);
    await pour({ asked, wait, isBinary, cursor }, first);
    finish(asked, wait);
  } catch (error) {
    // The head is out: only a broken connection still tells the client that something went wrong.
    if (!reply.raw.headersSent) throw error;
    call.failure(error);
    reply.raw.destroy();
  } finally {
    wait.close();
  }
  return { type: "left" };
}

interface Pouring {
  readonly asked: DurableRequest;
  readonly wait: LiveWait;
  readonly isBinary: boolean;
  readonly cursor: string | undefined;
}

/** Writes page after page until the stream ends or the reader's time is over. */
async function pour(pouring: Pouring, first: Page): Promise<void> {
  const { asked, wait } = pouring;
  const response = asked.reply.raw;
  let page = first;
  let isNews = true;
  while (wait.over === undefined) {
    if (isNews) {
      const frames = await framesOf(pouring, page);
      if (!response.write(frames)) await wait.drained(response);
      if (page.answer.closed) return;
    }
    if (wait.over !== undefined) return;
    if (page.answer.atEnd) await wait.ring();
    const again = await readPage(asked, page.next, PAGE, page);
    // Deleted, also if another stream has the name by now, or its history is lost: the reader learns it when it asks again.
    if (again.type === "refused") return;
    isNews = again.answer.plan.count > 0 || again.answer.closed;
    page = again;
  }
}

async function framesOf({ asked, isBinary, cursor }: Pouring, page: Page): Promise<string> {
  const { answer, next } = page;
  const { now, random } = asked.call.desk.options;
  const control: ControlEvent = {
    streamNextOffset: formatToken(asked.call.desk.options.log.epochs, next.token),
    ...(answer.closed ? {} : { streamCursor: nextCursor(now(), cursor, random()) }),
    ...(answer.atEnd ? { upToDate: true } : {}),
    ...(answer.closed ? { streamClosed: true } : {}),
  };
  if (answer.plan.count === 0) return controlFrame(control);
  const bytes = await bytesOf(asked, page);
  return (isBinary ? base64Frame(bytes) : textFrame(bytes)) + controlFrame(control);
}

/** A client that has not taken what was written is cut off: it resumes from the last control event that it has seen. */
function finish({ reply }: DurableRequest, wait: LiveWait): void {
  if (wait.over === "gone") return;
  if (reply.raw.writableNeedDrain) reply.raw.destroy();
  else reply.raw.end();
}
