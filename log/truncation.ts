/**
 * Truncation cuts the newest records off a log whose tail is not being written: for a replica whose end diverged from its
 * primary's. Interrupted anywhere, it leaves a log that ends somewhere between the old end and the new one.
 */
import { corruption } from "./corruption.js";
import { assert, LogError } from "./errors.js";
import { indexName } from "./file-names.js";
import type { LogFiles } from "./log-cursor.js";
import { ownFile } from "./own-file.js";
import { shownPath } from "./segment-chain.js";
import type { LogSegment } from "./segment-list.js";
import { type ReadPoint, readBatch } from "./segment-reader.js";
import { findingOfBad, pointAt } from "./segment-scan.js";
import { offset as asOffset, type Offset } from "./units.js";

export interface CutPoint {
  /** The segment that will be the tail. */
  readonly segment: LogSegment;
  /** Where it will end. */
  readonly next: ReadPoint;
}

/**
 * Finds where the log has to be cut so that it ends with `last`; changes nothing yet.
 * @throws LogError LOG_OFFSET_RETIRED, LOG_CORRUPT.
 */
export async function findCut(log: LogFiles, last: Offset): Promise<CutPoint> {
  const segment = log.segments.containing(last);
  if (segment === undefined) {
    const first = log.segments.first.base;
    const message = `the log begins at ${first}: it cannot be cut after ${last}`;
    throw new LogError("LOG_OFFSET_RETIRED", message, { offset: last, first });
  }
  const after = asOffset(last + 1);
  const index = await log.indexes.of(segment);
  const handle = await log.files.open(`${log.logDirectory}/${segment.name}`, "read");
  try {
    for (let point = index.floor(after); ; ) {
      const batch = await readBatch(handle, point, segment.bytes, segment.header);
      if (after <= batch.next.offset) return { segment, next: pointAt(batch, point, after - point.offset) };
      if (batch.bad !== undefined) throw corruption(findingOfBad(shownPath(segment.name), batch.bad));
      assert(batch.records.length > 0, "a segment holds every offset up to the next one's base");
      point = batch.next;
    }
  } finally {
    await handle.close();
  }
}

/**
 * Makes the log end at `cut`. Newest segments go first, each removal durable before the next, so that a power cut finds
 * the log without a hole; the new tail is cut last.
 */
export async function cutLog(log: LogFiles, cut: CutPoint): Promise<void> {
  const { files, logDirectory, segments, indexes, handles } = log;
  for (const reader of segments.readers) reader.cutAfter(asOffset(cut.next.offset - 1));
  while (segments.tail !== cut.segment) {
    const newest = segments.dropTail();
    indexes.forget(newest);
    await handles.forget(newest);
    await removeIndex(log, newest);
    await files.remove(`${logDirectory}/${newest.name}`);
    await files.syncDirectory(logDirectory);
  }
  const { segment, next } = cut;
  const index = await indexes.of(segment);
  // A tail has no index file: the one it had as a sealed segment speaks of an end that is no more.
  await removeIndex(log, segment);
  indexes.forget(segment);
  await handles.forget(segment);
  index.truncate(asOffset(next.offset - 1));
  segment.index = index;
  segment.sealed = false;
  segment.bytes = next.position;
  segments.cuts += 1;
  await ownFile(files, logDirectory, segment.name);
  // The name may stand for another file now: who opened the one before looks again.
  segments.cuts += 1;
  const handle = await files.open(`${logDirectory}/${segment.name}`, "write");
  try {
    await handle.truncate(next.position);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await files.syncDirectory(logDirectory);
}

async function removeIndex({ files, logDirectory }: LogFiles, segment: LogSegment): Promise<void> {
  const path = `${logDirectory}/${indexName(segment.base)}`;
  if (await files.exists(path)) await files.remove(path);
}
