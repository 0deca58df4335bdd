/**
 * Puts into the log what time has done to the queues when nobody calls: deadlines that passed, delays that ended, messages
 * that expired. One timer, set for the next thing that is due and never longer than a moment, so that neither a message
 * that is due sooner than the last one nor a clock that was set makes it miss anything.
 *
 * A round is bounded, and the next one begins when its record is committed: requests come in between, and a million
 * deadlines that pass at once (after a long stop) never fill the log's memory.
 */
import { LogError } from "../log/index.js";
import { asIs, type OpenedStore, ProjectionError, queue, stream } from "../projections/index.js";

const LOOK_AGAIN_MS = 50;
/** After a refusal that passes by itself: a full disk, a log that has too much to write. */
const REFUSED_MS = 1000;

/** Messages a round: about a millisecond, and a record that is far below its limit. */
const ROUND_MAX = 1000;

export interface DueWork {
  /** Ms since 1970. */
  readonly now: () => number;
  /** Ms since 1970 of the next thing that time changes; undefined while there is none. */
  readonly nextDue: () => number | undefined;
  /** One bounded round; resolves with the number of things it did when they are committed. */
  readonly run: () => Promise<number>;
}

/** The timer of a primary. */
export function startDueTimer(store: OpenedStore, now: () => number): DueTimer {
  return new DueTimer({
    now,
    nextDue: () => store.nextDue(),
    run: async () => {
      const context = { now: now(), random: 0, cause: { command: "queue.due" } };
      const outcome = await store.execute(queue.due, { limit: ROUND_MAX }, context, asIs);
      return outcome.type === "done" ? outcome.answer.passed : 0;
    },
  });
}

/** Streams whose time is over, a round: a record far below its limit. */
const SWEPT_MAX = 64;

/** The timer that frees streams whose time is over. Nobody sees them meanwhile, so each round looks at some of them only. */
export function startStreamSweep(store: OpenedStore, now: () => number): DueTimer {
  return new DueTimer({
    now,
    nextDue: () => 0,
    run: async () => {
      const context = { now: now(), random: 0, cause: { command: "stream.sweep" } };
      const outcome = await store.execute(stream.sweep, { budget: SWEPT_MAX }, context, asIs);
      return outcome.type === "done" ? outcome.answer.expired : 0;
    },
  });
}

export class DueTimer {
  readonly #work: DueWork;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(work: DueWork) {
    this.#work = work;
    this.#look();
  }

  /** No round begins after it. One that is on its way is not waited for: the log's own close does that. */
  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
  }

  #look(): void {
    const { now, nextDue } = this.#work;
    const due = nextDue();
    const inMs = due === undefined ? LOOK_AGAIN_MS : due - now();
    if (inMs > 0) this.#after(Math.min(inMs, LOOK_AGAIN_MS));
    else void this.#round();
  }

  async #round(): Promise<void> {
    try {
      this.#after((await this.#work.run()) > 0 ? 0 : LOOK_AGAIN_MS);
    } catch (error) {
      this.#refused(error);
    }
  }

  #refused(error: unknown): void {
    if (error instanceof LogError && (error.code === "LOG_BUSY" || error.code === "LOG_DISK_FULL")) {
      this.#after(REFUSED_MS);
      return;
    }
    // The log or a projection has failed or is closed: the process ends, and its next start goes on from here.
    if (error instanceof LogError && (error.code === "LOG_FAILED" || error.code === "LOG_CLOSED")) return;
    if (error instanceof ProjectionError) return;
    // A bug: it ends the process as any other does.
    throw error;
  }

  #after(ms: number): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => this.#look(), ms).unref();
  }
}
