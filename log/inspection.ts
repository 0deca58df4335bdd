/**
 * Looks at every byte of a log without changing one, and says of each segment what is wrong with it. The checker and
 * the repair are two readers of what it finds; recovery decides by the same rules, but stops at the first thing wrong.
 */
import { setTimeout as sleep } from "node:timers/promises";
import {
  ADVICE_DAMAGED,
  ADVICE_IDENTITY,
  CorruptionError,
  type Finding,
  type FindingCode,
} from "./corruption.js";
import { checkIsWhole, type DirectoryState, isFollowing, readIdentity } from "./data-directory.js";
import { readDirectoryFormat } from "./directory-format.js";
import { errnoOf, LogError } from "./errors.js";
import { IDENTITY_FILE, LOG_DIRECTORY, RECOVERY_POINT_FILE } from "./file-names.js";
import type { FileHandle, FileSystem } from "./file-system.js";
import { type RecoveryPoint, readRecoveryPoint } from "./recovery-point.js";
import {
  borderFinding,
  firstFinding,
  lineageFinding,
  listSegments,
  readSegmentFile,
  type SegmentFile,
  shownPath,
} from "./segment-chain.js";
import type { ReadPoint, RecordBatch } from "./segment-reader.js";
import { findingOfBad, type SegmentScan, scanSegment } from "./segment-scan.js";
import type { Identity } from "./settings.js";
import { isThereByNow, readAfterEnd } from "./tail-evidence.js";
import { fingerprintFinding, isOwnWriter, judgeTail, lostTailFinding } from "./torn-or-corrupt.js";

export interface InspectOptions {
  /** Another process may be writing: what looks unfinished at the end is looked at again before it is called damaged. */
  readonly live?: boolean;
  /** Bytes of segments looked at so far, and of all. */
  readonly onProgress?: (bytesDone: number, bytesAll: number) => void;
}

export interface SegmentInspection {
  readonly name: string;
  /** Undefined when the header does not hold. */
  readonly segment: SegmentFile | undefined;
  /** Why it does not belong here, by its header; its records are looked at all the same. */
  readonly misplaced: Finding | undefined;
  /** What is wrong with its records, or undefined. */
  readonly damaged: Finding | undefined;
  /** Its whole records up to the end or the damage. */
  readonly scan: SegmentScan | undefined;
  readonly records: number;
  /** The unfinished write at the end of the tail, which is no damage. */
  readonly tornBytes: number;
}

export interface LogInspection {
  readonly segments: readonly SegmentInspection[];
  readonly identity: Identity | undefined;
  readonly recoveryPoint: RecoveryPoint | undefined;
  /** What is wrong with the small files, or between them and the log. */
  readonly findings: readonly Finding[];
}

/** How often, and how long apart, the end of a live log is looked at again. */
const LOOKS = 20;
const LOOK_AGAIN_MS = 50;

export async function inspectLog(
  files: FileSystem,
  dataDirectory: string,
  options: InspectOptions = {},
): Promise<LogInspection> {
  await checkIsWhole(files, dataDirectory);
  await readDirectoryFormat(files, dataDirectory);
  const findings: Finding[] = [];
  const identity = await orFinding(findings, "identity", IDENTITY_FILE, () =>
    readIdentity(files, dataDirectory),
  );
  // Before the segments: a live log only moves on, so everything up to this point must be there.
  const read = await orFinding(findings, "recovery-point", RECOVERY_POINT_FILE, () =>
    readRecoveryPoint(files, dataDirectory),
  );
  // A log that is being written may have been closed cleanly when we looked and opened since.
  const isMarked = read?.clean === true && options.live === true;
  const recoveryPoint = isMarked ? { ...read, clean: false } : read;
  const logDirectory = `${dataDirectory}/${LOG_DIRECTORY}`;
  const follows = await isFollowing(files, dataDirectory);
  const state = { identity, recoveryPoint, isFollowing: follows };
  // Whoever opens it takes the mark away before it writes: while that is there as it was, nobody has.
  const stillMarked = async (): Promise<RecoveryPoint | undefined> => {
    const now = isMarked ? await readRecoveryPoint(files, dataDirectory) : undefined;
    return now?.clean === true && now.durable === read?.durable && now.crc === read.crc ? now : undefined;
  };
  const walk = new Walk(files, logDirectory, state, stillMarked, options);
  const segments = await walk.all(await listSegments(files, logDirectory));
  if (segments.length > 0 && identity === undefined && findings.length === 0)
    findings.push(lostIdentity(segments));
  findings.push(...walk.findings);
  return { segments, identity, recoveryPoint, findings };
}

