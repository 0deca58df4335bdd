/** The lines of a file, gzipped or not, with their numbers. Bounded: one line is held at a time. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { pipeline } from "node:stream";
import { createGunzip } from "node:zlib";
import { errorMessage } from "../../log/index.js";
import { ImportError } from "./errors.js";

/** One line must fit into one request. */
const LINE_BYTES_MAX = 8 << 20;
const NEWLINE = 0x0a;

export interface Line {
  /** From 1. */
  readonly number: number;
  /** Without its line end. */
  readonly text: string;
}

export class LineReader {
  #bytesRead = 0;

  private constructor(
    readonly path: string,
    /** Size on the disk, compressed or not. */
    readonly bytesTotal: number,
  ) {}

  static async open(path: string): Promise<LineReader> {
    try {
      const { size } = await stat(path);
      return new LineReader(path, size);
    } catch (cause) {
      throw unreadable(`${path} cannot be read`, { file: path }, cause);
    }
  }

  /** Of the file on the disk, so `bytesRead / bytesTotal` is the share that is done. */
  get bytesRead(): number {
    return this.#bytesRead;
  }

  async *lines(): AsyncGenerator<Line> {
    let number = 0;
    let rest: Buffer[] = [];
    let restBytes = 0;
    const line = (tail: Buffer): Line => {
      const bytes = restBytes === 0 ? tail : Buffer.concat([...rest, tail]);
      rest = [];
      restBytes = 0;
      number++;
      return { number, text: this.#textOf(bytes, number) };
    };
    for await (const chunk of this.#chunks(() => number)) {
      let from = 0;
      for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, from)) {
        yield line(chunk.subarray(from, end));
        from = end + 1;
      }
      if (from < chunk.length) {
        rest.push(chunk.subarray(from));
        restBytes += chunk.length - from;
      }
      if (restBytes > LINE_BYTES_MAX) throw this.#invalid(number + 1, `longer than ${LINE_BYTES_MAX} bytes`);
    }
    if (restBytes > 0) yield line(Buffer.alloc(0));
  }

  async *#chunks(linesRead: () => number): AsyncGenerator<Buffer> {
    const file = createReadStream(this.path, { highWaterMark: 1 << 16 });
    file.on("data", (chunk) => {
      this.#bytesRead += chunk.length;
    });
    // The pipeline's own callback has nothing to add: a failure reaches the loop below.
    const source = this.path.endsWith(".gz") ? pipeline(file, createGunzip(), () => undefined) : file;
    try {
      for await (const chunk of source) yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk);
    } catch (cause) {
      const context = { file: this.path, line: linesRead() };
      throw unreadable(`${this.path} cannot be read beyond line ${linesRead()}`, context, cause);
    } finally {
      file.destroy();
    }
  }

  #textOf(bytes: Buffer, number: number): string {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: number !== 1 })
        .decode(bytes)
        .replace(/\r$/, "");
    } catch (cause) {
      throw this.#invalid(number, "not UTF-8", cause);
    }
  }

  #invalid(line: number, why: string, cause?: unknown): ImportError {
    return new ImportError(
      "IMPORT_LINE_INVALID",
      `${this.path}, line ${line}: ${why}`,
      { file: this.path, line },
      cause,
    );
  }
}

function unreadable(what: string, context: ImportError["context"], cause: unknown): ImportError {
  const why = errorMessage(cause);
  return new ImportError("IMPORT_FILE_UNREADABLE", `${what}: ${why}`, context, cause);
}
