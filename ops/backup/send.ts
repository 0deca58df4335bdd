/**
 * Brings one file into a repository: reads it once to know what it is called there – its name carries its hash – and to
 * verify it, then links it, or reads it again to copy it. So damage at the source is found and never becomes a backup.
 */
import { createHash, type Hash } from "node:crypto";
import {
  checkSegment,
  describeFinding,
  type FileSystem,
  LogError,
  type ResumePoint,
  readFilePieces,
  type SegmentExtent,
  segmentBytes,
} from "../../log/index.js";
import type { Breaks } from "./breaks.js";
import { segmentObject, snapshotObject } from "./layout.js";
import type { SegmentEntry, SnapshotEntry } from "./manifest.js";
import type { ObjectStore } from "./object-store.js";

export interface SendOptions {
  readonly files: FileSystem;
  readonly store: ObjectStore;
  /** Sizes of the objects that are there; what is sent is added. */
  readonly there: Map<string, number>;
  /** Never link, also where it could be done. */
  readonly copy: boolean;
  /** Each byte is told twice: when it was verified, and when it was brought or found there. */
  readonly onBytes: (bytes: number) => void;
  readonly breaks?: Breaks | undefined;
}

export type Sent = "there" | "linked" | "copied";

export interface SentFile<Entry> {
  readonly entry: Entry;
  readonly how: Sent;
}

/** @throws LogError LOG_CORRUPT, LOG_OFFSET_RETIRED; BackupError BACKUP_SOURCE_CHANGED. */
export async function sendSegment(
  options: SendOptions,
  dataDirectory: string,
  extent: SegmentExtent,
  from: ResumePoint | undefined,
): Promise<SentFile<SegmentEntry>> {
  const read = (): AsyncGenerator<Uint8Array, void> =>
    segmentBytes(options.files, dataDirectory, extent, from);
  const hash = createHash("sha256");
  const checked = await checkSegment(extent.file, hashed(read(), hash, options));
  if ("code" in checked) throw damaged(describeFinding(checked), extent.file);
  const { header, lastOffset, lastCrc, bytes } = checked;
  if (lastOffset !== extent.lastOffset || lastCrc !== extent.lastCrc)
    throw damaged(
      `${extent.file}: expected to end with offset ${extent.lastOffset}, crc ${extent.lastCrc}, found ${lastOffset}, ${lastCrc}`,
      extent.file,
    );
  const sha256 = hash.digest("hex");
  const { baseOffset, lineageId, chainCrc } = header;
  const entry: SegmentEntry = {
    kind: "segment",
    name: segmentObject({ firstOffset: baseOffset, lastOffset, lineageId, sha256 }),
    bytes,
    sha256,
    baseOffset,
    endOffset: lastOffset,
    ...(from === undefined ? {} : { segmentBase: extent.header.baseOffset }),
    lineageId,
    chainCrc,
    endCrc: lastCrc,
  };
  const path = extent.sealed && from === undefined ? `${dataDirectory}/${extent.file}` : undefined;
  return { entry, how: await bring(options, entry, path, read) };
}

/** @throws what the file system throws: ENOENT when whoever owns the directory has removed it. */
export async function sendSnapshot(
  options: SendOptions,
  directory: string,
  fileName: string,
  offset: number,
): Promise<SentFile<SnapshotEntry>> {
  const path = `${directory}/${fileName}`;
  const read = (): AsyncGenerator<Uint8Array, void> => readFilePieces(options.files, path);
  const hash = createHash("sha256");
  let bytes = 0;
  for await (const chunk of hashed(read(), hash, options)) bytes += chunk.length;
  const sha256 = hash.digest("hex");
  const entry: SnapshotEntry = {
    kind: "snapshot",
    name: snapshotObject(fileName, sha256),
    bytes,
    sha256,
    offset,
  };
  return { entry, how: await bring(options, entry, path, read) };
}

/** `path` is the file that could be linked: one that holds exactly these bytes and never changes. */
async function bring(
  options: SendOptions,
  { name, bytes, sha256 }: SegmentEntry | SnapshotEntry,
  path: string | undefined,
  read: () => AsyncIterable<Uint8Array>,
): Promise<Sent> {
  const { store, there, copy, onBytes } = options;
  const found = there.get(name);
  if (found === bytes) {
    onBytes(bytes);
    return "there";
  }
  // Of another size it is damaged, and nobody can want it.
  if (found !== undefined) await store.remove(name);
  const linked = !copy && path !== undefined && store.link !== undefined && (await store.link(path, name));
  if (linked) onBytes(bytes);
  const put = (): Promise<"stored" | "exists"> =>
    store.put(name, paced(read(), options), { ifAbsent: true, sha256 });
  const isTaken = !linked && (await put()) === "exists";
  const isWhole = !isTaken || (await store.head(name))?.bytes === bytes;
  if (!isWhole) {
    await store.remove(name);
    await put();
  }
  there.set(name, bytes);
  if (linked) return "linked";
  return isTaken && isWhole ? "there" : "copied";
}

async function* hashed(
  stream: AsyncIterable<Uint8Array>,
  hash: Hash,
  options: SendOptions,
): AsyncGenerator<Uint8Array, void> {
  for await (const chunk of paced(stream, options)) {
    hash.update(chunk);
    yield chunk;
  }
}

/** Counts the pieces, and takes a break after each, when it was read and whoever asked for it has done its work on it. */
async function* paced(
  stream: AsyncIterable<Uint8Array>,
  { onBytes, breaks }: SendOptions,
): AsyncGenerator<Uint8Array, void> {
  let begun = breaks?.stopwatch() ?? 0;
  for await (const chunk of stream) {
    onBytes(chunk.length);
    yield chunk;
    if (breaks === undefined) continue;
    await breaks.take(breaks.stopwatch() - begun);
    begun = breaks.stopwatch();
  }
}

function damaged(message: string, file: string): LogError {
  return new LogError("LOG_CORRUPT", message, { file });
}
