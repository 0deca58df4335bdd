/** What opening a log takes. `ops/config` is where the defaults and their reasons stand. */
import type { EpochEntry, LogObserver } from "./event-log.js";
import type { FileSystem } from "./file-system.js";

export type FsyncMode =
  /** Committed = durable: each batch is synced before it counts. */
  | "always"
  /** Committed = handed to the system; a timer syncs every `fsyncIntervalMs`. A power cut may take the last interval. */
  | "periodic"
  /** Committed = handed to the system, which writes when it likes. Segments are still synced when they are sealed. */
  | "never";

export interface LogSettings {
  readonly fsyncMode: FsyncMode;
  readonly fsyncIntervalMs: number;
  /** Size at which the tail segment is sealed: 4 KiB to 1 GiB. A single larger record still fits: a segment holds at least one. */
  readonly segmentBytes: number;
  /** Age at which a non-empty tail segment is sealed; 0 = never by age. */
  readonly segmentAgeMs: number;
  /** Appends are refused (LOG_DISK_FULL) when writing ahead would leave less free than this. */
  readonly reserveBytes: number;
  /** Largest record body accepted; at most RECORD_BODY_BYTES_MAX. */
  readonly recordBytesMax: number;
  /** Bytes that may wait for the disk in memory before appends are refused (LOG_BUSY). */
  readonly pendingBytesMax: number;
}

export interface OpenLogOptions extends LogSettings {
  readonly dataDirectory: string;
  readonly files: FileSystem;
  /** Wall clock, ms since 1970. Used for file headers and segment age; never for meaning. */
  readonly now: () => number;
  /** Ms with fractions, from any beginning, for what the observer is told. Default: `now`. */
  readonly stopwatch?: () => number;
  /** Random bytes for cluster, node and lineage ids. */
  readonly randomBytes: (count: number) => Uint8Array;
  /** Who holds the lock, shown to whoever is refused: e.g. "annals serve, pid 42". */
  readonly holder: string;
  readonly observer?: LogObserver;
  /**
   * The log follows another one from the start: no epoch begins, and it takes no appends. The directory must hold a log already.
   * Without it a log that followed last begins an epoch of its own, for nobody may append to another node's.
   */
  readonly following?: boolean;
  /**
   * Asked, of a log that does not follow, before this node begins an epoch of its own or takes an append: with the newest epoch that was
   * found, undefined of a new log. Rejects when somebody else may lead; then nothing is written.
   */
  readonly mayLead?: (newest: EpochEntry | undefined) => Promise<void>;
}

export interface Identity {
  /** 32 hex digits each. */
  readonly clusterId: string;
  readonly nodeId: string;
}
