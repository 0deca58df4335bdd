/** What the projections room shows to the others. */
export type * from "./decision.js";
export * from "./kv/contract.js";
