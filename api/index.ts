/** What the API room shows to the others. */
export type * from "./options.js";
