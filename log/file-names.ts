/**
 * Every name below the data directory, built and parsed here and nowhere else.
 *
 *   <data-dir>/LOCK                            who holds the directory
 *   <data-dir>/identity.json                   cluster id and node id
 *   <data-dir>/format.json                     version of the directory: which formats may be in it; missing: 1
 *   <data-dir>/restoring.json                  a restore into this directory is not finished: no log opens here
 *   <data-dir>/restoring.json.<32 hex digits>.tmp   one is about to begin; worthless where there is a log
 *   <data-dir>/installing.json                 another node's log is being put into place: the next opening ends it
 *   <data-dir>/incoming/                       another node's log and snapshot on their way, as in a data directory
 *   <data-dir>/diverged/<ms>-<first>-<last>-<lineage, 8 digits>/   records that were cut off, as a data directory
 *   <data-dir>/leadership.json                 the highest leadership that the node has heard of (written by replication)
 *   <data-dir>/following.json                  the log's last records came, or may come, from another node
 *   <data-dir>/recovery-point                  last offset known durable, and whether the last stop was clean
 *   <data-dir>/log/<base offset, 20 digits>.log    a segment
 *   <data-dir>/log/<base offset, 20 digits>.log.new   a segment being made; holds no record, removed by recovery
 *   <data-dir>/log/<base offset, 20 digits>.index  its sparse index, rebuilt when lost
 *   <data-dir>/torn/<base offset>-<position>-<ms>.torn   bytes cut from a torn end, kept for whoever asks
 *   <data-dir>/quarantine/<base offset>-<ms>.log, .json   a damaged segment that was replaced, and what was wrong with it
 *   <data-dir>/repair-<ms>/                    the original files of a log that `annals repair` changed
 *   <any name>.tmp                             a small file being replaced; worthless after a crash
 *   <data-dir>/snapshots/snapshot_<timestamp>_<offset>.snap   the projections' state at an offset; timestamp of its record
 */
import { offset as asOffset, type Offset } from "./units.js";

export const LOCK_FILE = "LOCK";
export const IDENTITY_FILE = "identity.json";
export const FORMAT_FILE = "format.json";
export const RECOVERY_POINT_FILE = "recovery-point";
export const RESTORING_FILE = "restoring.json";
export const INSTALLING_FILE = "installing.json";
export const INCOMING_DIRECTORY = "incoming";
export const DIVERGED_DIRECTORY = "diverged";
export const LEADERSHIP_FILE = "leadership.json";
export const FOLLOWING_FILE = "following.json";
export const LOG_DIRECTORY = "log";
export const TORN_DIRECTORY = "torn";
export const SNAPSHOT_DIRECTORY = "snapshots";
export const QUARANTINE_DIRECTORY = "quarantine";

/** Ending of a segment that is being made, before it gets its name. */
export const NEW_SUFFIX = ".new";
/** Ending of a small file that is being replaced (`replaceFile`). */
export const TEMPORARY_SUFFIX = ".tmp";

const SEGMENT_NAME = /^(\d{20})\.log$/;
const SNAPSHOT_NAME = /^snapshot_(0|[1-9]\d{0,15})_([1-9]\d{0,15})\.snap$/;
const DIVERGED_NAME = /^(\d{1,16})-(\d{1,16})-(\d{1,16})-([0-9a-f]{8})$/;
const QUARANTINED_NAME = /^(\d{20})-(\d{1,16})\.log$/;
const RESTORING_DRAFT = /^restoring\.json(\.[0-9a-f]{32})?\.tmp$/;
const INDEX_NAME = /^(\d{20})\.index$/;

const digits = (base: Offset): string => String(base).padStart(20, "0");

export function segmentName(base: Offset): string {
  return `${digits(base)}.log`;
}

export function newSegmentName(base: Offset): string {
  return `${segmentName(base)}${NEW_SUFFIX}`;
}

export function indexName(base: Offset): string {
  return `${digits(base)}.index`;
}

export function tornName(base: Offset, position: number, nowMs: number): string {
  return `${digits(base)}-${position}-${nowMs}.torn`;
}

