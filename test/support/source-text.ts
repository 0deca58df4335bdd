/**
 * Reads TypeScript source just far enough for the architecture rules: which modules a file imports, which names it
 * declares, how long its functions are. A tokenizer, not a parser: the compiler offers no API to ask.
 *
 * Everything works on a *masked* text: the same length and lines as the source, but with the insides of comments,
 * strings, templates and regular expressions blanked out, so that a word in a comment is never taken for code.
 */

export interface ImportFound {
  /** As written: `./format.js`, `node:fs`, `@fastify/cors`. */
  readonly specifier: string;
  /** Nothing is left of it at run time. */
  readonly typeOnly: boolean;
  /** What stands between `import` and `from`. */
  readonly names: string;
  readonly line: number;
}

export interface FunctionFound {
  readonly name: string;
  readonly line: number;
  readonly lines: number;
}

export interface NameFound {
  readonly kind: "class" | "interface" | "type" | "function" | "variable";
  readonly name: string;
  readonly line: number;
}

const REGEX_MAY_FOLLOW =
  /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|do|else|void|await|yield))\s*$/;

/** Blanks comments and the insides of literals; delimiters, code in `${}` and line breaks stay where they are. */
export function mask(source: string): string {
  const out = source.split("");
  const blank = (from: number, end: number): void => {
    for (let at = from; at < end; at++) if (out[at] !== "\n") out[at] = " ";
  };
  // Each entry is the brace depth at which a `${` of a template was opened.
  const templates: number[] = [];
  let depth = 0;
  let at = 0;
  const template = (from: number): number => {
    let end = from;
    while (end < source.length && source[end] !== "`" && !source.startsWith("${", end)) {
      end += source[end] === "\\" ? 2 : 1;
    }
    blank(from, Math.min(end, source.length));
    if (source[end] === "`") return end + 1;
    templates.push(depth);
    depth++;
    return end + 2;
  };
  while (at < source.length) {
    const char = source[at];
    const pair = source.slice(at, at + 2);
    if (pair === "//" || pair === "/*") {
      const closing = pair === "//" ? source.indexOf("\n", at) : source.indexOf("*/", at + 2) + 2;
      const end = closing < at ? source.length : closing;
      blank(at, end);
      at = end;
    } else if (char === '"' || char === "'") {
      const end = endOfLiteral(source, at + 1, char);
      blank(at + 1, end);
      at = end + 1;
    } else if (char === "`") {
      at = template(at + 1);
    } else if (char === "/" && REGEX_MAY_FOLLOW.test(out.slice(Math.max(0, at - 80), at).join(""))) {
      const end = endOfRegex(source, at + 1);
      blank(at + 1, end);
      at = end + 1;
    } else if (char === "{") {
      depth++;
      at++;
    } else if (char === "}") {
      depth--;
      at++;
      if (templates.at(-1) === depth) {
        templates.pop();
        at = template(at);
      }
    } else {
      at++;
    }
  }
  return out.join("");
}

function endOfLiteral(source: string, from: number, quote: string): number {
  let at = from;
  while (at < source.length && source[at] !== quote && source[at] !== "\n") at += source[at] === "\\" ? 2 : 1;
  return at;
}

function endOfRegex(source: string, from: number): number {
  let at = from;
  let inClass = false;
  while (at < source.length && source[at] !== "\n" && (inClass || source[at] !== "/")) {
    if (source[at] === "[") inClass = true;
    if (source[at] === "]") inClass = false;
    at += source[at] === "\\" ? 2 : 1;
  }
  return at;
}

export function lineAt(text: string, index: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < index; at = text.indexOf("\n", at + 1)) line++;
  return line;
}

/**
 * `import` and `export … from`, `import("…")`, and files started by their URL (`new URL("./worker.js", import.meta.url)`),
 * which are imports by another name.
 */
