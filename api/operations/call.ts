/**
 * What an operation may use while it runs: the store, with rejections and failures already turned into refusals, the
 * clock and randomness that go into a command, and the limits. One `Call` per request.
 */
import type { Socket } from "node:net";
import type { Offset } from "../../log/index.js";
import {
  type Cause,
  type Context,
  type Decider,
  keptAnswer,
  type OnceCommand,
  type Outcome,
  once,
  type Reader,
  type Step,
} from "../../projections/index.js";
import { onDeparture } from "../departures.js";
import { errorTable, failureCode, type Refusal, refusal } from "../errors.js";
import { lineageAt, type MinOffset } from "../lineage.js";
import type { ApiLimits, ApiOptions } from "../options.js";
import type { Past } from "../past.js";
import { Reaching } from "../reaching.js";
import type { Acks } from "../replication.js";
import { WaitingRoom } from "../waiting-room.js";
import type { OnceForm, OnceKey } from "./once.js";
import type { Later } from "./reply.js";
import { Transactions } from "./transactions.js";

/** What the doors of one server share. */
export class Desk {
  readonly options: ApiOptions;
  /** By the stopwatch. */
  readonly startedAt: number;
  readonly transactions: Transactions;
  readonly waitingRoom: WaitingRoom;

  constructor(options: ApiOptions) {
    this.options = options;
    this.startedAt = options.stopwatch();
    this.transactions = new Transactions(options);
    this.waitingRoom = new WaitingRoom({
      wakes: () => options.store.wakes,
      seats: () => options.limits.waitingRequestsMax,
      stopwatch: options.stopwatch,
    });
    options.replication?.onRest(() => this.waitingRoom.ring());
  }
}

/** Who asks, as a door knows it. */
export interface Caller {
  readonly requestId: string;
  /** The id that the caller chose, if any, kept with the record; a made-up one is not worth keeping. */
  readonly causeId: string | undefined;
  /** Of a write that must happen once. */
  readonly once: OnceKey | undefined;
  /** How many replicas must have a write on disk; undefined: as the node's settings say. */
  readonly acks?: Acks | undefined;
  /** Whose transaction it is when the request does not say; undefined: nobody's. */
  readonly client?: string | undefined;
  /** Where the answer goes, for an operation that waits and must not go on when nobody is there any more. */
  readonly connection?: Socket;
}

export class Call {
  readonly desk: Desk;
  readonly requestId: string;
  readonly cause: Cause;
  /** Set when the caller wants the write done once, however often the request comes. */
  readonly once: OnceKey | undefined;
  /** Whose transaction it is when the input does not say. */
  readonly client: string | undefined;

  /** What it is about, for metrics: a queue's name. */
  subject: string | undefined;
  /** Ms that it waited because the client asked it to. */
  waitedMs = 0;
  readonly #connection: Socket | undefined;
  readonly #acks: Acks | undefined;

  constructor(
    desk: Desk,
    command: string,
    { requestId, causeId, once: onceKey, acks, client, connection }: Caller,
  ) {
    this.desk = desk;
    this.requestId = requestId;
    this.once = onceKey;
    this.client = client;
    this.cause = causeId === undefined ? { command } : { command, requestId: causeId };
    this.#connection = connection;
    this.#acks = acks;
  }

  /** True when nobody is there any more to read the answer. */
  get isAbandoned(): boolean {
    return this.#connection?.destroyed === true;
  }

  /** Calls `listener` when the client goes away, unless the function that this returns is called before. */
  onAbandoned(listener: () => void): () => void {
    return this.#connection === undefined ? () => undefined : onDeparture(this.#connection, listener);
  }

  get limits(): ApiLimits {
    return this.desk.options.limits;
  }

  /** Why no write is taken now. Bounded, so that a slow disk makes clients wait their turn, not memory grow. */
  refuseWrites(): Refusal | undefined {
    const { log, limits, replication } = this.desk.options;
    const refused = replication === undefined ? this.#refuseAcksAlone() : replication.refuseWrites();
    if (refused !== undefined) return refused;
    if (log.endOffset - log.committedOffset < limits.writesInFlightMax) return undefined;
    return refusal("API_OVERLOADED", `${limits.writesInFlightMax} writes are waiting for the log already`);
  }

  /** Of what belongs to the primary though it writes nothing yet: an open transaction, a write that waits. */
  refuseElsewhere(): Refusal | undefined {
    return this.desk.options.replication?.refuseWrites();
  }

  /** Nobody could confirm it, so it is not even begun. */
  #refuseAcksAlone(): Refusal | undefined {
    if (this.#acks === undefined || this.#acks === 0 || this.#acks === "quorum") return undefined;
    return refusal("API_ACKS_INVALID", "this node stands alone: no replica could confirm a write");
  }

