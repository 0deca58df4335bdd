/**
 * Marks: which log something belongs to, up to which record. Taken from the record itself; of the record just before the oldest
 * that is kept, the header of the segment that continues it still tells.
 */
import { LogError } from "./errors.js";
import type { LogMark, LogPosition, LogReader } from "./event-log.js";
import { beyondEnd } from "./refusals.js";
import type { SegmentList } from "./segment-list.js";
import { epoch as asEpoch, BEFORE_FIRST, type Offset } from "./units.js";

/** Where a log without a record ends, and where every log begins. */
export const EMPTY_LOG: LogPosition = {
  offset: BEFORE_FIRST,
  crc: 0,
  epoch: asEpoch(0),
  lineageId: "0".repeat(32),
};

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

/** @throws LogError LOG_OFFSET_RETIRED, LOG_OFFSET_BEYOND_END, LOG_CORRUPT. */
export async function positionAt(
  log: Records,
  segments: SegmentList,
  at: Offset,
  end: Offset,
): Promise<LogPosition> {
  if (at === EMPTY_LOG.offset) return EMPTY_LOG;
  const { header } = segments.first;
  // Of the record just before the oldest the header tells, unless another epoch wrote it.
  if (at + 1 === header.baseOffset && header.epochFirst < header.baseOffset)
    return { offset: at, crc: header.chainCrc, epoch: header.epoch, lineageId: header.lineageId };
  const { crc, epoch, lineageId } = await markAt(log, segments, at, end);
  return { offset: at, crc, epoch, lineageId };
}

/** @throws LogError LOG_CORRUPT. */
export async function agrees(
  log: Records,
  segments: SegmentList,
  mark: LogPosition | LogMark,
  end: Offset,
): Promise<boolean> {
  if (segments.count === 0 || mark.offset > end) return false;
  if (mark.offset + 1 === segments.first.base) return isContinuedBy(mark, segments);
  if (mark.offset < segments.first.base) return false;
  try {
    const own = await markAt(log, segments, mark.offset, end);
    return (
      own.lineageId === mark.lineageId &&
      own.epoch === mark.epoch &&
      own.crc === mark.crc &&
      (!("clusterId" in mark) || (own.clusterId === mark.clusterId && own.timestamp === mark.timestamp))
    );
  } catch (error) {
    // Retention was quicker: what is not there cannot agree.
    if (error instanceof LogError && error.code === "LOG_OFFSET_RETIRED") return false;
    throw error;
  }
}

/**
 * Whether the log that ended at `end` is proven to be a beginning of this one: its last record is here and the same; or it lies before what is
 * kept here, in the epoch that this log begins in the middle of. One node writes an epoch, record after record, and only what is durable
 * there is sent to others. Of an earlier epoch nobody can say how far it went. @throws LogError LOG_CORRUPT.
 */
export async function continues(
  log: Pick<LogReader, "firstOffset" | "epochs" | "agrees">,
  { offset, ...end }: LogPosition,
): Promise<boolean> {
  if (offset === EMPTY_LOG.offset) return true;
  if (offset + 1 >= log.firstOffset) return await log.agrees({ offset, ...end });
  const oldest = log.epochs[0];
  return oldest?.epoch === end.epoch && oldest.lineageId === end.lineageId && oldest.first <= offset;
}

/** The oldest segment knows crc and time of the record before it; its epoch only when it is not the first of its own. */
function isContinuedBy(mark: LogPosition | LogMark, segments: SegmentList): boolean {
  const { header } = segments.first;
  const isSameEpoch = header.epoch === mark.epoch && header.lineageId === mark.lineageId;
  const beginsEpoch = header.epochFirst === header.baseOffset && header.epoch > mark.epoch;
  return (
    header.chainCrc === mark.crc &&
    (isSameEpoch || beginsEpoch) &&
    (!("clusterId" in mark) ||
      (header.clusterId === mark.clusterId && header.chainTimestamp === mark.timestamp))
  );
}
