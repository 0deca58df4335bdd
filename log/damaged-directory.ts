/**
 * What can be done about a log that follows another one and cannot be opened, because something in it is damaged: the directory of a replica,
 * which nobody has open. What is damaged in sealed segments is fetched from elsewhere; the end of the newest is cut off, for it will
 * come again. The damaged files are kept aside first. Of a log that somebody writes nothing here is done: there an operator decides.
 */
import type { Finding } from "./corruption.js";
import { CorruptionError } from "./corruption.js";
import { type DataDirectory, openDataDirectory } from "./data-directory.js";
import {
  indexName,
  LOG_DIRECTORY,
  parseSegmentName,
  RECOVERY_POINT_FILE,
  segmentName,
} from "./file-names.js";
import type { FileHandle, FileSystem } from "./file-system.js";
import { type MendTarget, SegmentMending } from "./mending.js";
import { ownFile } from "./own-file.js";
import { pruneQuarantine, quarantineSegment } from "./quarantine.js";
import { writeRecoveryPoint } from "./recovery-point.js";
import { borderFinding, listSegments, readSegmentFile, type SegmentFile } from "./segment-chain.js";
import { type SegmentScan, scanSegment } from "./segment-scan.js";
import { offset as asOffset, BEFORE_FIRST, type Offset } from "./units.js";

export type Remedy =
  /** Sealed segments have to be had again. */
  | { readonly type: "fetch"; readonly target: MendTarget }
  /** The newest segment is damaged: what holds of the log ends with `last`. */
  | { readonly type: "cut"; readonly last: Offset; readonly finding: Finding }
  /** It is not a matter of one file: the log has to be replaced as a whole. */
  | { readonly type: "none" };

export interface DamagedDirectoryOptions {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly now: () => number;
  /** Who holds the lock meanwhile. */
  readonly holder: string;
}

/** What an opening or a fold failed with, if it is damage. */
export function findingOf(error: unknown): Finding | undefined {
  return error instanceof CorruptionError && error.code === "LOG_CORRUPT" ? error.finding : undefined;
}

/** A segment as it is found: its name tells where it begins, also when its header is damaged. */
interface Found {
  readonly base: Offset;
  readonly name: string;
  readonly segment: SegmentFile | undefined;
}

export class DamagedDirectory {
  readonly #options: DamagedDirectoryOptions;
  readonly #logDirectory: string;
  readonly #held: DataDirectory;

  private constructor(options: DamagedDirectoryOptions, held: DataDirectory) {
    this.#options = options;
    this.#logDirectory = `${options.dataDirectory}/${LOG_DIRECTORY}`;
    this.#held = held;
  }

  /** Takes the lock. @throws LogError LOG_LOCKED, LOG_DIRECTORY_UNUSABLE. */
  static async open(options: DamagedDirectoryOptions): Promise<DamagedDirectory> {
    const held = await openDataDirectory(options.files, options.dataDirectory, options.holder);
    return new DamagedDirectory(options, held);
  }

