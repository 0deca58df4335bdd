/** Where a value came from, and a mistake together with its place: file, line and column, a variable, or a flag. */

import { unreachable } from "../../log/index.js";

export type Origin =
  | { readonly type: "default" }
  | { readonly type: "file"; readonly file: string; readonly line: number; readonly column: number }
  | { readonly type: "environment"; readonly variable: string }
  | { readonly type: "flag"; readonly flag: string };

export interface Mistake {
  readonly origin: Origin;
  readonly message: string;
}

export function describeOrigin(origin: Origin): string {
  switch (origin.type) {
    case "default":
      return "default";
    case "file":
      return `${origin.file}:${origin.line}:${origin.column}`;
    case "environment":
      return `environment ${origin.variable}`;
    case "flag":
      return `flag --${origin.flag}`;
    default:
      return unreachable(origin);
  }
}

export const describeMistake = (mistake: Mistake): string =>
  `${describeOrigin(mistake.origin)}: ${mistake.message}`;
