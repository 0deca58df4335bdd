/** What the API room shows to the others. */
export * from "./errors.js";
export { openApiDocument } from "./openapi.js";
export type * from "./options.js";
export { buildServer } from "./server.js";
