/**
 * The rules of the house as functions from source files to violations. They take text, so that each can be shown a
 * planted violation; `architecture.test.ts` gives them the real tree.
 */
import { posix } from "node:path";
import { functionsOf, type ImportFound, importsOf, lineAt, mask, namesOf } from "./source-text.js";

export const FILE_LINES_MAX = 500;
export const FUNCTION_LINES_MAX = 70;

/** Files that a person, npm or a test runner starts; nobody imports them. */
const ENTRY_POINTS = [
  /^ops\/cli\/annals\.ts$/,
  /^ops\/build\/start\.ts$/,
  /^ops\/bench\/(bench|durable-peer)\.ts$/,
  /^ops\/demo\/(demo|consumer|replication)\.ts$/,
  /^(log|projections|replication|api)\/index\.ts$/,
  /\.test\.ts$/,
  /vitest\.config\.ts$/,
  // It names them by their paths.
  /^test\/support\/(machine-watch|stood-still)\.ts$/,
];

export interface SourceFile {
  /** From the root, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

export interface Violation {
  readonly rule: string;
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

interface Room {
  /** Other rooms whose index it may import; `types` means that nothing may be left of it at run time. */
  readonly rooms: Readonly<Record<string, "values" | "types">>;
  readonly packages: readonly RegExp[];
  /** Node's own modules: all but these, or only these. */
  readonly node:
    | { readonly all: true; readonly but: readonly string[] }
    | { readonly only: readonly string[] };
}

const FILE_MODULES = ["fs", "fs/promises"];
const NETWORK_MODULES = ["net", "tls", "http", "https", "http2", "dgram", "dns"];

