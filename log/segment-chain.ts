/**
 * The segments of a directory and whether they are one log: each continues the one before. Reads headers and sizes only;
 * the records are somebody else's.
 */
import { ADVICE_DAMAGED, ADVICE_MIXED, corruption, type Finding } from "./corruption.js";
import { errnoOf } from "./errors.js";
import type { EpochEntry } from "./event-log.js";
import { LOG_DIRECTORY, parseSegmentName } from "./file-names.js";
import type { FileSystem } from "./file-system.js";
import type { SegmentHeader } from "./format.js";
import { type ReadPoint, readHeader } from "./segment-reader.js";
import { hex } from "./segment-scan.js";
import type { Identity } from "./settings.js";
import type { Offset } from "./units.js";

export interface SegmentFile {
  readonly base: Offset;
  readonly name: string;
  readonly header: SegmentHeader;
  /** Size of the file, zeros written ahead included. */
  readonly bytes: number;
}

/** A segment's path below the data directory, as errors and reports name it. */
export const shownPath = (name: string): string => `${LOG_DIRECTORY}/${name}`;

/** Names of the segments in the log directory, oldest first; none if there is no such directory. */
export async function listSegments(files: FileSystem, logDirectory: string): Promise<string[]> {
  if (!(await files.exists(logDirectory))) return [];
  return (await files.list(logDirectory)).filter((name) => parseSegmentName(name) !== undefined).sort();
}

/** @throws LogError LOG_CORRUPT, LOG_VERSION_UNKNOWN: a segment that has its name has a whole header. */
export async function readSegmentFile(
  files: FileSystem,
  logDirectory: string,
  name: string,
): Promise<SegmentFile> {
  const handle = await files.open(`${logDirectory}/${name}`, "read");
  try {
    const header = await readHeader(handle, shownPath(name)).catch((error: unknown) => {
      throw errnoOf(error) === "EISDIR" ? corruption(directoryInPlace(name)) : error;
    });
    const base = parseSegmentName(name);
    if (base !== header.baseOffset)
      throw corruption({
        code: "header",
        file: shownPath(name),
        position: 16,
        offset: header.baseOffset,
        expected: `base offset ${base}, as the name says`,
        found: `base offset ${header.baseOffset}`,
        advice: ADVICE_MIXED,
      });
    return { base, name, header, bytes: await handle.size() };
  } finally {
    await handle.close();
  }
}

const directoryInPlace = (name: string): Finding => ({
  code: "header",
  file: shownPath(name),
  expected: "a segment",
  found: "a directory",
  advice: `move it elsewhere, and ${ADVICE_DAMAGED}`,
});

/** That a segment's file is not there, though it is listed or written down. */
export const lostFile = (file: string, first: Offset): Finding => ({
  code: "missing",
  file,
  offset: first,
  expected: "the segment's file",
  found: "no such file",
  advice: ADVICE_DAMAGED,
});

/** Why `segment` cannot be the first of the log, or undefined. */
export function firstFinding(segment: SegmentFile, identity: Identity | undefined): Finding | undefined {
  const { header, name } = segment;
  const file = shownPath(name);
  if (identity !== undefined && header.clusterId !== identity.clusterId)
    return foreign(
      file,
      32,
      `cluster ${identity.clusterId}, as the identity file says`,
      `cluster ${header.clusterId}`,
    );
  if (header.baseOffset === 1 && (header.chainCrc !== 0 || header.chainTimestamp !== 0))
    return mixed(file, 88, "a chain that begins at zero", `crc ${hex(header.chainCrc)}`);
  return undefined;
}

/** What the headers alone show: why `after` cannot be the next segment's, or undefined. */
export function lineageFinding(before: SegmentFile, after: SegmentFile): Finding | undefined {
  const file = shownPath(after.name);
  const [a, b] = [before.header, after.header];
  if (b.clusterId !== a.clusterId)
    return foreign(file, 32, `cluster ${a.clusterId}`, `cluster ${b.clusterId}`);
  if (b.epoch < a.epoch) return foreign(file, 12, `epoch ${a.epoch} or a later one`, `epoch ${b.epoch}`);
  if (b.epoch > a.epoch) {
    if (b.epochFirst !== b.baseOffset)
      return mixed(
        file,
        80,
        `epoch ${b.epoch} to begin with this segment`,
        `it began at offset ${b.epochFirst}`,
      );
    return undefined;
  }
  if (b.nodeId !== a.nodeId) return foreign(file, 48, `node ${a.nodeId}`, `node ${b.nodeId}`);
  if (b.lineageId !== a.lineageId)
    return foreign(file, 64, `lineage ${a.lineageId}`, `lineage ${b.lineageId}`);
  if (b.epochFirst !== a.epochFirst)
    return foreign(file, 80, `epoch ${a.epoch} to begin at offset ${a.epochFirst}`, `offset ${b.epochFirst}`);
  return undefined;
}

/** Why the segment that ends at `end` is not continued by `after`, or undefined. */
export function borderFinding(
  end: ReadPoint,
  after: Pick<SegmentFile, "name" | "header">,
): Finding | undefined {
  const file = shownPath(after.name);
  const { header } = after;
  if (header.baseOffset > end.offset)
    return {
      code: "missing",
      file,
      offset: end.offset,
      expected: `a segment with the records ${end.offset} to ${header.baseOffset - 1}`,
      found: `the next one begins at offset ${header.baseOffset}`,
      advice: ADVICE_DAMAGED,
    };
  if (header.baseOffset < end.offset)
    return mixed(file, 16, `a segment that begins at offset ${end.offset}`, `offset ${header.baseOffset}`);
  if (header.chainCrc !== end.seed)
    return mixed(file, 96, `a chain that continues from crc ${hex(end.seed)}`, `crc ${hex(header.chainCrc)}`);
  if (header.chainTimestamp !== end.timestamp)
    return mixed(file, 88, `the timestamp ${end.timestamp} before it`, `${header.chainTimestamp}`);
  return undefined;
}

/** The table of epochs as the headers tell it, oldest first. */
export function epochsOf(segments: readonly { readonly header: SegmentHeader }[]): EpochEntry[] {
  const entries: EpochEntry[] = [];
  for (const { header } of segments) {
    if (entries[entries.length - 1]?.epoch === header.epoch) continue;
    entries.push({
      epoch: header.epoch,
      first: header.epochFirst,
      nodeId: header.nodeId,
      lineageId: header.lineageId,
    });
  }
  return entries;
}

function mixed(file: string, position: number, expected: string, found: string): Finding {
  return { code: "chain", file, position, expected, found, advice: ADVICE_MIXED };
}

function foreign(file: string, position: number, expected: string, found: string): Finding {
  return { ...mixed(file, position, expected, found), code: "lineage" };
}
