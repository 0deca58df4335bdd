// The rules of the house (DESIGN §2, STYLE), held against every source file; and each rule against a planted violation,
// because a checker that never bites is worse than none.
import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import {
  allViolations,
  brokenImports,
  circles,
  clocksAndDice,
  describeViolation,
  emptyWords,
  FILE_LINES_MAX,
  FUNCTION_LINES_MAX,
  fileAccessOutsideItsFile,
  forbiddenArrows,
  orphans,
  type SourceFile,
  tooLong,
  type Violation,
} from "./support/architecture-rules.js";
import { functionsOf, importsOf, mask, namesOf } from "./support/source-text.js";

const ROOMS = ["log", "projections", "replication", "api", "ops", "test", "props"];
const root = fileURLToPath(new URL("../", import.meta.url));

/** Files that may read a clock below the API, each with what and why. */
const ALLOWED_CLOCKS: Parameters<typeof clocksAndDice>[1] = {};

function sourceTree(): SourceFile[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(".ts") && !entry.name.endsWith(".d.ts"))
    .map((entry) => `${entry.parentPath}/${entry.name}`.slice(root.length).replace(/^\//, ""))
    .filter((path) => ROOMS.includes(path.split("/")[0] ?? ""))
    .map((path) => ({ path, text: readFileSync(`${root}${path}`, "utf8") }));
}

const file = (path: string, ...lines: string[]): SourceFile => ({ path, text: `${lines.join("\n")}\n` });
const messages = (violations: readonly Violation[]): string[] => violations.map(describeViolation);

describe("architecture", () => {
  it("holds in every source file", () => {
    const files = sourceTree();
    expect(files.length).toBeGreaterThan(15);
    expect(messages(allViolations(files, ALLOWED_CLOCKS))).toEqual([]);
  });

  it("the top level holds the rooms and the root documents, nothing else", () => {
    const known = [
      ...ROOMS,
      ...[
        "node_modules",
        "dist",
        "package.json",
        "package-lock.json",
        "tsconfig.json",
        "biome.json",
        "LICENSE",
      ],
      ...[
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "data",
        "coverage",
      ],
      "bench-results",
    ];
    const found = readdirSync(root).filter((name) => !name.startsWith("."));
    expect(found.filter((name) => !known.includes(name))).toEqual([]);
  });
});

describe("a forbidden arrow", () => {
  const arrows: [name: string, path: string, line: string, says: string][] = [
    [
      "up from the log",
      "log/a.ts",
      'import { kv } from "../projections/index.js";',
      "may not import projections/",
    ],
    [
      "from projections to api",
      "projections/a.ts",
      'import { x } from "../api/index.js";',
      "may not import api/",
    ],
    [
      "between the two doors",
      "api/a.ts",
      'import type { R } from "../replication/index.js";',
      "may not import replication/",
    ],
    [
      "from replication to meaning",
      "replication/a.ts",
      'import { kv } from "../projections/index.js";',
      "may not import projections/",
    ],
    ["into a test", "ops/a.ts", 'import { x } from "../test/support/a.js";', "nothing imports test/"],
    ["past an index", "projections/a.ts", 'import { x } from "../log/format.js";', "through log/index.ts"],
    ["past an index, by export", "ops/a.ts", 'export * from "../api/server.js";', "through api/index.ts"],
    [
      "past an index, dynamically",
      "ops/a.ts",
      'const x = await import("../api/server.js");',
      "through api/index.ts",
    ],
    [
      "of a value where types are allowed",
      "api/a.ts",
      'import { LogError } from "../log/index.js";',
      "only types of log/",
    ],
    [
      "of a mixed import where types are allowed",
      "api/a.ts",
      'import { type A, b } from "../log/index.js";',
      "only types of log/",
    ],
    [
      "to a foreign package",
      "log/a.ts",
      'import fastify from "fastify";',
      "may not import the package fastify",
    ],
    [
      "to a package that only looks allowed",
      "log/a.ts",
      'import x from "crc-32";',
      "may not import the package crc-32",
    ],
    [
      "to the disk from projections",
      "projections/a.ts",
      'import { readFile } from "node:fs/promises";',
      "may not import node:fs/promises",
    ],
    ["to the disk from api", "api/a.ts", 'import { readFileSync } from "node:fs";', "may not import node:fs"],
    ["to the network from the log", "log/a.ts", 'import net from "node:net";', "may not import node:net"],
  ];
  for (const [name, path, line, says] of arrows) {
    it(`${name} is found`, () => {
      expect(messages(forbiddenArrows([file(path, "// a file", line)]))).toEqual([
        expect.stringMatching(new RegExp(`^${path}:2 .*${says}`)),
      ]);
    });
  }

  it("is not seen where there is none", () => {
    const fine = [
      file("projections/a.ts", 'import { LogError } from "../log/index.js";', 'import { map } from "rxjs";'),
      file("projections/kv/b.ts", 'import type { Offset } from "../../log/index.js";'),
      file(
        "api/a.ts",
        'import { type A, type B } from "../log/index.js";',
        'import cors from "@fastify/cors";',
      ),
      file("api/b.ts", 'let x: import("../log/index.js").Offset;'),
      file(
        "ops/main.ts",
        'import { buildServer } from "../api/index.js";',
        'import { openSync } from "node:fs";',
      ),
      file("test/log/a.test.ts", 'import { decode } from "../../log/format.js";'),
      file(
        "log/a.ts",
        '// import { kv } from "../projections/index.js";',
        'const s = `import x from "fastify"`;',
      ),
    ];
    expect(messages(forbiddenArrows(fine))).toEqual([]);
  });
});

describe("other planted violations", () => {
  it("the file system outside its file is found, in the log only", () => {
    const line = 'import { open } from "node:fs/promises";';
    const files = [
      file("log/segment-writer.ts", line),
      file("log/space.ts", 'import { statVFS } from "fs-ext";'),
      file("log/real-file-system.ts", line),
      file("ops/cli/import.ts", line),
    ];
    expect(fileAccessOutsideItsFile(files).map((found) => found.path)).toEqual([
      "log/segment-writer.ts",
      "log/space.ts",
    ]);
  });

  it("a circle is found, by types too", () => {
    const files = [
      file("log/a.ts", 'import { b } from "./b.js";'),
      file("log/b.ts", 'import type { C } from "./deep/c.js";'),
      file("log/deep/c.ts", 'export { a } from "../a.js";'),
      file("log/d.ts", 'import { a } from "./a.js";'),
    ];
    expect(messages(circles(files))).toEqual([
      expect.stringContaining("log/a.ts → log/b.ts → log/deep/c.ts → log/a.ts"),
    ]);
  });

  it("a file that nobody imports is found, and one that only tests import", () => {
    const files = [
      file(
        "log/index.ts",
        'export * from "./used.js";',
        'const w = new URL("./worker.js", import.meta.url);',
      ),
      file("log/used.ts", ""),
      file("log/worker.ts", ""),
      file("log/lonely.ts", ""),
      file("log/tested.ts", ""),
      file("test/log/tested.test.ts", 'import "../../log/tested.js";', 'import "../support/double.js";'),
      file("test/support/double.ts", ""),
      file("test/support/left-over.ts", ""),
    ];
    expect(
      orphans(files).map((found) => `${found.path}: ${found.message.split(" ").slice(0, 2).join(" ")}`),
    ).toEqual([
      "log/lonely.ts: nobody imports",
      "log/tested.ts: only tests",
      "test/support/left-over.ts: nobody imports",
    ]);
  });

  it("an import of a file that is not there is found", () => {
    expect(messages(brokenImports([file("log/a.ts", 'import "./gone.js";')]))).toEqual([
      "log/a.ts:1 [imports] no file log/gone.ts",
    ]);
  });

  it("a file past the limit is found, one at the limit is not", () => {
    const lines = (count: number): string[] =>
      Array.from({ length: count }, (_, at) => `const a${at} = ${at};`);
    const files = [
      file("log/at.ts", ...lines(FILE_LINES_MAX)),
      file("test/past.test.ts", ...lines(FILE_LINES_MAX + 1)),
    ];
    expect(tooLong(files).map((found) => found.path)).toEqual(["test/past.test.ts"]);
  });

  const shapes: [name: string, open: string, close: string][] = [
    ["a function", "export async function long(a: number): Promise<void> {", "}"],
    ["a method", "class A {\n  async long<T extends { a: 1 }>(a: T): Promise<{ b: T }[]> {", "  }\n}"],
    ["a private method", "class A {\n  #long() {", "  }\n}"],
    ["an arrow function", "const long = (a: number): { a: number } | undefined => {", "};"],
    ["a type guard", "function long(a: unknown): a is { b: 1 } {", "}"],
    ["a callback", "run((a) => {", "});"],
  ];
  for (const [name, open, close] of shapes) {
    it(`${name} past the limit is found, one at the limit is not`, () => {
      const body = (count: number): string[] =>
        // biome-ignore lint/suspicious/noTemplateCurlyInString: source text
        Array.from({ length: count }, () => "  if (a) { b({ c: `}${d}` }); }");
      const at = file("log/at.ts", open, ...body(FUNCTION_LINES_MAX - 2), close);
      const past = file("log/past.ts", open, ...body(FUNCTION_LINES_MAX - 1), close);
      expect(messages(tooLong([at, past]))).toEqual([
        expect.stringMatching(/past\.ts:.* has 71 lines, more than 70/),
      ]);
    });
  }

  it("a long function in a test is nobody's business", () => {
    const text = file(
      "test/a.test.ts",
      "describe(() => {",
      ...Array.from({ length: 100 }, () => "  it();"),
      "});",
    );
    expect(tooLong([text])).toEqual([]);
  });

  it("a word that says nothing is found in names and file names, not in comments or text", () => {
    const bad = [
      ["class SegmentManager {}", "SegmentManager"],
      ["export function parseHelper() {}", "parseHelper"],
      ["const stringUtils = 1;", "stringUtils"],
      ["export interface KeyInfo {}", "KeyInfo"],
      ["type RecordData = string;", "RecordData"],
      ["function handle() {}", "handle"],
      ["async function process() {}", "process"],
    ];
    for (const [line, name] of bad) {
      expect(messages(emptyWords([file("log/a.ts", line ?? "")]))).toEqual([
        expect.stringContaining(name ?? ""),
      ]);
    }
    expect(emptyWords([file("ops/string-utils.ts", "")])).toHaveLength(1);
    const fine = file(
      "log/a.ts",
      "// a Manager of Helpers",
      'const text = "RecordData Utils";',
      "const handle = await files.open();",
      "class DataDirectory {}",
      "type Utilisation = number;",
      "const dataInfoless = 1;",
    );
    expect(messages(emptyWords([fine]))).toEqual([]);
  });

  it("a clock or a die below the API is found", () => {
    const bad = [
      "const t = Date.now();",
      "const t = new Date();",
      "const t = new Date;",
      "const r = Math.random();",
      "const t = process.hrtime.bigint();",
      "const t = performance.now();",
      "const id = crypto.randomUUID();",
      'import { createHash, randomBytes } from "node:crypto";',
      'import { performance } from "node:perf_hooks";',
    ];
    for (const line of bad) {
      expect(clocksAndDice([file("log/a.ts", line)]), line).toHaveLength(1);
      expect(clocksAndDice([file("projections/kv/a.ts", line)]), line).toHaveLength(1);
      expect(clocksAndDice([file("ops/a.ts", line)]), line).toHaveLength(0);
    }
    const fine = file(
      "log/a.ts",
      "// never Date.now() here",
      "const t = options.now();",
      "const text = new Date(t).toISOString();",
      "const id = options.randomBytes(16);",
      "function idFrom(randomBytes: (count: number) => Uint8Array) { return randomBytes(16); }",
      'import { createHash } from "node:crypto";',
    );
    expect(messages(clocksAndDice([fine]))).toEqual([]);
    const measured = file("log/queue.ts", "const t = performance.now();", "const d = Date.now();");
    const allowed = { "log/queue.ts": { reads: "performance.now", because: "durations only" } };
    expect(messages(clocksAndDice([measured], allowed))).toEqual([expect.stringContaining("Date.now")]);
  });
});

describe("reading source text", () => {
  it("masks comments, strings, templates and regular expressions, and nothing else", () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: source text
    const source = 'a = "x{"; // {\nb = `{${c + `}${d}`}{`; /* { */ e = /[/{]"/g; f = g / h / i;';
    // biome-ignore lint/suspicious/noTemplateCurlyInString: source text
    expect(mask(source)).toBe('a = "  ";     \nb = ` ${c + ` ${d}`} `;         e = /     /g; f = g / h / i;');
    expect(mask(source)).toHaveLength(source.length);
  });

  it("finds every form of import", () => {
    const source = [
      'import a from "a";',
      'import type { B } from "b";',
      "import {\n  type C,\n  type D,\n} from 'c';",
      'import "d";',
      'export * from "e";',
      'export type * from "f";',
      'const g = await import("g");',
      'type H = import("h").H;',
      'new URL("./i.js", import.meta.url);',
      'new URL("../j.json", import.meta.url);',
    ].join("\n");
    const found = importsOf(source).map((each) => `${each.specifier}${each.typeOnly ? " (type)" : ""}`);
    expect(found.sort()).toEqual([
      "./i.js",
      "a",
      "b (type)",
      "c (type)",
      "d",
      "e",
      "f (type)",
      "g",
      "h (type)",
    ]);
  });

  it("finds functions and names, and takes no call, branch or signature for one", () => {
    const source = [
      "interface A { b(c: number): { d: string }; }",
      "function e(f = () => { return 1; }): asserts f is () => void { if (f) { g(); } }",
      "const h = async <T>(i: T): Promise<T> => { for (;;) { j(); } };",
      "switch (k) { case (l): { break; } }",
      "const m = n ? o(p) : { q: 1 };",
    ].join("\n");
    expect(
      functionsOf(source)
        .map((found) => found.name)
        .sort(),
    ).toEqual(["e", "f", "h"]);
    expect(namesOf("type = 1; type X<T> = T; class Y {}").map((found) => found.name)).toEqual(["X", "Y"]);
  });
});
