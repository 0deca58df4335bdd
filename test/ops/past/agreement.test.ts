// How far two logs are the same, by their fingerprints.
import { describe, expect, it } from "vitest";
import { agreementOf, type CrcSource } from "../../../ops/past/agreement.js";

/** A log as its records, and the chain over them. */
function source(
  name: string,
  records: readonly string[],
  first = 1,
  clusterId = "c",
): CrcSource & { asked: number } {
  return {
    name,
    clusterId,
    firstOffset: first,
    endOffset: records.length,
    asked: 0,
    async crcAt(offset) {
      this.asked += 1;
      if (offset < first || offset > records.length) throw new Error(`${name} has no offset ${offset}`);
      let chain = 17;
      for (const each of records.slice(0, offset)) {
        for (const character of each) chain = (Math.imul(chain, 31) + character.charCodeAt(0)) >>> 0;
      }
      return chain;
    },
  };
}

const names = (count: number, from = 0): string[] => Array.from({ length: count }, (_, i) => `r${from + i}`);

describe("two logs", () => {
  it("are the same up to the end of the shorter when one goes on where the other ends", async () => {
    const agreement = await agreementOf(source("a", names(10)), source("b", names(7)));
    expect(agreement).toMatchObject({ sameUpTo: 7, firstDifferent: undefined });
  });

  it("part at exactly one offset, wherever that is", async () => {
    const shared = names(40);
    for (let same = 0; same < 40; same++) {
      const other = [...shared.slice(0, same), ...names(50 - same, 1_000)];
      for (const [a, b] of [
        [shared, other],
        [other, shared],
      ] as const) {
        const agreement = await agreementOf(source("a", a), source("b", b));
        expect(agreement).toMatchObject({
          sameUpTo: same === 0 ? undefined : same,
          firstDifferent: same + 1,
          comparedFrom: 1,
        });
      }
    }
  });

  it("are compared from the first offset that both still have", async () => {
    const shared = names(40);
    const other = [...shared.slice(0, 30), ...names(10, 1_000)];
    const agreement = await agreementOf(source("a", shared, 12), source("b", other, 5));
    expect(agreement).toMatchObject({ sameUpTo: 30, firstDifferent: 31, comparedFrom: 12 });
    const early = [...shared.slice(0, 3), ...names(37, 1_000)];
    const apart = await agreementOf(source("a", shared, 12), source("b", early));
    expect(apart).toMatchObject({ sameUpTo: undefined, firstDifferent: 12 });
  });

  it("need few questions, however long they are", async () => {
    const shared = names(3_000);
    const a = source("a", shared);
    const b = source("b", [...shared.slice(0, 1_234), ...names(2_000, 9_000)]);
    expect(await agreementOf(a, b)).toMatchObject({ sameUpTo: 1_234, firstDifferent: 1_235 });
    expect(a.asked).toBeLessThanOrEqual(14);
  });

  it("of two clusters are never called the same", async () => {
    const agreement = await agreementOf(source("a", names(9)), source("b", names(9), 1, "other"));
    expect(agreement).toMatchObject({ sameUpTo: undefined, firstDifferent: 1, asked: 0 });
  });

  it("without an offset in common cannot be compared", async () => {
    await expect(agreementOf(source("a", names(9), 5), source("b", names(3)))).rejects.toThrow(RangeError);
  });
});
