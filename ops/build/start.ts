/**
 * How the built programs start: loads the bundled modules with the code that V8 compiled of them when they were built, for compiling was half of a
 * server's start. Such code fits one release of Node and its flags for V8; under any other the modules are compiled as ever.
 *
 * The modules are CommonJS, because Node 20 takes compiled code for scripts only. V8 knows its code by the length of the source alone and
 * believes every byte of it, so a checksum of both stands before it: other code than that of the module is never run.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, resolve } from "node:path";
import { Script } from "node:vm";
import * as zlib from "node:zlib";

type Require = (path: string) => unknown;
type Body = (exports: object, require: Require, module: object, file: string, directory: string) => void;

interface LoadedModule {
  readonly module: { exports: object };
  readonly script: Script;
}

/** Of the source, and of what was compiled of it; CRC-32, little-endian. */
const CHECKSUM_BYTES = 8;
const OPENING = "(function (exports, require, module, __filename, __dirname) { ";
const CLOSING = "\n});";

/** The program that begins with a module. */
export class Program {
  readonly #file: string;
  readonly #loaded = new Map<string, LoadedModule>();

  constructor(file: string) {
    this.#file = file;
  }

  start(): void {
    // Only Node's own loader reads source maps.
    if (process.sourceMapsEnabled) createRequire(this.#file)(this.#file);
    else this.#load(this.#file);
  }

  /** Keeps beside each module what V8 has compiled of it, before or now. */
  keepCompiled(): void {
    for (const [file, { script }] of this.#loaded) {
      const code = script.createCachedData();
      const checksums = Buffer.alloc(CHECKSUM_BYTES);
      checksums.writeUInt32LE(zlib.crc32(readFileSync(file)), 0);
      checksums.writeUInt32LE(zlib.crc32(code), 4);
      writeFileSync(compiledOf(file), Buffer.concat([checksums, code]));
    }
  }

  #load(file: string): object {
    const known = this.#loaded.get(file);
    if (known !== undefined) return known.module.exports;
    const script = scriptOf(file);
    const module = { exports: {} };
    // Before it runs, because modules may need each other in a circle.
    this.#loaded.set(file, { module, script });
    const body: Body = script.runInThisContext();
    body(module.exports, this.#requireFrom(file), module, file, dirname(file));
    return module.exports;
  }

  /** What is bundled lies in a file nearby; anything else is Node's, or a package. */
  #requireFrom(file: string): Require {
    const others = createRequire(file);
    return (path) => (path.startsWith(".") ? this.#load(resolve(dirname(file), path)) : others(path));
  }
}

/** The module as a function of what Node gives a module. */
export function scriptOf(file: string): Script {
  const source = readFileSync(file);
  const cachedData = readCompiled(file, source);
  return new Script(`${OPENING}${source.toString("utf8")}${CLOSING}`, {
    filename: file,
    columnOffset: -OPENING.length,
    ...(cachedData === undefined ? {} : { cachedData }),
  });
}

function readCompiled(file: string, source: Buffer): Buffer | undefined {
  try {
    const kept = readFileSync(compiledOf(file));
    const code = kept.subarray(CHECKSUM_BYTES);
    const isOurs = kept.readUInt32LE(0) === zlib.crc32(source) && kept.readUInt32LE(4) === zlib.crc32(code);
    return isOurs ? code : undefined;
  } catch {
    // It would have saved time, and nothing else.
    return undefined;
  }
}

const compiledOf = (file: string): string => `${file}.compiled`;