  /** Decides and appends; `map` is called when the answer may leave, never before. Throws and rejects as the store does. */
  execute<Command, Answer, Result>(
    decide: Decider<Command, Answer>,
    command: Command,
    map: (answer: Answer, offset: Offset) => Result,
  ): Later<Result | Refusal> {
    const { store } = this.desk.options;
    const refused = this.refuseWrites();
    if (refused !== undefined) return refused;
    if (this.#acksWanted() === 0) {
      // A node that has heard of a newer leadership meanwhile acknowledges nothing under its own.
      return store.execute(
        decide,
        command,
        this.context(),
        (outcome) => this.#replacedAfter(outcome) ?? mapOutcome(outcome, map),
      );
    }
    // The answer is made after the confirmation, so that nobody is told of it before.
    return this.#onceConfirmed(
      store.execute(decide, command, this.context(), (outcome) => outcome),
      map,
    );
  }

  #replacedAfter(outcome: Outcome<unknown>): Refusal | undefined {
    if (outcome.type !== "done") return undefined;
    const refused = this.desk.options.replication?.replacedAfter(outcome.offset);
    return refused && withLineage(refused, this.#lineageAt(outcome.offset));
  }

  #lineageAt(offset: Offset): string | undefined {
    return lineageAt(this.desk.options.log.epochs, offset);
  }

  #acksWanted(): Acks {
    const { replication } = this.desk.options;
    return replication === undefined ? 0 : (this.#acks ?? replication.acks);
  }

  async #onceConfirmed<Answer, Result>(
    decided: Later<Outcome<Answer>>,
    map: (answer: Answer, offset: Offset) => Result,
  ): Promise<Result | Refusal> {
    const outcome = await decided;
    const refused = outcome.type === "done" ? await this.#confirmed(outcome.offset) : undefined;
    return refused ?? mapOutcome(outcome, map);
  }

  async #confirmed(offset: Offset): Promise<Refusal | undefined> {
    const acks = this.#acksWanted();
    if (acks === 0) return undefined;
    // When the wait is over another node's record may stand there.
    const lineage = this.#lineageAt(offset);
    const refused = await this.desk.options.replication?.confirmed(offset, acks);
    return refused && withLineage(refused, lineage);
  }

  /** As `execute`, the answer kept in the record and given again when the same request comes again. */
  executeOnce<Result>(request: OnceKey, step: Step<Result>, form: OnceForm<Result>): Later<Result | Refusal> {
    const committed = this.desk.options.log.committedOffset;
    const command: OnceCommand<Result> = { ...request, committed, step, keep: form.keep };
    return this.execute(once<Result>, command, (answer) =>
      answer.type === "first" ? answer.answer : form.again(answer.kept),
    );
  }

  /**
   * What `executeOnce` says to a repeat, undefined to a first request: for a write that reads before, so that a repeat is answered
   * even when what it read is not to be had any more.
   */
  async repeated<Result>(form: OnceForm<Result>): Promise<Result | Refusal | undefined> {
    if (this.once === undefined) return undefined;
    const refused = this.refuseWrites();
    if (refused !== undefined) return refused;
    const request = { ...this.once, committed: this.desk.options.log.committedOffset };
    const kept = await this.query(keptAnswer, request, (answer) => ({ type: "kept" as const, answer }));
    if (kept.type === "refused") return kept;
    if (kept.answer === undefined) return undefined;
    return (await this.#confirmed(kept.answer.offset)) ?? form.again(kept.answer);
  }

  /**
   * Waits until the offset is committed, up to the limit and while the client is there; a refusal when it is not, or when it is of a lost
   * history. A write waits only where it would be taken.
   */
  whenReached(wanted: MinOffset, kind: "read" | "write"): Promise<Refusal | undefined> {
    const mayNot = kind === "read" ? undefined : () => this.refuseElsewhere();
    const { options, waitingRoom } = this.desk;
    return new Reaching(options, wanted, this, waitingRoom, mayNot).refusal();
  }

  query<Query, Answer, Result>(
    read: Reader<Query, Answer>,
    query: Query,
    map: (answer: Answer, offset: Offset) => Result,
  ): Later<Result | Refusal> {
    const { store } = this.desk.options;
    return store.query(read, query, this.context(), (outcome) => mapOutcome(outcome, map));
  }

  /** Asks the past, until the client goes away. */
  async lookBack<Answer>(
    look: (past: Past, signal: AbortSignal) => Promise<Answer | Refusal>,
  ): Promise<Answer | Refusal> {
    const { past } = this.desk.options;
    if (past === undefined) return refusal("API_DISABLED", "looking back is switched off (past.folds_max)");
    const { stopwatch } = this.desk.options;
    const since = stopwatch();
    const gone = new AbortController();
    const stay = this.onAbandoned(() => gone.abort());
    try {
      return await look(past, gone.signal);
    } finally {
      stay();
      // A replay says nothing of how fast reads are; it is measured where it happens.
      this.waitedMs += stopwatch() - since;
    }
  }

  /** A failure of the log or the projections has a code and a title that may be told; anything else is a bug, of which only the id is told. */
  failure(error: unknown): Refusal {
    const { logger } = this.desk.options;
    const code = failureCode(error);
    if (code !== undefined) return refusal(code, errorTable[code].title);
    logger.error(
      { err: error, requestId: this.requestId, operation: this.cause.command },
      "unexpected error",
    );
    return refusal(
      "API_INTERNAL",
      `unexpected error; the log of the server names it by request id ${this.requestId}`,
    );
  }

  private context(): Context {
    const { now, random } = this.desk.options;
    return { now: now(), random: random(), cause: this.cause };
  }
}

/** What was stored here, and not confirmed, is told with all that a token takes. */
function withLineage(refused: Refusal, lineage: string | undefined): Refusal {
  if (lineage === undefined || refused.details?.["offset"] === undefined) return refused;
  return { ...refused, details: { ...refused.details, lineage } };
}

function mapOutcome<Answer, Result>(
  outcome: Outcome<Answer>,
  map: (answer: Answer, offset: Offset) => Result,
): Result | Refusal {
  if (outcome.type === "done") return map(outcome.answer, outcome.offset);
  return refusal(outcome.code, outcome.message, outcome.details);
}
