/** What the projections room shows to the others. */
export type * from "./decision.js";
export { asIs } from "./decision.js";
export * from "./errors.js";
export { decodeEvents, type EncodedRecord } from "./events.js";
export * from "./kv/contract.js";
export { kv } from "./kv/index.js";
export { bytesOf, textOf } from "./kv/values.js";
export * from "./queue/contract.js";
export { queue } from "./queue/index.js";
export { type QueueOverlay, queueOverlay } from "./queue/overlay.js";
export { type OpenedStore, type OpenStoreOptions, openStore } from "./store.js";
export * from "./stream/contract.js";
export { stream } from "./stream/index.js";
export { type StreamOverlay, streamOverlay } from "./stream/overlay.js";
export { Wakes } from "./wakes.js";