class Walk {
  readonly findings: Finding[] = [];
  readonly #files: FileSystem;
  readonly #logDirectory: string;
  readonly #identity: Identity | undefined;
  readonly #recoveryPoint: RecoveryPoint | undefined;
  readonly #isFollowing: boolean;
  /** The mark of a clean stop, if nobody has opened the log since the inspection began. */
  readonly #stillMarked: () => Promise<RecoveryPoint | undefined>;
  readonly #options: InspectOptions;
  #before: SegmentFile | undefined;
  /** Where the segment before ended; undefined when it is damaged or its header is. */
  #end: ReadPoint | undefined;
  #crcAtDurable: number | undefined;
  #bytesDone = 0;
  #bytesAll = 0;

  constructor(
    files: FileSystem,
    logDirectory: string,
    { identity, recoveryPoint, isFollowing }: DirectoryState,
    stillMarked: () => Promise<RecoveryPoint | undefined>,
    options: InspectOptions,
  ) {
    this.#files = files;
    this.#logDirectory = logDirectory;
    this.#identity = identity;
    this.#recoveryPoint = recoveryPoint;
    this.#isFollowing = isFollowing;
    this.#stillMarked = stillMarked;
    this.#options = options;
  }

  async all(names: readonly string[]): Promise<SegmentInspection[]> {
    const opened: { name: string; file: SegmentFile | Finding }[] = [];
    for (const name of names) {
      const file = await this.#open(name);
      if (file !== undefined) opened.push({ name, file });
    }
    for (const { file } of opened) this.#bytesAll += "bytes" in file ? file.bytes : 0;
    const inspections: SegmentInspection[] = [];
    for (const [i, { name, file }] of opened.entries()) {
      const inspection = await this.#inspect(name, file, i === opened.length - 1);
      if (inspection !== undefined) inspections.push(inspection);
    }
    this.#compareWithPoint(inspections);
    return inspections;
  }

