/** What opening a log gives and tells. */
import type { EventLog } from "./event-log.js";
import type { LogSegments, LogUsage } from "./log-segments.js";
import type { Identity } from "./settings.js";
import type { Offset } from "./units.js";

export interface RecoveryReport {
  /** True when the directory held no log before. */
  readonly created: boolean;
  /** True when the last stop left a clean-shutdown mark. */
  readonly clean: boolean;
  /** Bytes of an unfinished end that were kept aside and cut; 0 mostly. */
  readonly tornBytes: number;
  /** Where they are kept, or undefined. */
  readonly tornFile: string | undefined;
  readonly firstOffset: Offset;
  readonly endOffset: Offset;
  readonly durationMs: number;
}

export interface OpenedLog {
  readonly log: EventLog;
  /** To be checked and mended. Undefined of a log that is not made of segment files. */
  readonly segments: LogSegments | undefined;
  /** For metrics. */
  readonly usage: () => LogUsage;
  /** The first offset of the newest segments that have at most so many bytes together. */
  readonly firstWithin: (bytesMax: number) => Offset;
  readonly recovery: RecoveryReport;
  readonly identity: Identity;
  /** Of the data directory when it was opened. */
  readonly formatVersion: number;
}
