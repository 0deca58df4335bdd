/**
 * Tests load what they test as Node loads it: each source compiled by itself, and an import is a binding. Through vitest's own loader it is
 * a getter asked at every use (two or three in a row behind an index, and a proxy for what is Node's own), and every worker has the sources
 * compiled again. The test files themselves still come through it.
 */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { transformSync } from "rolldown/utils";
import type { Plugin } from "vitest/config";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const COMPILED = join(ROOT, ".compiled");
const ROOMS = ["log", "projections", "replication", "api", "ops", "test", "props"];

const compiledName = (source: string): string => source.replace(/\.ts$/, ".js");

export function compiledSources(): Plugin {
  const compiled = compileAll();
  return {
    name: "compiled-sources",
    enforce: "pre",
    config: () => ({ test: { server: { deps: { external: [/\/\.compiled\//] } } } }),
    resolveId(specifier, importer) {
      if (importer === undefined || !specifier.startsWith(".")) return undefined;
      const name = relative(ROOT, join(dirname(importer), specifier));
      return compiled.has(name) ? join(COMPILED, name) : undefined;
    },
  };
}

/** Compiles every source that is no test; returns the names of what came of them, from the root. */
function compileAll(): ReadonlySet<string> {
  const sources = ROOMS.flatMap((room) => filesIn(ROOT, room)).filter((name) =>
    /(?<!\.test)\.ts$/.test(name),
  );
  const compiled = new Set(sources.map(compiledName));
  for (const name of filesIn(COMPILED, "")) if (!compiled.has(name)) rmSync(join(COMPILED, name));
  for (const source of sources) writeIfChanged(join(COMPILED, compiledName(source)), compile(source));
  return compiled;
}

function compile(source: string): string {
  const path = join(ROOT, source);
  const { code, map, errors } = transformSync(path, readFileSync(path, "utf8"), {
    tsconfig: false,
    target: "es2023",
    sourcemap: true,
    typescript: { onlyRemoveTypeImports: true },
  });
  if (errors[0] !== undefined) throw errors[0];
  // A module that asks where it lies lies where its source does.
  const place = JSON.stringify(pathToFileURL(compiledName(path)).href);
  const mapped = Buffer.from(JSON.stringify(map)).toString("base64");
  return `${code.replaceAll("import.meta.url", place)}\n//# sourceMappingURL=data:application/json;base64,${mapped}\n`;
}

/** Another run may be reading what this one would write once more. */
function writeIfChanged(path: string, text: string): void {
  try {
    if (readFileSync(path, "utf8") === text) return;
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
    mkdirSync(dirname(path), { recursive: true });
  }
  writeFileSync(path, text);
}

/** Their names from the root. */
function filesIn(root: string, directory: string): string[] {
  try {
    return readdirSync(join(root, directory), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(root, join(entry.parentPath, entry.name)));
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return [];
    throw error;
  }
}
