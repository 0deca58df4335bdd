/**
 * Every name in a repository, built and parsed here and nowhere else. Backups and the archive share it: each sealed segment
 * is one object, whoever sent it first.
 *
 *   segments/<first offset>-<lineage>-<last offset>-<sha>.log    a segment file: a sealed one, or a piece of one that begins
 *                                                                and ends where a backup did
 *   snapshots/snapshot_<timestamp>_<offset>-<sha>.snap           a snapshot, byte for byte
 *   backups/<time>-<last offset>.json                            a manifest; its name without `.json` is the backup's id
 *   backups/head.json                                            the oldest and the newest backup that there should be
 *   archive/manifests/<number>.json                              a manifest of the archive, 20 digits, from 1: each has all files
 *   archive/head.json                                            the newest manifest that there should be
 *   LOCK                                                         of a directory: who writes to it
 *   <any name>.<8 hex digits>.tmp                                being written; worthless after a crash
 *
 * Offsets have 20 digits; <lineage> is the first 8 hex digits of the lineage id of the epoch that wrote the segment, <sha> the
 * first 16 of the content's SHA-256; <time> is UTC, `20260102T030405678Z`.
 */
import { offset as asOffset, type Offset, parseSnapshotName } from "../../log/index.js";

export const SEGMENTS = "segments/";
export const SNAPSHOTS = "snapshots/";
export const BACKUPS = "backups/";
export const ARCHIVE = "archive/";
export const ARCHIVE_MANIFESTS = "archive/manifests/";
export const ARCHIVE_HEAD = "archive/head.json";
export const BACKUP_HEAD = "backups/head.json";
export const LOCK_OBJECT = "LOCK";

const LINEAGE_DIGITS = 8;
const SHA_DIGITS = 16;

const SEGMENT = /^segments\/(\d{20})-([0-9a-f]{8})-(\d{20})-([0-9a-f]{16})\.log$/;
const SNAPSHOT = /^snapshots\/(snapshot_\d+_\d+)-([0-9a-f]{16})\.snap$/;
const SNAPSHOT_ENDING = ".snap";
const BACKUP = /^backups\/((\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)(\d{3})Z-(\d{20}))\.json$/;
const ARCHIVE_MANIFEST = /^archive\/manifests\/(\d{20})\.json$/;
const TEMPORARY = /\.[0-9a-f]{8}\.tmp$/;

export interface SegmentObject {
  readonly kind: "segment";
  readonly firstOffset: Offset;
  readonly lastOffset: Offset;
  /** First 8 hex digits of the lineage id. */
  readonly lineage: string;
  /** First 16 hex digits of the SHA-256. */
  readonly sha: string;
}

export interface SnapshotObject {
  readonly kind: "snapshot";
  /** What the file is called in a data directory. */
  readonly fileName: string;
  readonly offset: Offset;
  readonly sha: string;
}

export interface BackupObject {
  readonly kind: "backup";
  readonly id: string;
  readonly createdAt: number;
  readonly lastOffset: Offset;
}

export interface ArchiveManifestObject {
  readonly kind: "archiveManifest";
  readonly sequence: number;
}

export type RepositoryObject =
  | SegmentObject
  | SnapshotObject
  | BackupObject
  | ArchiveManifestObject
  | { readonly kind: "backupHead" | "archiveHead" | "lock" | "temporary" };

const digits = (offset: number): string => String(offset).padStart(20, "0");

export function segmentObject(segment: {
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly lineageId: string;
  readonly sha256: string;
}): string {
  const { firstOffset, lastOffset, lineageId, sha256 } = segment;
  const lineage = lineageId.slice(0, LINEAGE_DIGITS);
  return `${SEGMENTS}${digits(firstOffset)}-${lineage}-${digits(lastOffset)}-${sha256.slice(0, SHA_DIGITS)}.log`;
}

/** @throws RangeError when `fileName` is no snapshot's. */
export function snapshotObject(fileName: string, sha256: string): string {
  if (parseSnapshotName(fileName) === undefined)
    throw new RangeError(`${fileName} is not the name of a snapshot`);
  const stem = fileName.slice(0, -SNAPSHOT_ENDING.length);
  return `${SNAPSHOTS}${stem}-${sha256.slice(0, SHA_DIGITS)}${SNAPSHOT_ENDING}`;
}

export function backupId(createdAt: number, lastOffset: number): string {
  return `${new Date(createdAt).toISOString().replaceAll(/[-:.]/g, "")}-${digits(lastOffset)}`;
}

/** The name of the archive's manifest is its number alone: of two that write the next one only one can have it. */
export const archiveManifestId = (sequence: number): string => digits(sequence);

export const archiveManifestObject = (sequence: number): string =>
  `${ARCHIVE_MANIFESTS}${digits(sequence)}.json`;

export const backupObject = (id: string): string => `${BACKUPS}${id}.json`;

/** What the object of this name is, or undefined if it does not belong into a repository. */
export function parseObject(name: string): RepositoryObject | undefined {
  if (TEMPORARY.test(name)) return { kind: "temporary" };
  if (name === LOCK_OBJECT) return { kind: "lock" };
  if (name === BACKUP_HEAD) return { kind: "backupHead" };
  if (name === ARCHIVE_HEAD) return { kind: "archiveHead" };
  return parseSegment(name) ?? parseSnapshot(name) ?? parseBackup(name) ?? parseArchiveManifest(name);
}

function parseSegment(name: string): SegmentObject | undefined {
  const [, first = "", lineage = "", last = "", sha = ""] = SEGMENT.exec(name) ?? [];
  const [firstOffset, lastOffset] = [safeOffset(first), safeOffset(last)];
  if (firstOffset === undefined || lastOffset === undefined || lastOffset < firstOffset) return undefined;
  return { kind: "segment", firstOffset, lastOffset, lineage, sha };
}

function parseSnapshot(name: string): SnapshotObject | undefined {
  const [, stem = "", sha = ""] = SNAPSHOT.exec(name) ?? [];
  const fileName = `${stem}${SNAPSHOT_ENDING}`;
  const offset = parseSnapshotName(fileName)?.offset;
  return offset === undefined ? undefined : { kind: "snapshot", fileName, offset, sha };
}

function parseBackup(name: string): BackupObject | undefined {
  const [, id = "", year, month, day, hour, minute, second, ms, last = ""] = BACKUP.exec(name) ?? [];
  const createdAt = Date.parse(`${year}-${month}-${day}T${hour}:${minute}:${second}.${ms}Z`);
  const lastOffset = safeOffset(last);
  if (lastOffset === undefined || Number.isNaN(createdAt) || backupId(createdAt, lastOffset) !== id)
    return undefined;
  return { kind: "backup", id, createdAt, lastOffset };
}

function parseArchiveManifest(name: string): ArchiveManifestObject | undefined {
  const [, number = ""] = ARCHIVE_MANIFEST.exec(name) ?? [];
  const sequence = safeOffset(number);
  return sequence === undefined ? undefined : { kind: "archiveManifest", sequence };
}

function safeOffset(text: string): Offset | undefined {
  const value = Number(text);
  return text !== "" && Number.isSafeInteger(value) && value > 0 ? asOffset(value) : undefined;
}