  async #open(name: string): Promise<SegmentFile | Finding | undefined> {
    try {
      return await this.#unlessGone(readSegmentFile(this.#files, this.#logDirectory, name));
    } catch (error) {
      if (error instanceof CorruptionError) return error.finding;
      throw error;
    }
  }

  /** Undefined for a segment that retention of the process that writes has removed since it was listed. */
  async #unlessGone<T>(read: Promise<T>): Promise<T | undefined> {
    try {
      return await read;
    } catch (error) {
      if (this.#options.live === true && errnoOf(error) === "ENOENT") return undefined;
      throw error;
    }
  }

  async #inspect(
    name: string,
    file: SegmentFile | Finding,
    isTail: boolean,
  ): Promise<SegmentInspection | undefined> {
    if (!("bytes" in file)) {
      this.#nothingBefore();
      return {
        name,
        segment: undefined,
        misplaced: file,
        damaged: undefined,
        scan: undefined,
        records: 0,
        tornBytes: 0,
      };
    }
    const misplaced = this.#misplaced(file);
    const handle = await this.#unlessGone(this.#files.open(`${this.#logDirectory}/${name}`, "read"));
    if (handle === undefined) {
      this.#nothingBefore();
      return undefined;
    }
    try {
      const { scan, damaged, tornBytes } = isTail
        ? await this.#readTail(handle, file)
        : await this.#readSealed(handle, file);
      this.#bytesDone += file.bytes;
      this.#before = file;
      this.#end = damaged === undefined ? scan.next : undefined;
      const records = scan.next.offset - file.base;
      return { name, segment: file, misplaced, damaged, scan, records, tornBytes };
    } finally {
      await handle.close();
    }
  }

  #nothingBefore(): void {
    this.#before = undefined;
    this.#end = undefined;
  }

  #misplaced(file: SegmentFile): Finding | undefined {
    if (this.#before === undefined)
      return this.#bytesDone === 0 ? firstFinding(file, this.#identity) : undefined;
    return (
      lineageFinding(this.#before, file) ??
      (this.#end === undefined ? undefined : borderFinding(this.#end, file))
    );
  }

  async #readSealed(handle: FileHandle, file: SegmentFile): Promise<TailReading> {
    const scan = await this.#scan(handle, file, file.bytes);
    const damaged = scan.bad === undefined ? undefined : findingOfBad(shownPath(file.name), scan.bad);
    return { scan, damaged, tornBytes: 0 };
  }

  /** As recovery would judge it; on a live log only what stays so for a while counts. */
  async #readTail(handle: FileHandle, file: SegmentFile): Promise<TailReading> {
    for (let look = 1; ; look++) {
      const reading = await this.#judge(handle, file);
      // What the disk has lost does not come back, and each look may take it seconds.
      const isCalm =
        (reading.damaged === undefined && reading.tornBytes === 0) || reading.damaged?.code === "unreadable";
      if (isCalm || this.#options.live !== true || look === LOOKS) return reading;
      await sleep(LOOK_AGAIN_MS);
    }
  }

  async #judge(handle: FileHandle, file: SegmentFile): Promise<TailReading> {
    const bytes = await handle.size();
    const scan = await this.#scan(handle, file, bytes);
    const after = await readAfterEnd(handle, file.header, scan.next, bytes);
    const verdict = judgeTail({
      file: shownPath(file.name),
      next: scan.next,
      bad: scan.bad,
      ...after,
      recoveryPoint: (await this.#stillMarked()) ?? this.#recoveryPoint,
      isOwnWriter: isOwnWriter(file.header, this.#identity, this.#isFollowing),
    });
    if (verdict.type !== "clean" && this.#options.live === true) {
      if (await isThereByNow(handle, file.header, scan.next))
        return { scan, damaged: undefined, tornBytes: 0 };
    }
    return {
      scan,
      damaged: verdict.type === "corrupt" ? verdict.finding : undefined,
      tornBytes: verdict.type === "torn" ? after.contentEnd - scan.next.position : 0,
    };
  }

  #scan(handle: FileHandle, file: SegmentFile, bytes: number): Promise<SegmentScan> {
    const durable = this.#recoveryPoint?.durable;
    if (durable === file.base - 1) this.#crcAtDurable = file.header.chainCrc;
    return scanSegment(handle, file.header, bytes, (batch, from) => {
      this.#options.onProgress?.(this.#bytesDone + batch.next.position, this.#bytesAll);
      if (durable !== undefined) this.#noteCrc(batch, from, durable);
    });
  }

  #noteCrc(batch: RecordBatch, from: ReadPoint, durable: number): void {
    const record = batch.records[durable - from.offset];
    if (record !== undefined) this.#crcAtDurable = record.crc;
  }

  #compareWithPoint(inspections: readonly SegmentInspection[]): void {
    const point = this.#recoveryPoint;
    if (point === undefined) return;
    const last = inspections[inspections.length - 1];
    const lost =
      last !== undefined && last.segment === undefined ? undefined : lostTailFinding(last?.segment, point);
    const other = fingerprintFinding(point, this.#crcAtDurable);
    for (const finding of [lost, other]) if (finding !== undefined) this.findings.push(finding);
  }
}

interface TailReading {
  readonly scan: SegmentScan;
  readonly damaged: Finding | undefined;
  readonly tornBytes: number;
}

/** What `read` reads; if the file is damaged a finding instead. */
async function orFinding<T>(
  findings: Finding[],
  code: FindingCode,
  file: string,
  read: () => Promise<T | undefined>,
): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    if (!(error instanceof LogError) || errnoOf(error.cause) !== undefined) throw error;
    const advice = String(error.context["advice"] ?? ADVICE_DAMAGED);
    findings.push({ code, file, expected: "a whole file", found: error.message, advice });
    return undefined;
  }
}

function lostIdentity(segments: readonly SegmentInspection[]): Finding {
  const header = segments.find((inspection) => inspection.segment !== undefined)?.segment?.header;
  return {
    code: "identity",
    file: IDENTITY_FILE,
    expected: `a file that names the cluster${header === undefined ? "" : ` ${header.clusterId}`}`,
    found: "none",
    advice: ADVICE_IDENTITY,
  };
}
