/**
 * Reads the text of a configuration file into flat entries, each with its line and column, and says what is not known.
 * It knows names, not values: whether a value fits its setting is decided in `load.ts`.
 */
import {
  Document,
  isAlias,
  isMap,
  isScalar,
  LineCounter,
  type Node,
  type Pair,
  parseAllDocuments,
  visit,
} from "yaml";
import { documentedKey, documentedPaths } from "./documented.js";
import { nearest } from "./nearest.js";
import type { Mistake, Origin } from "./origin.js";
import { isSettingPath, settingPaths } from "./settings.js";

export interface FileEntry {
  readonly path: string;
  readonly value: unknown;
  readonly origin: Origin;
}

export interface FileContent {
  readonly entries: readonly FileEntry[];
  readonly mistakes: readonly Mistake[];
}

const knownPaths = [...settingPaths, ...documentedPaths];
const sections = new Set(knownPaths.flatMap(prefixesOf));

function prefixesOf(path: string): string[] {
  const parts = path.split(".");
  return parts.slice(1).map((_, index) => parts.slice(0, index + 1).join("."));
}

export function readYaml(file: string, text: string): FileContent {
  const lines = new LineCounter();
  const documents = parseAllDocuments(text, { lineCounter: lines, prettyErrors: false });
  const [document, second] = [...documents];
  const at = (place: number): Origin => {
    const { line, col } = lines.linePos(place);
    return { type: "file", file, line, column: col };
  };
  if (!(document instanceof Document)) return { entries: [], mistakes: [] };
  if (second !== undefined)
    return {
      entries: [],
      mistakes: [{ origin: at(second.range[0]), message: "a second document; one is expected" }],
    };
  if (document.errors.length > 0) {
    const mistakes = document.errors.map((error) => ({ origin: at(error.pos[0]), message: error.message }));
    return { entries: [], mistakes };
  }
  const lost = aliasMistakes(document, at);
  if (lost.length > 0) return { entries: [], mistakes: lost };
  const walk = new Walk(document, at);
  walk.section("", document.contents);
  return walk;
}

/** The parser leaves it to whoever resolves an alias whether there is something behind it, and whether that ends. */
function aliasMistakes(document: Document, at: (place: number) => Origin): Mistake[] {
  const mistakes: Mistake[] = [];
  visit(document, {
    Alias(_key, alias, above) {
      const named = alias.resolve(document);
      const origin = at(alias.range?.[0] ?? 0);
      if (named === undefined)
        mistakes.push({ origin, message: `nothing above has the anchor \`&${alias.source}\`` });
      else if (above.includes(named))
        mistakes.push({ origin, message: `\`*${alias.source}\` stands in what it names` });
    },
  });
  return mistakes;
}

class Walk implements FileContent {
  readonly entries: FileEntry[] = [];
  readonly mistakes: Mistake[] = [];
  readonly #document: Document;
  readonly #at: (place: number) => Origin;

  constructor(document: Document, at: (place: number) => Origin) {
    this.#document = document;
    this.#at = at;
  }

  section(path: string, node: unknown): void {
    const found = isAlias(node) ? node.resolve(this.#document) : node;
    if (found === null || found === undefined || (isScalar(found) && found.value === null)) return;
    if (isMap(found)) {
      for (const pair of found.items) this.#pair(path, pair);
      return;
    }
    const what = path === "" ? "the file" : `\`${path}\``;
    this.mistakes.push({
      origin: this.#placeOf(node),
      message: `${what} must be a mapping of names to values`,
    });
  }

  #pair(section: string, pair: Pair): void {
    const name = isScalar(pair.key) ? String(pair.key.value) : String(pair.key);
    const path = section === "" ? name : `${section}.${name}`;
    if (isSettingPath(path) || documentedKey(path) !== undefined) {
      // The parser refuses the same name twice; `server.port` and `port` below `server` are two to it.
      if (this.entries.some((entry) => entry.path === path))
        this.mistakes.push({ origin: this.#placeOf(pair.key), message: `\`${path}\` is given twice` });
      const origin = this.#placeOf(pair.value ?? pair.key);
      try {
        this.entries.push({ path, value: this.#valueOf(pair.value), origin });
      } catch (error) {
        // Aliases of aliases, that make a huge value of a small text.
        if (!(error instanceof ReferenceError)) throw error;
        this.mistakes.push({ origin, message: `${path}: ${error.message}` });
      }
    } else if (sections.has(path)) {
      this.section(path, pair.value);
    } else {
      this.mistakes.push({ origin: this.#placeOf(pair.key), message: unknownKey(section, name, path) });
    }
  }

  #valueOf(node: unknown): unknown {
    return isNode(node) ? node.toJS(this.#document, { maxAliasCount: 100 }) : null;
  }

  #placeOf(node: unknown): Origin {
    return this.#at(isNode(node) ? (node.range?.[0] ?? 0) : 0);
  }
}

const isNode = (node: unknown): node is Node =>
  typeof node === "object" && node !== null && "range" in node && "toJS" in node;

/** Names the nearest key: first among the names of this section, then a key of that name anywhere. */
function unknownKey(section: string, name: string, path: string): string {
  const prefix = section === "" ? "" : `${section}.`;
  const siblings = new Set(
    [...knownPaths, ...sections]
      .filter((known) => known.startsWith(prefix) && known !== section)
      .map((known) => known.slice(prefix.length).split(".")[0] ?? ""),
  );
  const sibling = nearest(name, siblings);
  const elsewhere = knownPaths.find((known) => known.split(".").at(-1) === name);
  const meant = sibling === undefined ? (elsewhere ?? nearest(path, knownPaths)) : `${prefix}${sibling}`;
  return `unknown key \`${path}\`${meant === undefined ? "" : `; did you mean \`${meant}\`?`}`;
}
