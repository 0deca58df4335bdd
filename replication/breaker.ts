/**
 * Keeps a link from looping that fails verification again and again: after a few failures with nothing sound between them the link stays
 * down until somebody has looked and resets it. What cannot heal by trying again must not hide among the retries.
 */
import type { ReplicationError, ReplicationErrorCode } from "./errors.js";
import type { BreakerStats } from "./stats.js";

/** Failures that say that bytes were not what they have to be. A lost connection is not among them. */
const VERIFICATION: ReadonlySet<ReplicationErrorCode> = new Set<ReplicationErrorCode>([
  "REPLICATION_FRAME_BAD",
  "REPLICATION_MESSAGE_BAD",
  "REPLICATION_RECORDS_REFUSED",
  "REPLICATION_LOG_DAMAGED",
  "REPLICATION_INSTALL_FAILED",
]);

export const isVerificationFailure = (code: ReplicationErrorCode): boolean => VERIFICATION.has(code);

export const BREAKER_FAILURES_MAX = 5;
const BREAKERS_MAX = 64;

export class Breaker {
  readonly id: string;
  readonly #now: () => number;
  #failures = 0;
  #openedAt: number | undefined;
  #last: ReplicationError | undefined;

  /** `id` names the link for people and for whoever resets it. */
  constructor(id: string, now: () => number) {
    this.id = id;
    this.#now = now;
  }

  get isOpen(): boolean {
    return this.#openedAt !== undefined;
  }

  /** Something sound came over the link. Does not close an open breaker. */
  progressed(): void {
    if (!this.isOpen) this.#failures = 0;
  }

  /** True when this failure opened it. */
  failed(error: ReplicationError): boolean {
    if (!isVerificationFailure(error.code)) return false;
    this.#failures++;
    this.#last = error;
    if (this.isOpen || this.#failures < BREAKER_FAILURES_MAX) return false;
    this.#openedAt = this.#now();
    return true;
  }

  /** True when it was open. */
  reset(): boolean {
    const wasOpen = this.isOpen;
    this.#failures = 0;
    this.#openedAt = undefined;
    return wasOpen;
  }

  stats(): BreakerStats {
    return {
      id: this.id,
      open: this.isOpen,
      failures: this.#failures,
      openedAt: this.#openedAt,
      lastCode: this.#last?.code,
      lastMessage: this.#last?.message,
    };
  }
}

/** Of every link that there is, and of those before that are still open: somebody has to look at them. */
export class Breakers {
  readonly #breakers = new Map<string, Breaker>();
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  /** The breaker of a link that begins. Those of others are let go when they are closed, and the oldest when there are too many. */
  of(id: string): Breaker {
    const breaker = this.#breakers.get(id) ?? new Breaker(id, this.#now);
    for (const [known, each] of this.#breakers)
      if (!each.isOpen || this.#breakers.size >= BREAKERS_MAX) this.#breakers.delete(known);
    this.#breakers.set(id, breaker);
    return breaker;
  }

  /** All of them without an id. Returns how many were open. */
  reset(id?: string): number {
    let reset = 0;
    for (const breaker of this.#breakers.values())
      if ((id === undefined || breaker.id === id) && breaker.reset()) reset++;
    return reset;
  }

  /** Those that damage of this node's own log may have tripped, now that it is mended. Returns how many were open. */
  resetDamaged(): number {
    const damaged = this.stats().filter(({ lastCode }) => lastCode === "REPLICATION_LOG_DAMAGED");
    return damaged.reduce((sum, { id }) => sum + this.reset(id), 0);
  }

  stats(): BreakerStats[] {
    return [...this.#breakers.values()].map((breaker) => breaker.stats());
  }
}
