/** A share of something: in [0, 1), any part as likely as any other. `fc.double` is nearly always next to nothing. */
import fc from "fast-check";

export const share: fc.Arbitrary<number> = fc
  .noBias(fc.nat(0x3fff_ffff))
  .map((number) => number / 0x4000_0000);
