/** What a node counts over all its links since it started. */
import { isVerificationFailure } from "./breaker.js";
import type { ReplicationError } from "./errors.js";
import type { Kept } from "./host.js";
import type { ReplicaSet } from "./replica-set.js";
import type { DamageCounters, ReplicationCounters } from "./stats.js";
import type { Upstream } from "./upstream.js";

type Received = Pick<
  ReplicationCounters,
  "bytesReceived" | "recordsReceived" | "fullSyncs" | "partialSyncs" | "reconnects"
>;

export class Counters {
  promotions = 0;
  timesFenced = 0;
  #divergences = 0;
  #divergedRecords = 0;
  #verificationFailures = 0;
  /** Of the nodes that were followed before. */
  #before: Received = { bytesReceived: 0, recordsReceived: 0, fullSyncs: 0, partialSyncs: 0, reconnects: 0 };

  diverged({ records }: Kept): void {
    this.#divergences++;
    this.#divergedRecords += records;
  }

  failed({ code }: ReplicationError): void {
    if (isVerificationFailure(code)) this.#verificationFailures++;
  }

  /** The link is let go; what it counted stays. */
  keep(upstream: Upstream): void {
    this.#before = this.#received(upstream);
  }

  with(set: ReplicaSet, upstream: Upstream | undefined, damage: DamageCounters): ReplicationCounters {
    return {
      ...damage,
      ...this.#received(upstream),
      bytesSent: set.sent.bytes,
      recordsSent: set.sent.records,
      divergences: this.#divergences,
      divergedRecords: this.#divergedRecords,
      verificationFailures: this.#verificationFailures,
      promotions: this.promotions,
      timesFenced: this.timesFenced,
      ...set.confirmations.counters,
    };
  }

  #received(upstream: Upstream | undefined): Received {
    const before = this.#before;
    if (upstream === undefined) return before;
    const { bytesReceived, recordsReceived, fullSyncs, partialSyncs, reconnects } = upstream.progress;
    return {
      bytesReceived: before.bytesReceived + bytesReceived,
      recordsReceived: before.recordsReceived + recordsReceived,
      fullSyncs: before.fullSyncs + fullSyncs,
      partialSyncs: before.partialSyncs + partialSyncs,
      reconnects: before.reconnects + reconnects,
    };
  }
}