  /** What to do about what was found first; another opening tells what comes next. */
  async remedy(finding: Finding): Promise<Remedy> {
    const found = await this.#segments();
    const newest = found.at(-1);
    if (newest === undefined) return { type: "cut", last: BEFORE_FIRST, finding };
    const named = parseSegmentName(finding.file.slice(LOG_DIRECTORY.length + 1));
    // What is missing behind the newest segment, or contradicts what was noted of the end.
    if (named === undefined || named > newest.base) return await this.#cut(found, finding);
    const at = found.findLastIndex(({ base }) => base <= named);
    // Newer ones first: where a segment has to lead is known by the one that follows.
    const damagedHeader = found.findLastIndex(({ segment }, i) => i >= at && segment === undefined);
    if (damagedHeader >= 0) return await this.#remedyAt(found, damagedHeader, finding);
    for (const i of [at - 1, at]) {
      const segment = found[i];
      if (segment !== undefined && (await this.#isDamaged(found, i)))
        return await this.#remedyAt(found, i, finding);
    }
    return { type: "none" };
  }

  /** Begins to put sound segments in place. */
  mend(target: MendTarget): SegmentMending {
    const { files, dataDirectory, now } = this.#options;
    return new SegmentMending({ files, dataDirectory, target, now, place: (change) => change() });
  }

  /**
   * Makes the log end with the last record that holds, once the damaged end is kept aside. Ended anywhere, it may be done again. The caller
   * has noted durably that this node lacks what it had.
   */
  async cut({ finding }: Extract<Remedy, { type: "cut" }>): Promise<void> {
    const { files, dataDirectory, now } = this.#options;
    const segments = await this.#segments();
    const newest = segments.at(-1);
    if (newest === undefined) return await this.#removeIfThere(RECOVERY_POINT_FILE);
    const isLost = newest.segment === undefined;
    const tail = isLost ? segments.at(-2)?.segment : newest.segment;
    const scan = tail === undefined ? undefined : await this.#scan(tail);
    const isWhole = !isLost && scan?.bad === undefined;
    if (!isWhole) await quarantineSegment(files, dataDirectory, newest.base, finding, now());
    // Lowered first: one that knew of more than there is would make the cut end pass for lost data, again.
    if (tail === undefined || scan === undefined) await this.#removeIfThere(RECOVERY_POINT_FILE);
    else await writeRecoveryPoint(files, dataDirectory, pointAt(scan, tail.base));
    if (isLost) await this.#removeIfThere(`${LOG_DIRECTORY}/${newest.name}`);
    else if (scan?.bad !== undefined) await this.#cutFile(newest.base, scan.next.position);
    await files.syncDirectory(this.#logDirectory);
    await pruneQuarantine(files, dataDirectory);
  }

  async close(): Promise<void> {
    await this.#held.lock.release();
  }

  async #segments(): Promise<Found[]> {
    const found: Found[] = [];
    for (const name of await listSegments(this.#options.files, this.#logDirectory)) {
      const base = parseSegmentName(name);
      if (base !== undefined) found.push({ base, name, segment: await this.#read(base) });
    }
    return found;
  }

  /** Undefined when its header does not hold. */
  async #read(base: Offset): Promise<SegmentFile | undefined> {
    try {
      return await readSegmentFile(this.#options.files, this.#logDirectory, segmentName(base));
    } catch (error) {
      if (findingOf(error) === undefined) throw error;
      return undefined;
    }
  }

  async #isDamaged(found: readonly Found[], i: number): Promise<boolean> {
    const segment = found[i]?.segment;
    const after = found[i + 1]?.segment;
    if (segment === undefined) return true;
    // The newest was judged by whoever found it damaged: its end may look like anything.
    if (after === undefined) return true;
    const scan = await this.#scan(segment);
    return scan.bad !== undefined || borderFinding(scan.next, after) !== undefined;
  }

  async #remedyAt(found: readonly Found[], i: number, finding: Finding): Promise<Remedy> {
    const [damaged, after] = [found[i], found[i + 1]?.segment];
    if (damaged === undefined) return { type: "none" };
    if (after === undefined) return await this.#cut(found, finding);
    const target = {
      first: damaged.base,
      last: asOffset(after.base - 1),
      after: after.header,
      header: damaged.segment?.header,
      mayBeSeveral: true,
      finding,
    };
    return { type: "fetch", target };
  }

  /** A segment without a header goes as a whole; then the one before it is the newest. */
  async #cut(found: readonly Found[], finding: Finding): Promise<Remedy> {
    const newest = found.at(-1);
    const tail = newest?.segment ?? found.at(-2)?.segment;
    if (tail === undefined) return { type: "cut", last: BEFORE_FIRST, finding };
    const { next } = await this.#scan(tail);
    return { type: "cut", last: asOffset(next.offset - 1), finding };
  }

  #scan(segment: SegmentFile): Promise<SegmentScan> {
    return this.#reading(segment.name, (handle) => scanSegment(handle, segment.header, segment.bytes));
  }

  async #cutFile(base: Offset, position: number): Promise<void> {
    const { files } = this.#options;
    // The quarantined name must go on showing what was there.
    await ownFile(files, this.#logDirectory, segmentName(base), position);
    const handle = await files.open(`${this.#logDirectory}/${segmentName(base)}`, "write");
    try {
      await handle.truncate(position);
      await handle.sync();
    } finally {
      await handle.close();
    }
    // A tail has no index file.
    await this.#removeIfThere(`${LOG_DIRECTORY}/${indexName(base)}`);
  }

  async #removeIfThere(file: string): Promise<void> {
    const { files, dataDirectory } = this.#options;
    const path = `${dataDirectory}/${file}`;
    if (!(await files.exists(path))) return;
    await files.remove(path);
    await files.syncDirectory(path.slice(0, path.lastIndexOf("/")));
  }

  async #reading<T>(name: string, read: (handle: FileHandle) => Promise<T>): Promise<T> {
    const handle = await this.#options.files.open(`${this.#logDirectory}/${name}`, "read");
    try {
      return await read(handle);
    } finally {
      await handle.close();
    }
  }
}

const pointAt = ({ next }: SegmentScan, tail: Offset) => ({
  durable: asOffset(next.offset - 1),
  crc: next.seed,
  tail,
  clean: false,
});
