/**
 * Stores the lines of a file over HTTP, in atomic batches. Each batch also sets a marker key in the same record:
 * how many lines are done, and a checksum over all of them. So the marker is never ahead of the lines nor behind them,
 * a run that was cut off – its own end, the server's, or the network's – continues at the marker, and a line whose answer
 * got lost, or which replicas had not confirmed in time, is looked up there before anything is sent again.
 *
 * The one exception is a line with a `ttl`: it is a request of its own, done before the marker moves past it. Cut off just
 * there, the same value is set again with the same ttl.
 */
import { createHash, type Hash } from "node:crypto";
import { basename } from "node:path";
import type { Entry, EntryReader } from "./entry.js";
import { ImportError } from "./errors.js";
import type { Line, LineReader } from "./lines.js";
import type { Answer, ServerDoor } from "./server-door.js";

export interface ImportOptions {
  readonly reader: LineReader;
  readonly entryOf: EntryReader;
  readonly door: ServerDoor;
  readonly batchLines: number;
  /** Tells one import from another; by default made from the file's first line and `recipe`. */
  readonly id?: string;
  /** What else makes an import a different one, such as the key's template. */
  readonly recipe: string;
  readonly onProgress?: (progress: ImportProgress) => void;
}

export interface ImportProgress {
  readonly lines: number;
  readonly bytesRead: number;
  readonly bytesTotal: number;
}

export interface ImportSummary {
  readonly id: string;
  /** Lines of the file, empty ones included. */
  readonly lines: number;
  /** Lines that an earlier run had stored. */
  readonly linesBefore: number;
  readonly entriesStored: number;
  readonly requests: number;
  /** Log offset of the last record of this run; 0 if nothing was left to do. */
  readonly lastOffset: number;
}

interface Marker {
  readonly lines: number;
  /** SHA-256 over the lines done, each with a line feed; hex. */
  readonly sha256: string;
}

export const MARKER_PREFIX = "annals:import:";
const OF_THE_FILE: ReadonlySet<string> = new Set(["IMPORT_LINE_INVALID", "IMPORT_FILE_UNREADABLE"]);
/** A batch's body stays well below the server's default limit for one. */
const BATCH_BYTES_MAX = 4 << 20;

/** Lines that go together: all plain, or all with a ttl. */
class Batch {
  readonly lines: { readonly text: string; readonly entry: Entry | undefined }[] = [];
  readonly entries: Entry[] = [];
  #bytes = 0;

  constructor(
    /** Lines of the file before it, and the checksum over them. */
    readonly before: number,
    readonly hashBefore: Hash,
  ) {}

  get last(): number {
    return this.before + this.lines.length;
  }

  get expires(): boolean {
    return this.entries[0]?.expires === true;
  }

  /** False when the line must begin the next batch. */
  fits(text: string, entry: Entry | undefined, linesMax: number): boolean {
    if (this.lines.length === 0) return true;
    if (this.lines.length >= linesMax || this.#bytes + Buffer.byteLength(text) > BATCH_BYTES_MAX)
      return false;
    return entry === undefined || this.entries.length === 0 || entry.expires === this.expires;
  }

  add(text: string, entry: Entry | undefined): void {
    this.lines.push({ text, entry });
    if (entry !== undefined) this.entries.push(entry);
    this.#bytes += Buffer.byteLength(text);
  }

  hashAfter(): Hash {
    const hash = this.hashBefore.copy();
    for (const { text } of this.lines) hash.update(text).update("\n");
    return hash;
  }

  /** Line by line, to find the one that is refused. */
  *singles(): Generator<Batch> {
    let at = new Batch(this.before, this.hashBefore);
    for (const { text, entry } of this.lines) {
      at.add(text, entry);
      yield at;
      at = new Batch(at.last, at.hashAfter());
    }
  }
}

export async function importLines(options: ImportOptions): Promise<ImportSummary> {
  return new ImportRun(options).toEnd();
}

class ImportRun {
  readonly #options: ImportOptions;
  #id = "";
  #batch = new Batch(0, createHash("sha256"));
  #entriesStored = 0;
  #requests = 0;
  #lastOffset = 0;
  /** The last marker, where nobody has answered that it is stored as durably as the server is told to: replicas may lack it. */
  #unconfirmed: string | undefined;

  constructor(options: ImportOptions) {
    this.#options = options;
  }

  async toEnd(): Promise<ImportSummary> {
    let before: Marker | undefined;
    try {
      before = await this.#readToEnd();
    } catch (error) {
      // What stands before the bad line is stored, so that the next run continues just there.
      if (error instanceof ImportError && OF_THE_FILE.has(error.code)) await this.#flush();
      throw error;
    }
    await this.#flush();
    await this.#confirm();
    return {
      id: this.#id,
      lines: this.#batch.last,
      linesBefore: before?.lines ?? 0,
      entriesStored: this.#entriesStored,
      requests: this.#requests,
      lastOffset: this.#lastOffset,
    };
  }