export function importsOf(source: string, masked = mask(source)): ImportFound[] {
  const found: ImportFound[] = [];
  const add = (quoteAt: number, typeOnly: boolean, names = ""): void => {
    const quote = source[quoteAt] ?? '"';
    const end = source.indexOf(quote, quoteAt + 1);
    found.push({ specifier: source.slice(quoteAt + 1, end), typeOnly, names, line: lineAt(source, quoteAt) });
  };
  for (const match of masked.matchAll(/(?:^|[;}\n])\s*(import|export)\b([^"'`;()]*?)\bfrom\s*(["'])/g)) {
    add(match.index + match[0].length - 1, isTypeOnly(match[2] ?? ""), match[2]);
  }
  for (const match of masked.matchAll(/(?:^|[;}\n])\s*import\s*(["'])/g)) {
    add(match.index + match[0].length - 1, false);
  }
  // `import("…").Name` in the place of a type leaves nothing at run time; `await import("…")` does.
  for (const match of masked.matchAll(/\bimport\s*\(\s*(["'])[^"']*["']\s*\)(\s*\.\s*[A-Z])?/g)) {
    add(match.index + match[0].search(/["']/), match[2] !== undefined);
  }
  for (const match of masked.matchAll(/\bnew\s+URL\s*\(\s*(["'])[^"']*["']\s*,\s*import\.meta\.url\s*\)/g)) {
    const quoteAt = match.index + match[0].search(/["']/);
    if (
      /^\.{1,2}\/.*\.js$/.test(source.slice(quoteAt + 1, source.indexOf(source[quoteAt] ?? '"', quoteAt + 1)))
    ) {
      add(quoteAt, false);
    }
  }
  return found;
}

function isTypeOnly(clause: string): boolean {
  if (/^\s*type\b(?!\s*,|\s*from)/.test(clause)) return true;
  const names = /^\s*\{([^}]*)\}\s*$/.exec(clause)?.[1];
  if (names === undefined) return false;
  const parts = names.split(",").filter((part) => part.trim() !== "");
  return parts.length > 0 && parts.every((part) => /^\s*type\s/.test(part));
}

/** Every declared name, wherever it stands. */
export function namesOf(source: string, masked = mask(source)): NameFound[] {
  const found: NameFound[] = [];
  const pattern = /\b(class|interface|type|function|const|let)\s*\*?\s+([A-Za-z_$][\w$]*)/g;
  for (const match of masked.matchAll(pattern)) {
    const [, keyword, name] = match;
    if (keyword === undefined || name === undefined) continue;
    // `type` is an ordinary word too (a field, an argument): a declaration is followed by `=` or `<`.
    const after = masked.slice(match.index + match[0].length).trimStart();
    if (keyword === "type" && !/^[=<]/.test(after)) continue;
    const kind = keyword === "const" || keyword === "let" ? "variable" : (keyword as NameFound["kind"]);
    found.push({ kind, name, line: lineAt(source, match.index) });
  }
  return found;
}

const NOT_A_FUNCTION = new Set(["if", "for", "while", "switch", "catch", "with", "await", "return", "super"]);

/** Functions, methods and arrow functions with a body in braces, nested ones too. */
export function functionsOf(source: string, masked = mask(source)): FunctionFound[] {
  const found: FunctionFound[] = [];
  const closeOf = matchBrackets(masked);
  for (let open = masked.indexOf("("); open !== -1; open = masked.indexOf("(", open + 1)) {
    const close = closeOf.get(open);
    if (close === undefined) continue;
    const body = bodyAfter(masked, close + 1, closeOf);
    if (body === undefined) continue;
    const name = nameBefore(masked, open, body.arrow);
    const end = closeOf.get(body.open);
    if (name === undefined || end === undefined) continue;
    const line = lineAt(masked, open);
    found.push({ name, line, lines: lineAt(masked, end) - line + 1 });
  }
  return found;
}

function matchBrackets(masked: string): Map<number, number> {
  const closes = new Map<number, number>();
  const open: number[] = [];
  for (let at = 0; at < masked.length; at++) {
    const char = masked[at] ?? "";
    if ("([{".includes(char)) open.push(at);
    else if (")]}".includes(char)) {
      const from = open.pop();
      if (from !== undefined) closes.set(from, at);
    }
  }
  return closes;
}

/** The `{` of the body that belongs to a parameter list ending before `from`: past a return type and an arrow, if any. */
function bodyAfter(
  masked: string,
  from: number,
  closeOf: Map<number, number>,
): { open: number; arrow: boolean } | undefined {
  let at = skipSpace(masked, from);
  if (masked[at] === "{") return { open: at, arrow: false };
  if (masked.startsWith("=>", at)) {
    at = skipSpace(masked, at + 2);
    return masked[at] === "{" ? { open: at, arrow: true } : undefined;
  }
  if (masked[at] !== ":") return undefined;
  // A return type: braces are part of it where a type may begin, and the body where one has just ended.
  let typeExpected = true;
  let angles = 0;
  for (at = skipSpace(masked, at + 1); at < masked.length; at = skipSpace(masked, at + 1)) {
    const char = masked[at] ?? "";
    if (masked.startsWith("=>", at)) {
      const next = skipSpace(masked, at + 2);
      if (angles === 0 && masked[next] === "{") return { open: next, arrow: true };
      // The arrow of a function type.
      at++;
      typeExpected = true;
      continue;
    }
    if (char === "{" && !typeExpected && angles === 0) return { open: at, arrow: false };
    if ("{([".includes(char)) {
      at = closeOf.get(at) ?? masked.length;
      typeExpected = false;
    } else if (char === "<") {
      angles++;
      typeExpected = true;
    } else if (char === ">") {
      angles--;
      typeExpected = false;
    } else if ("|&".includes(char)) {
      typeExpected = true;
    } else if (angles > 0 && char === ",") {
      typeExpected = true;
    } else if (/[\w$]/.test(char)) {
      const word = /^[\w$]+/.exec(masked.slice(at))?.[0] ?? char;
      at += word.length - 1;
      typeExpected = ["is", "keyof", "typeof", "readonly", "asserts"].includes(word);
    } else if (!".?\"'`".includes(char)) {
      return undefined;
    }
  }
  return undefined;
}

function skipSpace(text: string, from: number): number {
  let at = from;
  while (at < text.length && /\s/.test(text[at] ?? "")) at++;
  return at;
}

function nameBefore(masked: string, open: number, arrow: boolean): string | undefined {
  const before = masked.slice(Math.max(0, open - 200), open).trimEnd();
  const withoutGenerics = before.endsWith(">") ? before.replace(/<[^()]*>$/, "").trimEnd() : before;
  if (arrow) {
    return /([\w$]+)\s*(?::[^=;]*)?=\s*(?:async)?$/.exec(withoutGenerics)?.[1] ?? "(arrow function)";
  }
  const name = /(#?[\w$]+)$/.exec(withoutGenerics)?.[1];
  return name !== undefined && !NOT_A_FUNCTION.has(name) ? name : undefined;
}
