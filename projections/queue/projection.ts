/** The queues as a projection: which records it reads, and what of them. */
import type { AppendedRecord } from "../../log/index.js";
import { changesOf, SEVERAL_KIND } from "../events.js";
import type { Projection } from "../projector.js";
import { isQueueKind, readQueueChange } from "./codec.js";
import { evolve, type QueueRecord } from "./evolve.js";
import type { QueueState } from "./state.js";

export const queueProjection: Projection<QueueState, QueueRecord> = {
  reads: (kind) => kind === SEVERAL_KIND || isQueueKind(kind),
  decode: (record: AppendedRecord) => ({
    offset: record.offset,
    timestamp: record.timestamp,
    changes: changesOf(record, isQueueKind, readQueueChange),
  }),
  evolve,
};
