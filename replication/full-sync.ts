/**
 * What a replica gets that cannot be continued: the whole log; or, where that no longer begins with its first record or everything is wanted
 * anew, the newest snapshot and the log from the segment that holds the snapshot's record.
 */
import type { EventLog, Offset } from "../log/index.js";
import { ReplicationError } from "./errors.js";
import type { SnapshotSource } from "./link-ports.js";

/** Enough to keep the disk and the network busy, small enough that other words get in between. */
const CHUNK_BYTES_MAX = 256 * 1024;

export interface FullSync {
  readonly snapshot: SnapshotSource | undefined;
  /** Where a segment begins. */
  readonly from: Offset;
  /** With this record it is whole. */
  readonly until: Offset;
}

/** @throws ReplicationError REPLICATION_NOT_READY while there is nothing that a replica could begin with. */
export async function planFullSync(
  log: EventLog,
  newestSnapshot: () => Promise<SnapshotSource | undefined>,
  wantsSnapshot: boolean,
): Promise<FullSync> {
  const isWhole = log.firstOffset <= 1;
  const found = isWhole && !wantsSnapshot ? undefined : await newestSnapshot();
  const snapshot = found !== undefined && isWithin(found, log) ? found : undefined;
  const until = log.durableOffset;
  if (until < log.firstOffset || (!isWhole && snapshot === undefined))
    throw new ReplicationError(
      "REPLICATION_NOT_READY",
      until < log.firstOffset
        ? "nothing of the log is durable yet"
        : `the log begins at offset ${log.firstOffset} and no snapshot reaches up to there yet`,
      { first: log.firstOffset, durable: until, snapshot: found?.offset },
    );
  // The segment with the snapshot's own record proves that the two belong together; retention may have taken that record, not the next.
  const needed =
    snapshot === undefined || snapshot.offset < log.firstOffset ? log.firstOffset : snapshot.offset;
  return { snapshot, from: log.segmentStart(needed), until };
}

/** A snapshot of something that is not durable yet, or with a gap between it and the log, is no beginning. */
function isWithin(snapshot: SnapshotSource, log: EventLog): boolean {
  return snapshot.offset <= log.durableOffset && snapshot.offset + 1 >= log.firstOffset;
}

/** The snapshot's bytes in pieces of at most `bytesMax`, which fit into a frame. @throws ReplicationError REPLICATION_INSTALL_FAILED when it is not as long as it said. */
export async function* chunksOf(snapshot: SnapshotSource, bytesMax: number): AsyncGenerator<Uint8Array> {
  const size = Math.min(bytesMax, CHUNK_BYTES_MAX);
  let left = snapshot.bytes;
  for await (const bytes of snapshot.read()) {
    left -= bytes.length;
    if (left < 0) break;
    for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
  }
  if (left !== 0)
    throw new ReplicationError(
      "REPLICATION_INSTALL_FAILED",
      `the snapshot ${snapshot.name} changed its size`,
      {
        snapshot: snapshot.name,
        expected: snapshot.bytes,
        found: snapshot.bytes - left,
      },
    );
}
