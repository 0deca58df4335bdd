/** The streams as a projection: which events are theirs, and what of them. */
import type { Projection } from "../projector.js";
import { isStreamKind, readStreamChange, type StreamChange } from "./codec.js";
import { evolve } from "./evolve.js";
import type { StreamState } from "./state.js";

export const streamProjection: Projection<StreamState, StreamChange> = {
  owns: isStreamKind,
  read: readStreamChange,
  evolve,
};
