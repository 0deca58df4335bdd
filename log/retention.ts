/**
 * Retention removes whole sealed segments from the beginning of the log. Who still needs what is decided from a list of
 * holders; this file removes nothing that one of them holds.
 */
import { indexName } from "./file-names.js";
import type { LogFiles } from "./log-cursor.js";
import type { LogSegment } from "./segment-list.js";
import { offset as asOffset, type Offset } from "./units.js";

/** Somebody who still needs the log from an offset on: a snapshot, a replica, a stream, an unfinished upload. */
export interface OffsetHolder {
  /** Who, as an operator would say it. */
  readonly name: string;
  readonly offset: Offset;
}

export interface FirstNeeded {
  readonly offset: Offset;
  /** Who holds it there; undefined when nobody needs anything up to the limit. */
  readonly holder: OffsetHolder | undefined;
}

/** The first offset that somebody still needs, at most `limit`: what `retain` may be called with. */
export function firstNeeded(holders: readonly OffsetHolder[], limit: Offset): FirstNeeded {
  let first: FirstNeeded = { offset: limit, holder: undefined };
  for (const holder of holders) if (holder.offset < first.offset) first = { offset: holder.offset, holder };
  return first;
}

/** The first offset of the newest segments that have at most so many bytes together; the tail always stays. */
export function firstWithin(segments: readonly LogSegment[], bytesMax: number): Offset {
  let first = segments[segments.length - 1];
  let bytes = 0;
  for (const segment of [...segments].reverse()) {
    bytes += segment.bytes;
    if (bytes > bytesMax) break;
    first = segment;
  }
  return first === undefined ? asOffset(1) : asOffset(first.base);
}

/**
 * Removes the sealed segments whose every offset is below `needed`, oldest first, and makes each removal durable before
 * the next: a power cut may undo un-synced removals in any order, and a hole in the log would be damage.
 */
export async function removeOldest(
  log: LogFiles,
  needed: Offset,
  indexFileWritten: () => Promise<void>,
): Promise<Offset> {
  const { files, logDirectory, segments, indexes, handles } = log;
  for (;;) {
    const second = segments.all()[1];
    if (second === undefined || second.base > needed) return asOffset(segments.first.base);
    // Out of the list first, so that no reader looks for a file that is about to go.
    const oldest = segments.dropFirst();
    indexes.forget(oldest);
    await handles.forget(oldest);
    // The index of a segment sealed just now may still be on its way to the disk.
    await indexFileWritten();
    const index = `${logDirectory}/${indexName(oldest.base)}`;
    if (await files.exists(index)) await files.remove(index);
    await files.remove(`${logDirectory}/${oldest.name}`);
    await files.syncDirectory(logDirectory);
  }
}
