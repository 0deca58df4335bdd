/** Numbers as the commands take them, in one form and told of in the same words: digits only, so no sign, fraction, exponent or nothing. */
import { InvalidArgumentError } from "commander";
import { type Offset, offset } from "../../log/index.js";

/** Undefined of anything else than a whole number of that range. */
export function wholeNumberIn(text: string, min: number, max: number): number | undefined {
  const number = Number(text);
  return /^\d{1,16}$/.test(text) && number >= min && number <= max ? number : undefined;
}

export function wholeNumber(min: number, max: number): (text: string) => number {
  return (text) => {
    const number = wholeNumberIn(text, min, max);
    if (number !== undefined) return number;
    throw new InvalidArgumentError(`Expected a whole number from ${min} to ${max}.`);
  };
}

export function offsetArgument(text: string): Offset {
  const number = wholeNumberIn(text, 1, Number.MAX_SAFE_INTEGER);
  if (number !== undefined) return offset(number);
  throw new InvalidArgumentError("Expected an offset: a whole number from 1.");
}