  /** Leaves the last batch unsent; gives back where the run began. */
  async #readToEnd(): Promise<Marker | undefined> {
    const { reader, entryOf, batchLines } = this.#options;
    let before: Marker | undefined;
    for await (const line of reader.lines()) {
      if (line.number === 1) before = await this.#begin(line);
      if (before !== undefined && line.number <= before.lines) {
        this.#pass(line, before);
        continue;
      }
      const entry = line.text.trim() === "" ? undefined : entryOf(line);
      if (!this.#batch.fits(line.text, entry, batchLines)) await this.#flush();
      this.#batch.add(line.text, entry);
    }
    if (before !== undefined && this.#batch.last < before.lines) throw this.#changed(before);
    return before;
  }

  /** Where an earlier run of the same import has come to. */
  async #begin(first: Line): Promise<Marker | undefined> {
    const { id, recipe, door } = this.#options;
    this.#id = id ?? createHash("sha256").update(`${recipe}\n${first.text}`).digest("hex").slice(0, 16);
    return (await door.insist(() => this.#readMarker())).marker;
  }

  /** A line that is stored already: only its checksum counts. */
  #pass(line: Line, before: Marker): void {
    this.#batch = new Batch(line.number, this.#batch.hashBefore.update(line.text).update("\n"));
    if (line.number < before.lines) return;
    if (this.#batch.hashBefore.copy().digest("hex") !== before.sha256) throw this.#changed(before);
    this.#report();
  }

  #changed(before: Marker): ImportError {
    const { path } = this.#options.reader;
    const message = `${path}: its first ${before.lines} lines are not those that the import ${this.#id} stored; give the changed file an --id of its own`;
    return new ImportError("IMPORT_FILE_CHANGED", message, { file: path, line: before.lines, id: this.#id });
  }

  async #flush(): Promise<void> {
    const batch = this.#batch;
    if (batch.lines.length === 0) return;
    const refused = await this.#store(batch);
    if (refused !== undefined) {
      if (batch.lines.length === 1) throw this.#refusal(batch, refused);
      for (const single of batch.singles()) {
        const why = await this.#store(single);
        if (why !== undefined) throw this.#refusal(single, why);
      }
    }
    this.#batch = new Batch(batch.last, batch.hashAfter());
    this.#report();
  }

  /** Stores the batch and moves the marker past it; gives back the refusal, if the server refused. */
  async #store(batch: Batch): Promise<Answer | undefined> {
    const { door } = this.#options;
    const marker: Marker = { lines: batch.last, sha256: batch.hashAfter().digest("hex") };
    const pairs = batch.expires ? [] : batch.entries.map((entry) => entry.pair);
    if (batch.expires) {
      for (const entry of batch.entries) {
        const answer = await door.insist(() => this.#send("/kv/set", entry.pair));
        if (answer.status >= 400) return answer;
      }
    }
    const file = basename(this.#options.reader.path);
    const markerPair = JSON.stringify({ key: MARKER_PREFIX + this.#id, value: { ...marker, file } });
    const body = bodyOf([...pairs, markerPair]);
    let sent = false;
    const answer = await door.insist(async () => {
      if (sent) {
        const found = await this.#readMarker();
        if ("unknown" in found) return found;
        if (found.marker?.lines === marker.lines && found.marker.sha256 === marker.sha256)
          return "stored before" as const;
      }
      sent = true;
      return this.#send("/kv/mset", body);
    });
    if (answer === "stored before") this.#unconfirmed = markerPair;
    else {
      if (answer.status >= 400) return answer;
      this.#unconfirmed = undefined;
      this.#lastOffset = offsetOf(answer);
    }
    this.#entriesStored += batch.entries.length;
    return undefined;
  }

  /** The marker once more, without the lines. An answer to a later record says it of all before. */
  async #confirm(): Promise<void> {
    const pair = this.#unconfirmed;
    if (pair === undefined) return;
    const answer = await this.#options.door.insist(() => this.#send("/kv/mset", bodyOf([pair])));
    if (answer.status >= 400) throw this.#refusal(this.#batch, answer);
    this.#lastOffset = offsetOf(answer);
  }

  #send(path: string, body: string): Promise<Answer | { readonly unknown: string }> {
    this.#requests++;
    return this.#options.door.tryOnce("POST", path, body);
  }

  async #readMarker(): Promise<{ readonly marker: Marker | undefined } | { readonly unknown: string }> {
    const body = JSON.stringify({ keys: [MARKER_PREFIX + this.#id] });
    const answer = await this.#options.door.tryOnce("POST", "/kv/mget", body);
    return "unknown" in answer ? answer : { marker: markerOf(answer) };
  }

  #refusal(batch: Batch, answer: Answer): ImportError {
    const { path } = this.#options.reader;
    const said = fieldOf(answer.body, "error");
    const why = typeof said === "string" ? said : JSON.stringify(answer.body).slice(0, 200);
    const context = { file: path, line: batch.last, key: batch.entries[0]?.key, status: answer.status };
    const message = `${path}, line ${batch.last}: the server refused it (${answer.status}): ${why}`;
    return new ImportError("IMPORT_REFUSED", message, context);
  }

  #report(): void {
    const { reader, onProgress } = this.#options;
    const { bytesRead, bytesTotal } = reader;
    onProgress?.({ lines: this.#batch.last, bytesRead, bytesTotal });
  }
}

const bodyOf = (pairs: readonly string[]): string => `{"pairs":[${pairs.join(",")}]}`;

function fieldOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null
    ? Object.entries(value).find(([key]) => key === name)?.[1]
    : undefined;
}

function offsetOf(answer: Answer): number {
  const offset = fieldOf(answer.body, "log_offset");
  if (typeof offset !== "number") throw notAnnals(answer, "log_offset");
  return offset;
}

function markerOf(answer: Answer): Marker | undefined {
  const values = fieldOf(answer.body, "values");
  if (!Array.isArray(values) || values.length !== 1) throw notAnnals(answer, "values");
  const [value]: unknown[] = values;
  if (value === null) return undefined;
  const [lines, sha256] = [fieldOf(value, "lines"), fieldOf(value, "sha256")];
  if (typeof lines !== "number" || typeof sha256 !== "string") throw notAnnals(answer, "marker");
  return { lines, sha256 };
}

function notAnnals(answer: Answer, missing: string): ImportError {
  const message = `the answer (${answer.status}) has no ${missing}: ${JSON.stringify(answer.body).slice(0, 200)}`;
  return new ImportError("IMPORT_ANSWER_UNKNOWN", message, { status: answer.status });
}
