/**
 * Requests that wait for something to arrive (long polls), in a line for each topic. When a topic rings, those at the head
 * of its line try again until there is nothing left for anybody, so that a thousand waiting consumers cost a message no more
 * than one does.
 *
 * A wait ends with what the attempt found, with a last attempt when its time is over, at once when its client goes away
 * (which then has taken nothing), and with a refusal when the server shuts down or writes no more.
 */
import type { Wakes } from "../projections/index.js";
import { type Refusal, refusal } from "./errors.js";
import type { Later } from "./operations/reply.js";

/** The part of a call that waiting concerns. */
export interface WaitingCall {
  readonly isAbandoned: boolean;
  onAbandoned(listener: () => void): () => void;
  waitedMs: number;
}

export interface Attempt<Result> {
  /** `settled`: the reply is the answer. `passed_over`: not for this one, perhaps for the next. `nothing`: for nobody. */
  readonly found: "settled" | "passed_over" | "nothing";
  readonly reply: Later<Result | Refusal>;
}

export interface WaitingRoomOptions {
  readonly wakes: () => Wakes;
  /** Requests that may wait at once. */
  readonly seats: () => number;
  /** Ms by a steady clock. */
  readonly stopwatch: () => number;
}

export class WaitingRoom {
  readonly #options: WaitingRoomOptions;
  readonly #lines = new Map<string, Line>();
  readonly #elsewhere = new Set<() => void>();
  #waiting = 0;
  #closed = false;

  constructor(options: WaitingRoomOptions) {
    this.#options = options;
  }

  /** Requests that wait now. */
  get waiting(): number {
    return this.#waiting;
  }

  /**
   * Tries at once, then whenever `topic` rings, and a last time after `waitMs`. `attempt` must decide in its own turn, so that
   * nothing can arrive unseen between an attempt that found nothing and the place in the line.
   */
  wait<Result>(
    call: WaitingCall,
    topic: string,
    waitMs: number,
    attempt: () => Attempt<Result>,
  ): Later<Result | Refusal> {
    if (call.isAbandoned) return abandoned();
    if (this.#closed) return draining();
    const { found, reply } = attempt();
    if (found === "settled") return reply;
    if (this.#waiting >= this.#options.seats()) {
      return refusal("API_WAITING_FULL", `${this.#waiting} requests are waiting already`);
    }
    return this.#join(call, topic, waitMs, attempt, reply);
  }

  /** For who waits elsewhere: calls `listener` when it may be refused now, until the function that this returns is called. */
  onRing(listener: () => void): () => void {
    const entry = (): void => listener();
    this.#elsewhere.add(entry);
    return () => void this.#elsewhere.delete(entry);
  }

  /** Everybody tries again: what they wait for may be refused now. */
  ring(): void {
    for (const line of this.#lines.values()) line.ring();
    for (const listener of [...this.#elsewhere]) listener();
  }

  /** Ends every wait; later ones are refused. For a server that shuts down. */
  close(): void {
    this.#closed = true;
    for (const line of [...this.#lines.values()]) {
      for (const waiter of [...line.waiters]) waiter.end(draining());
    }
    for (const listener of [...this.#elsewhere]) listener();
  }

  #join<Result>(
    call: WaitingCall,
    topic: string,
    waitMs: number,
    attempt: () => Attempt<Result>,
    firstReply: Later<Result | Refusal>,
  ): Promise<Result | Refusal> {
    const { stopwatch } = this.#options;
    const since = stopwatch();
    const line = this.#lineOf(topic);
    this.#waiting += 1;
    return new Promise((resolve, reject) => {
      const waiter: Waiter = {
        end: (refused) => leave(() => resolve(refused)),
        tryAgain: () => {
          if (call.isAbandoned) {
            waiter.end(abandoned());
            return "passed_over";
          }
          return tryAgain(false);
        },
      };
      const timer = setTimeout(() => tryAgain(true), waitMs);
      const stay = call.onAbandoned(() => waiter.end(abandoned()));
      const leave = (settle: () => void): void => {
        if (!line.waiters.delete(waiter)) return;
        clearTimeout(timer);
        stay();
        this.#waiting -= 1;
        if (line.waiters.size === 0) this.#dissolve(topic, line);
        call.waitedMs += stopwatch() - since;
        settle();
      };
      // An attempt that found nothing hears later whether the log failed under it; then so does the client.
      const heed = (reply: Later<Result | Refusal>): void => {
        if (reply instanceof Promise) reply.catch((error: unknown) => leave(() => reject(error)));
      };
      const tryAgain = (isLast: boolean): Attempt<Result>["found"] => {
        try {
          const { found, reply } = attempt();
          if (isLast || found === "settled") leave(() => resolve(reply));
          else heed(reply);
          return found;
        } catch (error) {
          leave(() => reject(error));
          return "settled";
        }
      };
      line.waiters.add(waiter);
      heed(firstReply);
    });
  }

  #lineOf(topic: string): Line {
    const known = this.#lines.get(topic);
    if (known !== undefined) return known;
    const line = new Line();
    line.hangUp = this.#options.wakes().on(topic, () => line.ring());
    this.#lines.set(topic, line);
    return line;
  }

  #dissolve(topic: string, line: Line): void {
    line.hangUp();
    this.#lines.delete(topic);
  }
}

interface Waiter {
  tryAgain(): Attempt<unknown>["found"];
  end(refused: Refusal): void;
}

/** Who waits for one topic, in the order in which they came. */
class Line {
  readonly waiters = new Set<Waiter>();
  hangUp: () => void = () => undefined;
  #rung = false;

  /** The rings of one turn are one, and the attempts come after it: a ring must not append. */
  ring(): void {
    if (this.#rung) return;
    this.#rung = true;
    setImmediate(() => {
      this.#rung = false;
      for (const waiter of this.waiters) if (waiter.tryAgain() === "nothing") return;
    });
  }
}

export const abandoned = (): Refusal => refusal("API_CLIENT_GONE", "the client went away while it waited");
export const draining = (): Refusal =>
  refusal("API_DRAINING", "the server is shutting down; ask another one, or later");
