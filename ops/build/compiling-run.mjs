// Runs the built program, `node compiling-run.mjs DIST ARGUMENTS`, and keeps what V8 has compiled by its end.
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [dist, ...args] = process.argv.slice(2);
const { Program } = await import(pathToFileURL(join(dist, "ops/parts/start.js")));
process.argv = [process.execPath, join(dist, "ops/cli/annals.js"), ...args];
const program = new Program(join(dist, "ops/parts/annals.js"));
process.on("exit", () => program.keepCompiled());
program.start();
