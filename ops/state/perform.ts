/** The jobs of the state worker, done: on whatever files, so that the command line and the tests do them likewise. */
import {
  type FileSystem,
  LogError,
  type Offset,
  openLogView,
  raiseDirectoryFormat,
  SNAPSHOT_DIRECTORY,
  unreachable,
} from "../../log/index.js";
import {
  Fold,
  foldTo,
  type GiveWay,
  readSnapshot,
  SnapshotError,
  type StoreRules,
  writeSnapshot,
} from "../../projections/index.js";
import { LiveSettings } from "../config/rooms.js";
import type {
  CheckJob,
  FileJob,
  FileJobResult,
  JobProgress,
  SnapshotChecked,
  SnapshotJob,
  SnapshotMade,
  SnapshotWarning,
} from "./jobs.js";

export interface Workplace {
  readonly files: FileSystem;
  /** Ms since 1970. */
  readonly now: () => number;
  readonly stopwatch: () => number;
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: JobProgress) => void;
  readonly giveWay?: GiveWay;
}

/** @throws LogError, SnapshotError, ProjectionError, what the file system throws; `signal.reason`. */
export function perform(job: FileJob, place: Workplace): Promise<FileJobResult> {
  switch (job.type) {
    case "snapshot":
      return makeSnapshot(
        { ...job, reserveBytes: job.values["log.reserve_bytes"] },
        new LiveSettings(job.values).rules,
        place,
      );
    case "check":
      return checkSnapshot(job, new LiveSettings(job.values).rules, place);
    default:
      return unreachable(job);
  }
}

/** What making a snapshot takes of its job. */
export type SnapshotAsked = Pick<SnapshotJob, "dataDirectory"> & {
  /** Default: the last whole record on the disk. */
  readonly last?: Offset;
  /** Bytes that must stay free on the disk: the log lives there too. Default: 0. */
  readonly reserveBytes?: number;
};

export async function makeSnapshot(
  { dataDirectory, last, reserveBytes = 0 }: SnapshotAsked,
  rules: StoreRules,
  { files, now, stopwatch, signal, onProgress, giveWay }: Workplace,
): Promise<SnapshotMade> {
  const directory = snapshotsOf(dataDirectory);
  const log = await openLogView(files, dataDirectory, last === undefined ? {} : { last });
  const warnings: SnapshotWarning[] = [];
  const begunAt = stopwatch();
  const beside = giveWay === undefined ? {} : { giveWay };
  const { fold, from } = await foldTo(
    log,
    { files, directory },
    {
      rules,
      ...beside,
      ...(signal === undefined ? {} : { signal }),
      onProgress: ({ step, done, total }) => onProgress?.({ step, done, total }),
      onWarning: (problem) => warnings.push(warningOf(problem)),
    },
  );
  try {
    const foldedAt = stopwatch();
    const room = new Room(files, dataDirectory, reserveBytes, signal);
    await room.look(from?.bytes ?? 0);
    // Before there is a file that an earlier release cannot read.
    await raiseDirectoryFormat(files, dataDirectory);
    const facts = await writeSnapshot(files, directory, fold, await log.markAt(fold.offset), {
      now,
      ...beside,
      signal: room.signal,
      onProgress: (done) => {
        room.written(done);
        onProgress?.({ step: "writing", done, total: undefined });
      },
    });
    return {
      type: "snapshot",
      facts,
      from: from?.offset,
      replayedRecords: fold.offset - (from?.offset ?? 0),
      foldMs: foldedAt - begunAt,
      writeMs: stopwatch() - foldedAt,
      warnings,
    };
  } finally {
    fold.close();
  }
}

/**
 * A snapshot lies on the disk of the log. It gives up before it takes the bytes at which writes would be refused: a start can do
 * without a new snapshot, the store cannot do without room for its log.
 */
class Room {
  readonly #files: FileSystem;
  readonly #directory: string;
  readonly #reserveBytes: number;
  readonly #stop = new AbortController();
  readonly signal: AbortSignal;
  #lookedAt = 0;

  constructor(files: FileSystem, directory: string, reserveBytes: number, signal: AbortSignal | undefined) {
    this.#files = files;
    this.#directory = directory;
    this.#reserveBytes = reserveBytes;
    this.signal = signal === undefined ? this.#stop.signal : AbortSignal.any([signal, this.#stop.signal]);
  }

  /** @throws LogError LOG_DISK_FULL when so many bytes more would leave too few. */
  async look(bytesMore: number): Promise<void> {
    const free = await this.#files.freeBytes(this.#directory);
    if (free - bytesMore < this.#reserveBytes) throw noRoom(free, bytesMore, this.#reserveBytes);
  }

  written(bytes: number): void {
    if (bytes - this.#lookedAt < LOOK_EVERY_BYTES) return;
    this.#lookedAt = bytes;
    this.look(LOOK_EVERY_BYTES).catch((error: unknown) => this.#stop.abort(error));
  }
}

const LOOK_EVERY_BYTES = 16 * 1024 * 1024;

function noRoom(free: number, more: number, reserve: number): LogError {
  return new LogError(
    "LOG_DISK_FULL",
    `no snapshot was made: ${free} bytes are free, it takes ${more} more, and ${reserve} are to stay free (log.reserve_bytes)`,
    { free, more, reserve },
  );
}

export async function checkSnapshot(
  { dataDirectory, name }: Pick<CheckJob, "dataDirectory" | "name">,
  rules: StoreRules,
  { files, signal, onProgress, giveWay }: Workplace,
): Promise<SnapshotChecked> {
  const fold = new Fold({ rules });
  try {
    await readSnapshot(files, `${snapshotsOf(dataDirectory)}/${name}`, fold, {
      ...(signal === undefined ? {} : { signal }),
      ...(giveWay === undefined ? {} : { giveWay }),
      onProgress: (done, total) => onProgress?.({ step: "snapshot", done, total }),
    });
    return { type: "check", problem: undefined, streamsFrom: fold.stream.oldestShown(fold.clock) };
  } catch (error) {
    if (!(error instanceof SnapshotError)) throw error;
    return { type: "check", problem: warningOf(error), streamsFrom: undefined };
  } finally {
    fold.close();
  }
}

const snapshotsOf = (dataDirectory: string): string => `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
const warningOf = ({ code, message }: SnapshotError): SnapshotWarning => ({ code, message });
