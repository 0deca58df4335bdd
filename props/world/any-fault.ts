/** One fault of the disk in a life: mostly an end of the process, sometimes a failing operation. */
import fc from "fast-check";
import type { Fault } from "./operations.js";

/** At the n-th operation, n between 20 (a store is open by then) and `last`. */
export function anyFault(last: number): fc.Arbitrary<Fault> {
  const at = fc.integer({ min: 20, max: last });
  return fc.oneof(
    {
      weight: 3,
      arbitrary: fc.record({ type: fc.constant("end"), at, ending: fc.constantFrom("power", "kill") }),
    },
    {
      weight: 1,
      arbitrary: fc.record({
        type: fc.constant("fail"),
        at,
        errno: fc.constantFrom("EIO", "ENOSPC"),
        sticky: fc.boolean(),
      }),
    },
  );
}
