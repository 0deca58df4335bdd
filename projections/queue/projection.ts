/** The queues as a projection: which events are theirs, and what of them. */
import type { Projection } from "../projector.js";
import { isQueueKind, type QueueChange, readQueueChange } from "./codec.js";
import { evolve } from "./evolve.js";
import type { QueueState } from "./state.js";

export const queueProjection: Projection<QueueState, QueueChange> = {
  owns: isQueueKind,
  read: readQueueChange,
  evolve,
};
