/** A fact is a number with the number that it must be, so that the summary can show both. */

export interface Fact {
  readonly what: string;
  readonly expected: number;
  readonly found: number;
}

export const disagreements = (facts: readonly Fact[]): Fact[] =>
  facts.filter(({ expected, found }) => expected !== found);

/** What had to be, and what was. */
export function factsText(facts: readonly Fact[]): string[] {
  const number = (value: number): string => value.toLocaleString("en-US").padStart(11);
  return [
    "expected and found",
    ...facts.map(
      ({ what, expected, found }) =>
        `  ${number(expected)} ${number(found)}  ${what}${expected === found ? "" : "  <- DISAGREES"}`,
    ),
  ];
}
