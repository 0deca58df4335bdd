/** What the rest of the room, and through it everybody, uses of snapshots. */
export type * from "./contract.js";
export * from "./errors.js";
export { beginFold, foldTo } from "./fold-to.js";
export { SNAPSHOT_FORMAT_OLDEST, SNAPSHOT_FORMAT_VERSION } from "./format.js";
export { findLost, tellsOfLost } from "./lost-records.js";
export { inspectSnapshot, listSnapshots, readSnapshot, snapshotNames, verifySnapshot } from "./read.js";
export { writeSnapshot } from "./write.js";
