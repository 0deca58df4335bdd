/**
 * The side that is asked for records of sealed segments, by a node whose own are damaged, or that compares them with these: reads them from
 * its own disk, each verified, and sends them, or where they end. What is damaged here is named and not sent.
 */
import { LogError, type LogSegments, type Offset } from "../log/index.js";
import { ReplicationError } from "./errors.js";
import { isHigher } from "./leadership-order.js";
import { damagedLog, sendsNoMore } from "./link-error.js";
import type { LinkContext, SenderHost } from "./link-ports.js";
import type { Check, Fetch, Message } from "./messages.js";
import { paced } from "./pace.js";
import type { Position } from "./position.js";
import { type Session, type SessionOwner, unexpected } from "./session.js";

export interface LendingEvents {
  /** The own sealed segment that begins there is damaged. */
  damaged(first: Offset): void;
  /** What is damaged at the other node is not here any more. */
  retired(asked: Fetch): void;
  ended(): void;
}

export class Lending implements SessionOwner {
  readonly #session: Session;
  readonly #context: LinkContext;
  readonly #host: SenderHost;
  readonly #events: LendingEvents;

  constructor(session: Session, context: LinkContext, host: SenderHost, events: LendingEvents) {
    this.#session = session;
    this.#context = context;
    this.#host = host;
    this.#events = events;
  }

  message(message: Message): undefined | Promise<void> {
    switch (message.type) {
      case "heartbeat":
        return undefined;
      case "fetch":
        return this.#fetch(message);
      case "check":
        return this.#check(message);
      default:
        throw unexpected(message.type, "a fetch");
    }
  }

  ended(): void {
    this.#events.ended();
  }

  async #fetch(asked: Fetch): Promise<void> {
    try {
      await this.#lend(asked);
    } catch (error) {
      if (error instanceof LogError && error.code === "LOG_OFFSET_RETIRED") this.#events.retired(asked);
      throw error;
    }
  }

  async #lend({ first, last }: Fetch): Promise<void> {
    for await (const { header, startsSegment, bytes } of this.#segments(last).runs(first, last)) {
      await this.#session.room();
      if (this.#session.reason !== undefined) return;
      this.#mustLead();
      this.#session.send({ type: "run", header, startsSegment, bytes });
    }
    this.#session.send({ type: "fetched" });
  }

  async #check({ first, last }: Check): Promise<void> {
    await this.#session.room();
    const segments = this.#segments(last);
    const slowly = paced(this.#context.clock);
    const pace = async (bytes: number): Promise<void> => {
      if (this.#session.reason !== undefined) throw this.#session.reason;
      await slowly(bytes);
    };
    const isSegment = segments.at(first)?.last === last;
    const end = isSegment
      ? await this.#wholeSegment(segments, first, pace)
      : await endOf(segments, { first, last }, pace);
    this.#session.send({ type: "checked", end });
  }

  async #wholeSegment(
    segments: LogSegments,
    first: Offset,
    pace: (bytes: number) => Promise<void>,
  ): Promise<Position> {
    const found = await segments.check(first, pace);
    if (found.type === "sound") return found.end;
    this.#events.damaged(first);
    throw damagedLog(found.finding);
  }

  #segments(last: Offset): LogSegments {
    this.#mustLead();
    const segments = this.#host.logSegments();
    if (segments !== undefined && last <= segments.durableOffset) return segments;
    throw new ReplicationError("REPLICATION_NOT_READY", `this node does not have the records up to ${last}`, {
      last,
      durable: segments?.durableOffset,
    });
  }

  /** Whoever is fenced says nothing of what its log holds. @throws ReplicationError REPLICATION_FENCED. */
  #mustLead(): void {
    const { heard, own } = this.#context.node;
    if (isHigher(heard, own)) throw sendsNoMore(own, heard);
  }
}

/** Of records that are no segment here: read all the same. */
async function endOf(
  segments: LogSegments,
  { first, last }: { readonly first: Offset; readonly last: Offset },
  pace: (bytes: number) => Promise<void>,
): Promise<Position> {
  let end: Position | undefined;
  for await (const run of segments.runs(first, last)) {
    const { epoch, lineageId } = run.header;
    end = { offset: run.last, crc: run.lastCrc, epoch, lineageId };
    await pace(run.bytes.length);
  }
  if (end === undefined) throw unexpected("a check of nothing", "a fetch");
  return end;
}
