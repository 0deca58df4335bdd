/**
 * Marks: which log something belongs to, up to which record. Taken from the record itself; of the record just before the oldest
 * that is kept, the header of the segment that continues it still tells.
 */
import { LogError } from "./errors.js";
import type { LogMark, LogReader } from "./event-log.js";
import { beyondEnd } from "./refusals.js";
import type { SegmentList } from "./segment-list.js";
import type { Offset } from "./units.js";

type Records = Pick<LogReader, "read">;

/** @throws LogError LOG_OFFSET_RETIRED, LOG_OFFSET_BEYOND_END, LOG_CORRUPT. */
export async function markAt(log: Records, segments: SegmentList, at: Offset, end: Offset): Promise<LogMark> {
  const segment = segments.count === 0 || at > end ? undefined : segments.containing(at);
  for await (const [record] of log.read(at, { last: at })) {
    if (record === undefined || segment === undefined) break;
    const { clusterId, lineageId, epoch } = segment.header;
    return { clusterId, lineageId, epoch, offset: at, timestamp: record.timestamp, crc: record.crc };
  }
  throw beyondEnd(at, end);
}

/** @throws LogError LOG_CORRUPT. */
export async function agrees(
  log: Records,
  segments: SegmentList,
  mark: LogMark,
  end: Offset,
): Promise<boolean> {
  if (segments.count === 0 || mark.offset > end) return false;
  if (mark.offset + 1 === segments.first.base) return isContinuedBy(mark, segments);
  if (mark.offset < segments.first.base) return false;
  try {
    const own = await markAt(log, segments, mark.offset, end);
    return (
      own.clusterId === mark.clusterId &&
      own.lineageId === mark.lineageId &&
      own.epoch === mark.epoch &&
      own.timestamp === mark.timestamp &&
      own.crc === mark.crc
    );
  } catch (error) {
    // Retention was quicker: what is not there cannot agree.
    if (error instanceof LogError && error.code === "LOG_OFFSET_RETIRED") return false;
    throw error;
  }
}

/** The oldest segment knows crc and time of the record before it; its epoch only when it is not the first of its own. */
function isContinuedBy(mark: LogMark, segments: SegmentList): boolean {
  const { header } = segments.first;
  const isSameEpoch = header.epoch === mark.epoch && header.lineageId === mark.lineageId;
  const beginsEpoch = header.epochFirst === header.baseOffset && header.epoch > mark.epoch;
  return (
    header.clusterId === mark.clusterId &&
    header.chainCrc === mark.crc &&
    header.chainTimestamp === mark.timestamp &&
    (isSameEpoch || beginsEpoch)
  );
}
