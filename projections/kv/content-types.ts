/**
 * Content types of keys as numbers that fit into a row: the well-known ones, then those that came, in the order in which they did. Few are in
 * use at a time, so that a key with one of them costs no entry and no string of its own. When all numbers are taken, whoever keeps the key
 * keeps the type, too.
 */
import { WELL_KNOWN_TYPES } from "./codec.js";

/** One that has no number. */
export const OTHER_TYPE = 255;

export class ContentTypes {
  #names: string[] = [];
  /** Of those that came. */
  readonly #numbers = new Map<string, number>();

  constructor() {
    this.clear();
  }

  /** Of a type that has none, one is taken while there is any. */
  numberOf(contentType: string): number {
    // Nearly all: compared as the one string that they are, without a hash.
    const wellKnown = WELL_KNOWN_TYPES.indexOf(contentType);
    if (wellKnown >= 0) return wellKnown;
    const known = this.#numbers.get(contentType);
    if (known !== undefined) return known;
    const next = this.#names.length;
    if (next === OTHER_TYPE) return OTHER_TYPE;
    this.#names.push(contentType);
    this.#numbers.set(contentType, next);
    return next;
  }

  /** Undefined for OTHER_TYPE. */
  nameOf(number: number): string | undefined {
    return this.#names[number];
  }

  clear(): void {
    this.#names = [...WELL_KNOWN_TYPES];
    this.#numbers.clear();
  }
}
