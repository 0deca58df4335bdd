/** Opening logs in tests: settings that a test overrides one by one, records that tell their number, reading back. */

import { randomBytes } from "node:crypto";
import { encodeEpochStart } from "../../log/epoch-start.js";
import {
  type EventLog,
  type FileSystem,
  type LogRecord,
  type NewRecord,
  type Offset,
  type OpenedLog,
  type OpenLogOptions,
  offset,
  openLog,
  realFileSystem,
} from "../../log/index.js";
import type { SimulatedDisk } from "../../props/world/simulated-file-system.js";

export const KIND = 7;

export function logOptions(dataDirectory: string, overrides: Partial<OpenLogOptions> = {}): OpenLogOptions {
  return {
    dataDirectory,
    files: realFileSystem,
    now: Date.now,
    randomBytes,
    holder: "a test",
    fsyncMode: "always",
    fsyncIntervalMs: 5,
    segmentBytes: 4096,
    segmentAgeMs: 0,
    reserveBytes: 0,
    recordBytesMax: 64 * 1024,
    pendingBytesMax: 1024 * 1024,
    ...overrides,
  };
}

export function openTestLog(
  dataDirectory: string,
  overrides: Partial<OpenLogOptions> = {},
): Promise<OpenedLog> {
  return openLog(logOptions(dataDirectory, overrides));
}

/** A record whose body begins with `text`, filled up to `bytes`. */
export function textRecord(text: string, bytes = text.length, timestamp = 1_000): NewRecord {
  return { kind: KIND, version: 1, timestamp, body: Buffer.from(text.padEnd(bytes, ".")) };
}

/** Appends `count` records and resolves when all are committed. Returns their offsets. */
export async function appendMany(log: EventLog, count: number, bytes = 100): Promise<Offset[]> {
  const offsets: Offset[] = [];
  for (let i = 0; i < count; i++) offsets.push(log.append(textRecord(`record ${log.endOffset + 1} `, bytes)));
  await log.whenCommitted(log.endOffset);
  return offsets;
}

export async function readAll(log: EventLog, from = log.firstOffset, last?: Offset): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  for await (const batch of log.read(from, last === undefined ? {} : { last })) records.push(...batch);
  return records;
}

export const textOf = (record: LogRecord): string => Buffer.from(record.body).toString("utf8");

export const offsetsOf = (records: readonly LogRecord[]): number[] => records.map((record) => record.offset);

/** first, first + 1, … last. */
export const span = (first: number, last: number): number[] =>
  Array.from({ length: Math.max(0, last - first + 1) }, (_, i) => first + i);

export const at = (value: number): Offset => offset(value);

/** Where logs lie on a simulated disk. */
export const DISK = "/disk";
export const DISK_LOG = `${DISK}/log`;

/** Opens a log on a simulated disk, as a new process would. */
export async function openOn(
  disk: SimulatedDisk,
  overrides: Partial<OpenLogOptions> = {},
): Promise<OpenedLog & { readonly files: FileSystem }> {
  const files = disk.mount();
  return { files, ...(await openTestLog(DISK, { files, ...overrides })) };
}

export const segmentFile = (base: number): string => `${String(base).padStart(20, "0")}.log`;

/** Of the body of a log's first record. */
export const CREATED_BYTES = encodeEpochStart({ reason: "created" }).length;