/** `nowMs`: when the segment was put aside. */
export function quarantinedName(base: Offset, nowMs: number): string {
  return `${digits(base)}-${nowMs}.log`;
}

/** What the file beside a quarantined segment is called, which says what was wrong with it. */
export const quarantineNoteName = (quarantined: string): string => quarantined.replace(/\.log$/, ".json");

/** What the name of a quarantined segment says, or undefined if it is not one of ours. */
export function parseQuarantinedName(name: string): { base: Offset; keptAt: number } | undefined {
  const [, digitsOfBase, ms] = QUARANTINED_NAME.exec(name) ?? [];
  const base = Number(digitsOfBase);
  const keptAt = Number(ms);
  if (!Number.isSafeInteger(base) || !Number.isSafeInteger(keptAt) || base < 1) return undefined;
  return { base: asOffset(base), keptAt };
}

/** `id`: 32 hex digits. */
export function restoringDraftName(id: string): string {
  return `${RESTORING_FILE}.${id}${TEMPORARY_SUFFIX}`;
}

/** True also for the mark under the temporary name of its own. */
export function isRestoringDraft(name: string): boolean {
  return RESTORING_DRAFT.test(name);
}

export function repairDirectoryName(nowMs: number): string {
  return `repair-${nowMs}`;
}

export function isRepairDirectory(name: string): boolean {
  return /^repair-\d+$/.test(name);
}

/** True for what a crash can leave half made in the log directory: nothing in it was ever part of the log. */
export function isLeftover(name: string): boolean {
  if (name.endsWith(NEW_SUFFIX)) return parseSegmentName(name.slice(0, -NEW_SUFFIX.length)) !== undefined;
  if (name.endsWith(TEMPORARY_SUFFIX))
    return parseIndexName(name.slice(0, -TEMPORARY_SUFFIX.length)) !== undefined;
  return false;
}

/** Base offset of a segment file, or undefined if the name is not one of ours. */
export function parseSegmentName(name: string): Offset | undefined {
  return parseBase(SEGMENT_NAME, name);
}

export function parseIndexName(name: string): Offset | undefined {
  return parseBase(INDEX_NAME, name);
}

/** `timestamp`: ms since 1970, of the record at `offset`. */
export function snapshotName(timestamp: number, offset: Offset): string {
  return `snapshot_${timestamp}_${offset}.snap`;
}

/** `ms`: when the records `first` to `last` were kept, of which the last is of this lineage. */
export function divergedName(ms: number, first: Offset, last: Offset, lineageId: string): string {
  return `${ms}-${first}-${last}-${lineageId.slice(0, 8)}`;
}

/** What the name of a directory below `diverged/` says, or undefined if it is not one of ours. */
export function parseDivergedName(
  name: string,
): { keptAt: number; first: Offset; last: Offset; lineage: string } | undefined {
  const [, ms, first, last, lineage] = DIVERGED_NAME.exec(name) ?? [];
  if (ms === undefined || first === undefined || last === undefined || lineage === undefined)
    return undefined;
  const parsed = { keptAt: Number(ms), first: Number(first), last: Number(last) };
  if (!Object.values(parsed).every(Number.isSafeInteger)) return undefined;
  return { keptAt: parsed.keptAt, first: asOffset(parsed.first), last: asOffset(parsed.last), lineage };
}

/** What a snapshot's name says, or undefined if the name is not one of ours. */
export function parseSnapshotName(name: string): { timestamp: number; offset: Offset } | undefined {
  const [, timestamp, at] = SNAPSHOT_NAME.exec(name) ?? [];
  if (timestamp === undefined || at === undefined) return undefined;
  const parsed = { timestamp: Number(timestamp), offset: asOffset(Number(at)) };
  return Number.isSafeInteger(parsed.timestamp) && Number.isSafeInteger(parsed.offset) ? parsed : undefined;
}

function parseBase(pattern: RegExp, name: string): Offset | undefined {
  const found = pattern.exec(name)?.[1];
  if (found === undefined) return undefined;
  const base = Number(found);
  return Number.isSafeInteger(base) && base > 0 ? asOffset(base) : undefined;
}
