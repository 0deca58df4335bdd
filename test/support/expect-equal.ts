import { isDeepStrictEqual } from "node:util";
import { expect } from "vitest";

/** `expect(found).toEqual(expected)` for what is compared many thousand times: where the two are equal, it costs a tenth. */
export function expectEqual(found: unknown, expected: unknown): void {
  if (!isDeepStrictEqual(found, expected)) expect(found).toEqual(expected);
}
