/**
 * The parts of a snapshot, one for each projection, in the order of the file. A projection writes its state as rows (MessagePack
 * values, one after the other) and reads them back into a state that is still empty; how they get into a file is no business of its own.
 */
import type { Fold } from "../fold.js";
import { idempotencyRows, idempotencySection } from "../idempotency/snapshot.js";
import { kvRows, kvSection } from "../kv/snapshot.js";
import { pointRows, pointSection } from "../points/snapshot.js";
import { queueRows, queueSection } from "../queue/snapshot.js";
import type { SectionReader } from "../section.js";
import { streamRows, streamSection } from "../stream/snapshot.js";
import type { BodyWriter } from "../wire.js";
import type { SnapshotCounts } from "./contract.js";

interface Section {
  /** In the file, for ever. */
  readonly number: number;
  /** Yields between rows, so that those written so far can be taken; what is left at its end is the last of them. */
  readonly rows: (fold: Fold, writer: BodyWriter) => Generator<void>;
  readonly reader: (fold: Fold) => SectionReader;
}

export const SECTIONS: readonly Section[] = [
  { number: 1, rows: ({ kv }, writer) => kvRows(kv, writer), reader: ({ kv }) => kvSection(kv) },
  {
    number: 2,
    rows: ({ queue }, writer) => queueRows(queue, writer),
    reader: ({ queue }) => queueSection(queue),
  },
  {
    number: 3,
    rows: ({ stream }, writer) => streamRows(stream, writer),
    reader: ({ stream }) => streamSection(stream),
  },
  {
    number: 4,
    rows: ({ idempotency }, writer) => idempotencyRows(idempotency, writer),
    reader: ({ idempotency }) => idempotencySection(idempotency),
  },
  {
    number: 5,
    rows: ({ points }, writer) => pointRows(points, writer),
    reader: ({ points }) => pointSection(points),
  },
];

export const LAST_SECTION = 5;

export function countsOf({ kv, queue, stream, idempotency }: Fold): SnapshotCounts {
  return {
    keys: kv.keysHeld,
    queues: queue.queueCount,
    messages: queue.table.size,
    streams: stream.count,
    answers: idempotency.size,
  };
}
