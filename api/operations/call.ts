/**
 * What an operation may use while it runs: the store, with rejections and failures already turned into refusals, the
 * clock and randomness that go into a command, and the limits. One `Call` per request.
 */
import type { Offset } from "../../log/index.js";
import type { Cause, Context, Decider, Outcome, Reader } from "../../projections/index.js";
import { errorTable, failureCode, type Refusal, refusal } from "../errors.js";
import type { ApiLimits, ApiOptions } from "../options.js";
import type { Later } from "./reply.js";

/** What the doors of one server share. */
export class Desk {
  readonly options: ApiOptions;
  readonly startedAt: number;

  constructor(options: ApiOptions) {
    this.options = options;
    this.startedAt = options.now();
  }
}

export class Call {
  readonly desk: Desk;
  readonly requestId: string;
  readonly cause: Cause;

  /** `causeId` is the id that the caller gave, kept with the record; a made-up one is not worth keeping. */
  constructor(desk: Desk, command: string, requestId: string, causeId?: string) {
    this.desk = desk;
    this.requestId = requestId;
    this.cause = causeId === undefined ? { command } : { command, requestId: causeId };
  }

  get limits(): ApiLimits {
    return this.desk.options.limits;
  }

  /** Decides and appends; `map` is called when the answer may leave, never before. Throws and rejects as the store does. */
  execute<Command, Answer, Result>(
    decide: Decider<Command, Answer>,
    command: Command,
    map: (answer: Answer, offset: Offset) => Result,
  ): Later<Result | Refusal> {
    const { store, log, limits } = this.desk.options;
    // Bounded, so that a slow disk makes clients wait their turn, not memory grow.
    if (log.endOffset - log.committedOffset >= limits.writesInFlightMax) {
      return refusal("API_OVERLOADED", `${limits.writesInFlightMax} writes are waiting for the log already`);
    }
    return store.execute(decide, command, this.context(), (outcome) => mapOutcome(outcome, map));
  }

  query<Query, Answer, Result>(
    read: Reader<Query, Answer>,
    query: Query,
    map: (answer: Answer, offset: Offset) => Result,
  ): Later<Result | Refusal> {
    const { store } = this.desk.options;
    return store.query(read, query, this.context(), (outcome) => mapOutcome(outcome, map));
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

function mapOutcome<Answer, Result>(
  outcome: Outcome<Answer>,
  map: (answer: Answer, offset: Offset) => Result,
): Result | Refusal {
  if (outcome.type === "done") return map(outcome.answer, outcome.offset);
  return refusal(outcome.code, outcome.message, outcome.details);
}
