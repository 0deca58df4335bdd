/** What the API room shows to the others. */

export { COMMAND_PATH } from "./doors/command.js";
export * from "./errors.js";
export { memberSpan } from "./json-text.js";
export { openApiDocument } from "./openapi.js";
export type { Answered } from "./operations/reply.js";
export { DURABLE_PREFIX, ROOM_PREFIX } from "./operations/stream-fields.js";
export * from "./options.js";
export * from "./past.js";
export { answeredAt, answerFrom, inputFromText, type PastReply, pastReads } from "./past-read.js";
export type * from "./replication.js";
export { buildServer } from "./server.js";
export type * from "./snapshots.js";
