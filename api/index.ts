/** What the API room shows to the others. */
export * from "./errors.js";
export { openApiDocument } from "./openapi.js";
export { ROOM_PREFIX } from "./operations/stream-fields.js";
export * from "./options.js";
export * from "./past.js";
export { buildServer } from "./server.js";
