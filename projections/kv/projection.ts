/** The keys as a projection: which events are theirs, and what of them. */
import type { Projection } from "../projector.js";
import { isKvKind, type KvChange, readKvChange } from "./codec.js";
import { evolve } from "./evolve.js";
import type { KvState } from "./state.js";

export const kvProjection: Projection<KvState, KvChange> = {
  owns: isKvKind,
  read: readKvChange,
  evolve,
};
