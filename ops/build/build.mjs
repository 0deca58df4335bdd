// Builds dist/ from the sources: the program and what it depends on, bundled into few files. Loading 900 modules took most of
// a start; a bundle of the same code takes half a start and a third of a short command. Compiling it took half of what was left, so
// the program comes compiled.
// A clean emit, so that a file removed from the sources is gone from the package too.
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";
import { compile } from "./compile.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** The modules of the program, in dist/. */
const PARTS = "ops/parts";

/** The program and its threads. */
const programs = ["ops/cli/annals", "ops/state/worker", "ops/backup/archive-worker"];
/** What else is started by its path: bench, demo, and the processes of both. */
const tools = [
  "ops/bench/bench",
  "ops/bench/durable-peer",
  "ops/demo/demo",
  "ops/demo/consumer",
  "ops/demo/replication",
];

/**
 * Left in node_modules: a native addon, a page that reads its own files, and what Fastify would ask for if a route had a schema of its
 * own or a request came from inside.
 */
const external = [
  /^node:/,
  "fs-ext",
  "@fastify/swagger-ui",
  "@fastify/ajv-compiler",
  "@fastify/fast-json-stringify-compiler",
  "light-my-request",
];

/**
 * A module that asks where it lies (to start a thread, to find package.json) gets the answer that its source would get. For that every
 * file of dist/ lies two directories deep, the entries as in the sources.
 */
const ownPlaces = {
  name: "own-places",
  transform(code, id) {
    if (!id.startsWith(root) || id.includes("/node_modules/") || !code.includes("import.meta.url"))
      return undefined;
    const place = `../../${relative(root, id).replace(/\.ts$/, ".js")}`;
    const own = `new URL(${JSON.stringify(place)}, import.meta.url).href`;
    // No map: each line stays that line.
    return { code: code.replaceAll("import.meta.url", own), map: null };
  },
};

/** Bundles what the entries (a name in dist/ of each, and its source) need. */
async function build(input, output) {
  const bundle = await rolldown({
    cwd: root,
    input,
    platform: "node",
    external,
    plugins: [ownPlaces],
    tsconfig: false,
    // The same code in modules of its own: what nobody asks for stays out.
    resolve: { alias: { rxjs: join(root, "node_modules/rxjs/dist/esm/index.js") } },
    onLog(_level, log) {
      throw new Error(`${log.code}: ${log.message}`);
    },
  });
  const { output: files } = await bundle.write({
    dir: join(root, "dist"),
    format: "cjs",
    sourcemap: true,
    entryFileNames: "[name].js",
    ...output,
  });
  await bundle.close();
  return files.filter((file) => file.type === "chunk");
}

/** Starts the program from where its source would lie. */
function writeEntry(program) {
  const file = join(root, `dist/${program}.js`);
  mkdirSync(dirname(file), { recursive: true });
  const parts = relative(dirname(program), PARTS);
  const text = `#!/usr/bin/env node
"use strict";
const { Program } = require("${parts}/start.js");
new Program(require.resolve("${parts}/${basename(program)}.js")).start();
`;
  writeFileSync(file, text);
  chmodSync(file, 0o755);
}

/** The terms of the packages whose code is in the bundle ask to go with it. */
function licences(chunks) {
  const modules = chunks.flatMap(({ moduleIds }) => moduleIds);
  const packages = new Set(modules.flatMap((id) => packageDirectory(id) ?? []));
  return [...packages].sort().map((directory) => {
    const { name, version, license } = JSON.parse(readFileSync(join(directory, "package.json"), "utf8"));
    const file = readdirSync(directory).find((each) => /^licen[cs]e/i.test(each));
    const terms = file === undefined ? "" : `\n${readFileSync(join(directory, file), "utf8").trim()}\n`;
    return `${name} ${version} (${license})\n${terms}`;
  });
}

function packageDirectory(id) {
  return /^.*\/node_modules\/(?:@[^/]+\/)?[^/]+/.exec(id)?.[0];
}

rmSync(join(root, "dist"), { recursive: true, force: true });
const named = (source) => [`${PARTS}/${basename(source)}`, `${source}.ts`];
const chunks = [
  ...(await build(Object.fromEntries([...programs, "ops/build/start"].map(named)), {
    // Compiled code cannot wait for what is not in it.
    dynamicImportInCjs: false,
    chunkFileNames: `${PARTS}/[name].js`,
  })),
  ...(await build(Object.fromEntries(tools.map((tool) => [tool, `${tool}.ts`])), {
    chunkFileNames: "ops/tools/[name].js",
  })),
];
const misplaced = chunks.find(({ fileName }) => dirname(dirname(dirname(fileName))) !== ".");
if (misplaced !== undefined) throw new Error(`${misplaced.fileName} does not lie two directories deep`);
writeFileSync(join(root, "dist/LICENSES.txt"), licences(chunks).join(`\n${"-".repeat(80)}\n\n`));
writeFileSync(join(root, "dist/package.json"), '{ "type": "commonjs" }\n');
for (const program of programs) writeEntry(program);
await compile(join(root, "dist"));
