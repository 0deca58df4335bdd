/**
 * Patterns over keys: `*` any run, `?` one character, `[abc] [a-z] [^a]` one of (or none of) a set, `\` takes the next
 * character as it is. Characters are Unicode code points.
 *
 * A match never recurses: on a mismatch only the last `*` takes one character more. So it takes at most
 * (pattern × key) steps, and the caller, who bounds both, counts them.
 */
export const PATTERN_LENGTH_MAX = 1_024;

type Token =
  | { readonly type: "run" }
  | { readonly type: "any" }
  | { readonly type: "literal"; readonly code: number }
  | {
      readonly type: "set";
      readonly negated: boolean;
      readonly ranges: readonly (readonly [number, number])[];
    };

export interface Glob {
  matches(key: string): boolean;
  /** Steps that all matches so far have taken. */
  readonly steps: number;
}

/** The pattern made ready, or undefined when it is too long, or a set is not closed, or it ends in a lone `\`. */
export function parseGlob(pattern: string): Glob | undefined {
  if (pattern.length > PATTERN_LENGTH_MAX) return undefined;
  const tokens = parseTokens([...pattern]);
  return tokens === undefined ? undefined : new TokenGlob(tokens);
}

const codeOf = (character: string): number => character.codePointAt(0) ?? 0;

function parseTokens(characters: readonly string[]): Token[] | undefined {
  const tokens: Token[] = [];
  for (let at = 0; at < characters.length; at++) {
    const character = characters[at] ?? "";
    if (character === "*") {
      if (tokens.at(-1)?.type !== "run") tokens.push({ type: "run" });
    } else if (character === "?") tokens.push({ type: "any" });
    else if (character === "[") {
      const set = parseSet(characters, at + 1);
      if (set === undefined) return undefined;
      tokens.push(set.token);
      at = set.last;
    } else if (character === "\\") {
      const next = characters[++at];
      if (next === undefined) return undefined;
      tokens.push({ type: "literal", code: codeOf(next) });
    } else tokens.push({ type: "literal", code: codeOf(character) });
  }
  return tokens;
}

/** A set whose first character stands at `from`; `last` is where its `]` stands. */
function parseSet(characters: readonly string[], from: number): { token: Token; last: number } | undefined {
  let at = from;
  const negated = characters[at] === "^";
  if (negated) at++;
  const ranges: [number, number][] = [];
  const one = (): number | undefined => {
    if (characters[at] === "\\") at++;
    const character = characters[at++];
    return character === undefined ? undefined : codeOf(character);
  };
  while (characters[at] !== "]") {
    const first = one();
    if (first === undefined) return undefined;
    if (characters[at] === "-" && characters[at + 1] !== "]" && characters[at + 1] !== undefined) {
      at++;
      const last = one();
      if (last === undefined) return undefined;
      ranges.push(first <= last ? [first, last] : [last, first]);
    } else ranges.push([first, first]);
  }
  return { token: { type: "set", negated, ranges }, last: at };
}

class TokenGlob implements Glob {
  readonly #tokens: readonly Token[];
  #steps = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  get steps(): number {
    return this.#steps;
  }

  matches(key: string): boolean {
    let at = 0;
    let token = 0;
    let retryToken = -1;
    let retryAt = 0;
    while (at < key.length) {
      const code = key.codePointAt(at) ?? 0;
      const wanted = this.#tokens[token];
      this.#steps += wanted?.type === "set" ? 1 + wanted.ranges.length : 1;
      if (wanted?.type === "run") {
        retryToken = ++token;
        retryAt = at;
      } else if (wanted !== undefined && takes(wanted, code)) {
        token++;
        at += code > 0xffff ? 2 : 1;
      } else if (retryToken >= 0) {
        retryAt += (key.codePointAt(retryAt) ?? 0) > 0xffff ? 2 : 1;
        at = retryAt;
        token = retryToken;
      } else return false;
    }
    if (this.#tokens[token]?.type === "run") token++;
    return token === this.#tokens.length;
  }
}

function takes(token: Token, code: number): boolean {
  if (token.type === "any") return true;
  if (token.type === "literal") return token.code === code;
  if (token.type === "run") return false;
  return token.ranges.some(([first, last]) => first <= code && code <= last) !== token.negated;
}