/** DESIGN §2, the table of arrows. */
const ROOMS: Readonly<Record<string, Room>> = {
  log: {
    rooms: {},
    packages: [/^crc(\/|$)/, /^fs-ext$/, /^rxjs$/],
    node: { all: true, but: NETWORK_MODULES },
  },
  projections: {
    rooms: { log: "values" },
    packages: [/^rxjs$/, /^@msgpack\/msgpack$/],
    node: { all: true, but: [...FILE_MODULES, ...NETWORK_MODULES] },
  },
  replication: {
    rooms: { log: "values" },
    packages: [/^rxjs$/, /^@msgpack\/msgpack$/],
    node: { only: ["net", "tls", "crypto", "events"] },
  },
  api: {
    rooms: { projections: "values", log: "types" },
    packages: [/^fastify$/, /^@fastify\//, /^@sinclair\/typebox(\/|$)/, /^rxjs$/],
    node: { all: true, but: FILE_MODULES },
  },
  ops: {
    rooms: { log: "values", projections: "values", replication: "values", api: "values" },
    packages: [/^/],
    node: { all: true, but: [] },
  },
};
/** They may look behind every index; nothing imports them. */
const OUTSIDE = new Set(["test", "props"]);

const roomOf = (path: string): string => path.split("/")[0] ?? "";
const isTest = (path: string): boolean => OUTSIDE.has(roomOf(path));

/** The file that a relative specifier names, or undefined for a package. Sources are imported with `.js` endings. */
function targetOf(path: string, specifier: string): string | undefined {
  if (!specifier.startsWith(".")) return undefined;
  return posix.join(posix.dirname(path), specifier).replace(/\.js$/, ".ts");
}

/** Which rooms and packages a room may import, and that another room is entered through its index. */
export function forbiddenArrows(files: readonly SourceFile[]): Violation[] {
  return files.flatMap((file) =>
    importsOf(file.text).flatMap((found) => {
      const message = arrowFault(file.path, found);
      return message === undefined ? [] : [{ rule: "arrows", path: file.path, line: found.line, message }];
    }),
  );
}

function arrowFault(path: string, found: ImportFound): string | undefined {
  const from = roomOf(path);
  const room = ROOMS[from];
  const target = targetOf(path, found.specifier);
  if (target !== undefined) {
    const to = roomOf(target);
    if (to === from || OUTSIDE.has(from)) return undefined;
    if (OUTSIDE.has(to)) return `${from}/ imports ${target}; nothing imports ${to}/`;
    const allowed = room?.rooms[to];
    if (allowed === undefined) return `${from}/ may not import ${to}/ (${found.specifier})`;
    if (target !== `${to}/index.ts`) return `${to}/ is entered through ${to}/index.ts, not ${target}`;
    if (allowed === "types" && !found.typeOnly)
      return `${from}/ may import only types of ${to}/ (import type)`;
    return undefined;
  }
  if (room === undefined) return undefined;
  if (found.specifier.startsWith("node:")) {
    const module = found.specifier.slice("node:".length);
    const allowed = "all" in room.node ? !room.node.but.includes(module) : room.node.only.includes(module);
    return allowed ? undefined : `${from}/ may not import ${found.specifier}`;
  }
  const known = room.packages.some((pattern) => pattern.test(found.specifier));
  return known ? undefined : `${from}/ may not import the package ${found.specifier}`;
}

/** Bytes on a disk are touched in one file, behind the interface that the simulated disk implements too. */
export function fileAccessOutsideItsFile(files: readonly SourceFile[]): Violation[] {
  return files
    .filter((file) => roomOf(file.path) === "log" && file.path !== "log/real-file-system.ts")
    .flatMap((file) =>
      importsOf(file.text)
        .filter((found) => /^(node:fs(\/promises)?|fs-ext)$/.test(found.specifier))
        .map((found) => ({
          rule: "file access",
          path: file.path,
          line: found.line,
          message: `${found.specifier} belongs to log/real-file-system.ts; take a FileSystem instead`,
        })),
    );
}

/** No file depends on itself by way of others, types included: a circle has no first thing to read. */
export function circles(files: readonly SourceFile[]): Violation[] {
  const edges = new Map(files.map((file) => [file.path, importedPaths(file)]));
  const done = new Set<string>();
  const found: string[][] = [];
  const visit = (path: string, trail: readonly string[]): void => {
    if (done.has(path)) return;
    if (trail.includes(path)) {
      found.push(trail.slice(trail.indexOf(path)));
      return;
    }
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const file of files) visit(file.path, []);
  return shortestOnly(found).map((circle) => ({
    rule: "circles",
    path: circle[0] ?? "",
    line: 1,
    message: `a circle: ${[...circle, circle[0]].join(" → ")}`,
  }));
}

/** One bad import closes many circles; the short ones name it. */
function shortestOnly(found: readonly string[][]): string[][] {
  const told = new Set<string>();
  return [...found]
    .sort((a, b) => a.length - b.length)
    .filter((circle) => {
      const isNew = !circle.some((path) => told.has(path));
      if (isNew) for (const path of circle) told.add(path);
      return isNew;
    });
}

function importedPaths(file: SourceFile): string[] {
  return importsOf(file.text).flatMap((found) => targetOf(file.path, found.specifier) ?? []);
}

/** Product code that only a test imports is as dead as code that nobody does. */
export function orphans(files: readonly SourceFile[]): Violation[] {
  const byProduct = new Set(files.filter((file) => !isTest(file.path)).flatMap(importedPaths));
  const byAnyone = new Set(files.flatMap(importedPaths));
  return files
    .filter((file) => !ENTRY_POINTS.some((pattern) => pattern.test(file.path)))
    .filter((file) => !(isTest(file.path) ? byAnyone : byProduct).has(file.path))
    .map((file) => ({
      rule: "orphans",
      path: file.path,
      line: 1,
      message: byAnyone.has(file.path)
        ? "only tests import this file"
        : "nobody imports this file and it is no entry point",
    }));
}

export function brokenImports(files: readonly SourceFile[]): Violation[] {
  const known = new Set(files.map((file) => file.path));
  return files.flatMap((file) =>
    importsOf(file.text).flatMap((found) => {
      const target = targetOf(file.path, found.specifier);
      // What is built is started by its path, not imported.
      if (target === undefined || !target.endsWith(".ts") || target.startsWith("dist/") || known.has(target))
        return [];
      return [{ rule: "imports", path: file.path, line: found.line, message: `no file ${target}` }];
    }),
  );
}

export function tooLong(files: readonly SourceFile[]): Violation[] {
  return files.flatMap((file) => {
    const lines = file.text.split("\n").length - (file.text.endsWith("\n") ? 1 : 0);
    const whole =
      lines > FILE_LINES_MAX
        ? [{ rule: "size", path: file.path, line: 1, message: `${lines} lines, more than ${FILE_LINES_MAX}` }]
        : [];
    // A describe block is a chapter, not a function.
    if (isTest(file.path)) return whole;
    const functions = functionsOf(file.text)
      .filter((found) => found.lines > FUNCTION_LINES_MAX)
      .map((found) => ({
        rule: "size",
        path: file.path,
        line: found.line,
        message: `${found.name} has ${found.lines} lines, more than ${FUNCTION_LINES_MAX}`,
      }));
    return [...whole, ...functions];
  });
}

const EMPTY_WORD = /Manager|Helper|Util(?:s|ity|ities)?(?![a-z])|^(?:manager|helpers?|utils?)$/;
const EMPTY_FILE_WORD = /(?:^|[-.])(?:managers?|helpers?|utils?|utilities|misc|common)(?=[-.]|$)/;

/** Words that say nothing about what a thing does (STYLE, "Words"). */
export function emptyWords(files: readonly SourceFile[]): Violation[] {
  return files.flatMap((file) => {
    const violations: Violation[] = namesOf(file.text)
      .filter(({ kind, name }) => {
        if (EMPTY_WORD.test(name)) return true;
        if (kind === "function") return name === "process" || name === "handle";
        return ["class", "interface", "type"].includes(kind) && /(?:Data|Info)$/.test(name);
      })
      .map(({ kind, name, line }) => ({
        rule: "words",
        path: file.path,
        line,
        message: `${kind} ${name}: say what it is or does (no Manager, Helper, Util, Data, Info, bare process or handle)`,
      }));
    const fileName = posix.basename(file.path, ".ts");
    if (EMPTY_FILE_WORD.test(fileName)) {
      violations.push({
        rule: "words",
        path: file.path,
        line: 1,
        message: `a file named ${fileName} says nothing`,
      });
    }
    return violations;
  });
}

const CLOCKS =
  /\b(?:Date\s*\.\s*now|new\s+Date\b(?!\s*\(\s*[^)\s])|Math\s*\.\s*random|process\s*\.\s*hrtime|performance\s*\.\s*now|crypto\s*\.\s*(?:random\w+|getRandomValues))/g;
const DICE_OF_NODE = /\b(?:random\w+|getRandomValues|webcrypto)\b/;

/**
 * Below the API nobody reads a clock or draws a number: they come in, so that two replays agree and a simulated world
 * can hold both in its hand. `allowed` maps a path to the one thing it may read, and why.
 */
export function clocksAndDice(
  files: readonly SourceFile[],
  allowed: Readonly<Record<string, { readonly reads: string; readonly because: string }>> = {},
): Violation[] {
  return files
    .filter((file) => ["log", "projections"].includes(roomOf(file.path)))
    .flatMap((file) => {
      const masked = mask(file.text);
      const calls = [...masked.matchAll(CLOCKS)].map((match) => ({
        reads: match[0].replace(/\s+/g, " "),
        line: lineAt(masked, match.index),
      }));
      const imports = importsOf(file.text, masked)
        .filter((found) => /^node:(crypto|perf_hooks)$/.test(found.specifier) && !found.typeOnly)
        .flatMap(({ names, line }) => {
          const reads = DICE_OF_NODE.exec(names)?.[0] ?? /\bperformance\b/.exec(names)?.[0];
          return reads === undefined ? [] : [{ reads, line }];
        });
      return [...calls, ...imports]
        .filter(({ reads }) => allowed[file.path]?.reads !== reads)
        .map(({ reads, line }) => ({
          rule: "clock and randomness",
          path: file.path,
          line,
          message: `${reads} is read here; take it as a parameter`,
        }));
    });
}

/** All of them, for the real tree. */
export function allViolations(
  files: readonly SourceFile[],
  allowedClocks: Parameters<typeof clocksAndDice>[1] = {},
): Violation[] {
  return [
    ...forbiddenArrows(files),
    ...fileAccessOutsideItsFile(files),
    ...brokenImports(files),
    ...circles(files),
    ...orphans(files),
    ...tooLong(files),
    ...emptyWords(files),
    ...clocksAndDice(files, allowedClocks),
  ];
}

export function describeViolation(violation: Violation): string {
  return `${violation.path}:${violation.line} [${violation.rule}] ${violation.message}`;
}
