/** What the log room shows to the others. */
export { crc32 } from "./checksum.js";
export { describeFinding, type Finding, type FindingCode } from "./corruption.js";
export {
  DamagedDirectory,
  type DamagedDirectoryOptions,
  findingOf,
  type Remedy,
} from "./damaged-directory.js";
export { readIdentity } from "./data-directory.js";
export { DIRECTORY_FORMAT_VERSION, raiseDirectoryFormat, readDirectoryFormat } from "./directory-format.js";
export { type ReadDirectoryOptions, readDirectory } from "./directory-reader.js";
export { isDiverged, type KeptRecords, keepDiverged, listDiverged } from "./diverged.js";
export { decodeEpochStart, EPOCH_START_VERSION, type EpochStart, upgradeEpochStart1 } from "./epoch-start.js";
export { EPOCH_STARTED } from "./epochs.js";
export * from "./errors.js";
export type * from "./event-log.js";
export * from "./file-names.js";
export * from "./file-system.js";
export {
  decodeSegmentHeader,
  encodeSegmentHeader,
  RECORD_BODY_BYTES_MAX,
  RECORD_HEADER_BYTES,
  SEGMENT_FORMAT_VERSION,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  type SegmentHeaderFault,
} from "./format.js";
export {
  type CommitInstallation,
  Installation,
  type InstallationOptions,
  type InstalledLog,
  soundEnd,
} from "./installation.js";
export { holdsLog } from "./installing.js";
export { EMPTY_LOG } from "./log-mark.js";
export type { LogSegments, LogUsage, SealedExtent, SegmentFound } from "./log-segments.js";
export { type LogView, type LogViewOptions, openLogView } from "./log-view.js";
export type { MendedSegments, MendTarget, SegmentMending } from "./mending.js";
export { openLog } from "./open-log.js";
export type * from "./opened-log.js";
export { measurePutAside, type PutAside } from "./put-aside.js";
export { listQuarantined, type QuarantinedSegment } from "./quarantine.js";
export { realFileSystem } from "./real-file-system.js";
export { type RecoveryPoint, readRecoveryPoint, writeRecoveryPoint } from "./recovery-point.js";
export { applyRepair, planRepair, type RepairPlan, type RepairReport } from "./repair.js";
export { cutRestoredEpoch } from "./restored-epoch.js";
export {
  type FinishRestore,
  type PlacedSegment,
  type RestoreDirectoryOptions,
  type RestoredLog,
  RestoringDirectory,
} from "./restoring-directory.js";
export { type FirstNeeded, firstNeeded, type OffsetHolder } from "./retention.js";
export { type CheckedSegment, checkSegment } from "./segment-check.js";
export {
  bytesFrom,
  extentsUpTo,
  type ResumePoint,
  resumePoints,
  type SegmentExtent,
  segmentBytes,
} from "./segment-extent.js";
export { decodeHeader as segmentHeaderOf } from "./segment-reader.js";
export { SegmentRewriting } from "./segment-rewriting.js";
export type * from "./settings.js";
export * from "./units.js";
export { type VerifyReport, verifyDirectory } from "./verify.js";
