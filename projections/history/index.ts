/** What history shows to the room. */
export type * from "./contract.js";
export { keyAtRevision, keyHistory } from "./key-history.js";
export { messageLife } from "./message-history.js";
