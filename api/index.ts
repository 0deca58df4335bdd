/** What the API room shows to the others. */

export { DURABLE_PREFIX } from "./doors/durable-request.js";
export * from "./errors.js";
export { openApiDocument } from "./openapi.js";
export { ROOM_PREFIX } from "./operations/stream-fields.js";
export * from "./options.js";
export { buildServer } from "./server.js";
