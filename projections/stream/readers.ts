/**
 * Queries of the stream projection. A page shows committed messages only, so that nobody who follows a busy stream waits for
 * the disk; what is asked of the stream itself waits for its last event, as every answer does.
 */
import type { Offset } from "../../log/index.js";
import type { Reader, Rejection, Seen } from "../decision.js";
import type {
  ConsumeStreamQuery,
  ListStreamsAnswer,
  ListStreamsQuery,
  PageLimits,
  ReadStreamAnswer,
  ReadStreamQuery,
  StreamFacts,
  StreamHead,
  StreamQuery,
  StreamReadView,
  StreamStats,
} from "./contract.js";
import { beyondEnd } from "./decide-create.js";
import { liveStream, refuse, shown } from "./decisions.js";

export const head: Reader<StreamQuery, StreamHead> = ({ stream: streams }, { name }, { now }) => {
  const facts = liveStream(streams, name, now);
  if ("code" in facts) return facts;
  return shown({ facts, earliest: streams.earliest(name, now) }, facts.lastOffset);
};

export const stats: Reader<StreamQuery, StreamStats> = ({ stream: streams }, { name }, { now }) => {
  const facts = liveStream(streams, name, now);
  if ("code" in facts) return facts;
  const earliest = streams.earliest(name, now);
  return shown({ facts, earliest, ...streams.consumption(name) }, facts.lastOffset);
};

export const list: Reader<ListStreamsQuery, ListStreamsAnswer> = ({ stream: streams }, query, { now }) => {
  const { prefix, after, limit } = query;
  if (!Number.isSafeInteger(limit) || limit < 1) {
    return refuse("STREAM_RANGE_INVALID", "a limit must be a whole number from 1");
  }
  return shown({ names: streams.names(prefix, after, limit, now) }, streams.lastOffset);
};

export const read: Reader<ReadStreamQuery, ReadStreamAnswer> = ({ stream: streams }, query, { now }) => {
  const facts = liveStream(streams, query.name, now);
  if ("code" in facts) return facts;
  const unfit = checkLimits(query.limits);
  if (unfit !== undefined) return unfit;
  const end = streams.committedEnd(query.name);
  const from = startOf(streams, query, now, end);
  if (typeof from !== "number") return from;
  if (from > end) {
    return from > facts.end ? beyondEnd(facts, from) : page(streams, facts, query, now, from, from);
  }
  return page(streams, facts, query, now, from, end);
};

/** As `read`, counted for the room's statistics; beyond the end is no refusal but an empty page, as documented. */
export const consume: Reader<ConsumeStreamQuery, ReadStreamAnswer> = (
  { stream: streams },
  query,
  { now },
) => {
  const facts = liveStream(streams, query.name, now);
  if ("code" in facts) return facts;
  const unfit = checkLimits(query.limits) ?? checkOffset(query.from);
  if (unfit !== undefined) return unfit;
  const end = Math.max(query.from, streams.committedEnd(query.name));
  const found = page(streams, facts, query, now, query.from, end);
  if (found.type === "seen") streams.noteConsumed(query.name, query.subscriber, found.answer.plan.count);
  return found;
};

function checkLimits({ messagesMax, bytesMax }: PageLimits): Rejection | undefined {
  if (Number.isSafeInteger(messagesMax) && messagesMax >= 1 && bytesMax >= 1) return undefined;
  return refuse("STREAM_RANGE_INVALID", "a page has at least one message");
}

function checkOffset(from: number): Rejection | undefined {
  if (Number.isSafeInteger(from) && from >= 0) return undefined;
  return refuse("STREAM_RANGE_INVALID", "a stream offset is a whole number from 0");
}

function startOf(
  streams: StreamReadView,
  { name, from }: ReadStreamQuery,
  now: number,
  end: number,
): number | Rejection {
  if (from === "now") return end;
  if (from === "earliest") return Math.min(streams.earliest(name, now), end);
  if (typeof from === "number") return checkOffset(from) ?? from;
  return streams.endAt(name, from);
}

function page(
  streams: StreamReadView,
  facts: StreamFacts,
  { name, from: asked, limits }: { name: string; from: ReadStreamQuery["from"]; limits: PageLimits },
  now: number,
  from: number,
  end: number,
): Seen<ReadStreamAnswer> | Rejection {
  const earliest = streams.earliest(name, now);
  // What is trimmed by an append that is not committed yet is refused only when it is.
  if (from < earliest && asked !== "earliest" && asked !== "now") {
    const details = { earliest, requested: from };
    const message = `the stream begins at ${earliest}; ${from} was removed by its retention`;
    return refuse("STREAM_OFFSET_TRIMMED", message, facts.lastOffset, details);
  }
  const committedEnd = streams.committedEnd(name);
  const plan = streams.page(name, from, end, limits);
  const next = from + plan.count;
  const atEnd = next >= end;
  const answer: ReadStreamAnswer = {
    plan,
    from,
    next,
    end: committedEnd,
    nextEvent: nextEvent(streams, name, asked, Math.min(next, committedEnd)),
    atEnd,
    closed: atEnd && streams.committedClosed(name),
    earliest,
    foreign: typeof asked === "object" && !streams.knows(name, asked),
    stream: facts,
  };
  return shown(answer, seenBy(facts, streams.committed));
}

/** A page tells of committed records only, and of the stream's being there. */
function seenBy({ id, lastOffset }: StreamFacts, committed: Offset): Offset {
  return committed < id.offset ? id.offset : lastOffset < committed ? lastOffset : committed;
}

function nextEvent(
  streams: StreamReadView,
  name: string,
  asked: ReadStreamQuery["from"],
  next: number,
): ReadStreamAnswer["nextEvent"] {
  const event = streams.eventBefore(name, next);
  if (typeof asked !== "object") return event;
  const isLater = asked.offset > event.offset || (asked.offset === event.offset && asked.place > event.place);
  return isLater ? asked : event;
}
