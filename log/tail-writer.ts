/**
 * Writes batches to the tail segment: stamps the records, keeps filled space ahead of them, and rolls to the next segment
 * when one is full or old. It owns the two marks that only the disk can move: written and durable.
 *
 * The order at a roll, each step durable before the next, so that recovery can tell what it finds:
 *   1. the old segment is cut to its last record      (sealed = records to the last byte)
 *   2. the new one, under its `.new` name, gets its header (and the first record of an epoch)
 *   3. rename to its final name                        (a segment with a final name has a whole header)
 *   4. sync of the directory                           (only then a record may go into it)
 * Everything here fails for good: a caller that sees a rejection must write no more. Only a full disk is waited for.
 */
import { randomId } from "./data-directory.js";
import { assert } from "./errors.js";
import type { LogObserver } from "./event-log.js";
import { newSegmentName } from "./file-names.js";
import type { FileSystem } from "./file-system.js";
import {
  chainSalt,
  encodeSegmentHeader,
  RECORD_HEADER_BYTES,
  recordLength,
  recordTimestamp,
  SEGMENT_HEADER_BYTES,
  type SegmentHeader,
  stampRecord,
} from "./format.js";
import type { Batch } from "./commit-queue.js";
import type { FreeSpace } from "./free-space.js";
import { OffsetIndex, writeIndexFile } from "./offset-index.js";
