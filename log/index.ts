/** What the log room shows to the others. */
export * from "./errors.js";
export type * from "./event-log.js";
export * from "./file-system.js";
export type * from "./settings.js";
export * from "./units.js";
