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
