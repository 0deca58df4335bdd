// Builds dist/ from the sources: the program and what it depends on, bundled into few files. Loading 900 modules took most of
// a start; a bundle of the same code takes half a start and a third of a short command.
// A clean emit, so that a file removed from the sources is gone from the package too.
import { chmodSync, existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { rolldown } from "rolldown";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** What is started by its path: programs, threads, and the processes that bench and demo start. */
const entries = [
  "ops/cli/annals",
  "ops/state/worker",
  "ops/backup/archive-worker",
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

async function build() {
  rmSync(join(root, "dist"), { recursive: true, force: true });
  const bundle = await rolldown({
    cwd: root,
    input: Object.fromEntries(entries.map((entry) => [entry, `${entry}.ts`])),
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
  const { output } = await bundle.write({
    dir: join(root, "dist"),
    format: "esm",
    sourcemap: true,
    entryFileNames: "[name].js",
    chunkFileNames: "ops/parts/[name].js",
  });
  await bundle.close();
  return output.filter((file) => file.type === "chunk");
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

const chunks = await build();
const misplaced = chunks.find(({ fileName }) => dirname(dirname(dirname(fileName))) !== ".");
if (misplaced !== undefined) throw new Error(`${misplaced.fileName} does not lie two directories deep`);
writeFileSync(join(root, "dist/LICENSES.txt"), licences(chunks).join(`\n${"-".repeat(80)}\n\n`));
const cli = join(root, "dist/ops/cli/annals.js");
if (existsSync(cli)) chmodSync(cli, 0o755);
