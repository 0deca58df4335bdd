/** What the log room shows to the others. */
export { EPOCH_STARTED } from "./epochs.js";
export * from "./errors.js";
export type * from "./event-log.js";
export * from "./file-names.js";
export * from "./file-system.js";
export { openLog } from "./open-log.js";
export { realFileSystem } from "./real-file-system.js";
export { type RecoveryPoint, readRecoveryPoint, writeRecoveryPoint } from "./recovery-point.js";
export { type FirstNeeded, firstNeeded, type OffsetHolder } from "./retention.js";
export type * from "./settings.js";
export * from "./units.js";
