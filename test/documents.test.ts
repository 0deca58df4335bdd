// The documents say what is there: every relative link and anchor leads somewhere, nothing refers to a line number or to
// one person's machine, and the README begins with the two commands that set everything up.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import {
  anchorsOf,
  brokenLinks,
  lineReferences,
  linksOf,
  type MarkdownFile,
  raggedRows,
  withoutCode,
} from "./support/documents.js";

const root = fileURLToPath(new URL("../", import.meta.url));
const NOT_OURS = /^(node_modules|dist|data|coverage|bench-results|\.compiled|\.git)(\/|$)/;

function filesBelowRoot(endings: RegExp): MarkdownFile[] {
  const top = readdirSync(root, { withFileTypes: true }).filter((entry) => !NOT_OURS.test(entry.name));
  const paths = top.flatMap((entry) =>
    entry.isDirectory()
      ? readdirSync(`${root}${entry.name}`, { recursive: true, encoding: "utf8" }).map(
          (path) => `${entry.name}/${path.replaceAll("\\", "/")}`,
        )
      : [entry.name],
  );
  return paths
    .filter((path) => endings.test(path))
    .map((path) => ({ path, text: readFileSync(`${root}${path}`, "utf8") }));
}

const exists = (path: string): boolean => existsSync(`${root}${path}`);
const read = (path: string): string => readFileSync(`${root}${path}`, "utf8");

// Put together, so that this file passes its own rule.
const MACHINE_PATHS = new RegExp(
  ["work", "home", "Users", "root"].map((name) => `(?<![\\w.*}])/${name}/[\\w.]`).join("|"),
  "g",
);

describe("documents", () => {
  const documents = filesBelowRoot(/\.md$/);

  it("the root documents are there", () => {
    const names = documents.map((each) => each.path);
    expect(names).toEqual(
      expect.arrayContaining([
        "README.md",
        "ARCHITECTURE.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "log/README.md",
      ]),
    );
  });

  it("every relative link and anchor leads somewhere", () => {
    expect(documents.flatMap((each) => brokenLinks(each, exists, read))).toEqual([]);
    expect(documents.flatMap((each) => linksOf(each.text)).length).toBeGreaterThan(5);
  });

  it("every row of a table has as many cells as its head", () => {
    expect(documents.flatMap(raggedRows)).toEqual([]);
  });

  it("nothing refers to a line by its number", () => {
    expect(documents.flatMap(lineReferences)).toEqual([]);
  });

  it("nothing mentions a path of somebody's machine", () => {
    const texts = filesBelowRoot(/\.(md|ts|mjs|json|ya?ml|sh|lua|service|conf)$|^\.ci\/run$/);
    const found = texts
      .filter((each) => each.path !== "package-lock.json")
      .flatMap((each) => [...each.text.matchAll(MACHINE_PATHS)].map((match) => `${each.path}: ${match[0]}`));
    expect(found).toEqual([]);
  });
});

describe("README", () => {
  const readme = read("README.md");

  it("shows exactly the two set-up commands, each as a block to copy", () => {
    const blocks = [...readme.matchAll(/```(?:sh|bash|console)?\n([\s\S]*?)```/g)].map((match) =>
      match[1]?.trim(),
    );
    const setUp = blocks.filter((block) => /\bnpm (ci|i|install)\b/.test(block ?? ""));
    expect(setUp).toEqual(["npm ci && npm start", "npm ci && npm test"]);
  });

  it("is shorter than 150 lines", () => {
    expect(readme.split("\n").length).toBeLessThan(150);
  });
});

describe("planted mistakes in documents", () => {
  const plant = (text: string): MarkdownFile => ({ path: "ops/docs/a.md", text });
  const known: Record<string, string> = { "README.md": "# Title\n## A *b* `c`, d!\n## Same\n## Same\n" };
  const broken = (text: string): string[] =>
    brokenLinks(
      plant(text),
      (path) => path in known || path === "log",
      (path) => known[path] ?? "",
    );

  it("a dead link is found, however it is written", () => {
    expect(broken("[a](../../gone.md)")).toEqual(["ops/docs/a.md:1 ../../gone.md: no such file"]);
    expect(broken("x\n\n[a]: b.md\n")).toEqual(["ops/docs/a.md:3 b.md: no such file"]);
    expect(broken('<img src="a.svg">')).toHaveLength(1);
    expect(broken("[a](/README.md)")).toHaveLength(1);
    expect(broken("[a](../../../shared/x.md)")).toEqual([
      expect.stringContaining("leads out of the repository"),
    ]);
  });

  it("a dead anchor is found", () => {
    expect(broken("[a](../../README.md#gone)")).toEqual([expect.stringContaining("no such heading")]);
    expect(broken("# Here\n[a](#here) [b](#there)")).toEqual([
      expect.stringContaining("#there: no such heading"),
    ]);
  });

  it("a row that got into another table is found, a bar in code or behind a backslash is none", () => {
    const table = "| a | b |\n|---|---|\n";
    expect(raggedRows(plant(`${table}| 1 | \`x|y\` |\n| 2 | x\\|y |\n`))).toEqual([]);
    expect(raggedRows(plant(`${table}| 1 | 2 |\n| 1 | 2 | 3 |\n\n| 1 |\n`))).toEqual([
      "ops/docs/a.md:4: 3 cells in a table of 2",
    ]);
  });

  it("what leads somewhere passes", () => {
    expect(
      broken("[a](../../README.md#a-b-c-d) [b](../../README.md#same-1) [c](../../log) [d](https://x.y/z)"),
    ).toEqual([]);
    expect(broken("```\n[a](gone.md)\n```\n`[a](gone.md)`")).toEqual([]);
    expect([...anchorsOf("```\n# no\n```\n# Yes, it is")]).toEqual(["yes-it-is"]);
    expect(withoutCode("a `b` c\n~~~\nd\n~~~\ne").split("\n")).toEqual(["a     c", "", "", "", "e"]);
  });

  it("a line number is found, a time or an address is not", () => {
    for (const text of ["see log/format.ts:12", "see `log/tail.ts#L4`", "lines 3-9 of the file", "at #L77"]) {
      expect(lineReferences(plant(text)), text).toHaveLength(1);
    }
    expect(lineReferences(plant("127.0.0.1:15500, at 12:30, config.yaml:3:5, in 12 lines"))).toEqual([]);
  });

  it("a path of a machine is found", () => {
    const path = (name: string): string => `see ${["", name, "someone"].join("/")}/x`;
    for (const name of ["home", "Users", "root", "work"])
      expect(path(name).match(MACHINE_PATHS), name).toHaveLength(1);
    for (const fine of ["network/x", "$HOME/x", "/var/lib/annals", "https://a.b/home"]) {
      expect(fine.match(MACHINE_PATHS), fine).toBeNull();
    }
  });
});
