/** Data directories as an earlier build left them: directory version 1, `epoch.started` 1, snapshots of format 1. */

import {
  chainSalt,
  encodeSegmentHeader,
  RECORD_HEADER_BYTES,
  stampRecord,
  writeRecordHeader,
} from "../../log/format.js";
import {
  epoch as asEpoch,
  offset as asOffset,
  type LogRecord,
  openLogView,
  SNAPSHOT_DIRECTORY,
  segmentName,
} from "../../log/index.js";
import { encodeRecoveryPoint } from "../../log/recovery-point.js";
import { foldTo, writeSnapshot } from "../../projections/index.js";
import { RULES } from "./backup-bench.js";
import { CLUSTER, LINEAGE, NODE } from "./log-bytes.js";
import { MemoryFileSystem } from "./memory-file-system.js";
import { asFormat1 } from "./older-snapshots.js";

export const OLD = "/old/data";

export interface OlderDirectory {
  /** From offset 1 on, the first begins the epoch, with the empty body of version 1. */
  readonly records: readonly LogRecord[];
  readonly segmentRecords: number;
  readonly snapshotsAt: readonly number[];
  /** Retention has removed the segments before the one that holds this offset. */
  readonly keptFrom?: number;
}

export async function olderDirectory(asked: OlderDirectory): Promise<MemoryFileSystem> {
  const { records, segmentRecords, snapshotsAt, keptFrom = 1 } = asked;
  const files = new MemoryFileSystem();
  files.put(`${OLD}/identity.json`, Buffer.from(JSON.stringify({ clusterId: CLUSTER, nodeId: NODE })));
  let seed = 0;
  let tail = 1;
  for (let from = 0; from < records.length; from += segmentRecords) {
    const part = records.slice(from, from + segmentRecords);
    const written = segmentOf(part, seed, records[from - 1]?.timestamp ?? 0);
    files.put(`${OLD}/log/${segmentName(asOffset(from + 1))}`, written.bytes);
    seed = written.seed;
    tail = from + 1;
  }
  const durable = asOffset(records.length);
  files.put(
    `${OLD}/recovery-point`,
    encodeRecoveryPoint({ durable, crc: seed, tail: asOffset(tail), clean: true }),
  );
  await putSnapshots(files, snapshotsAt);
  for (let base = 1; base + segmentRecords <= keptFrom; base += segmentRecords)
    await files.remove(`${OLD}/log/${segmentName(asOffset(base))}`);
  return files;
}

async function putSnapshots(files: MemoryFileSystem, snapshotsAt: readonly number[]): Promise<void> {
  const log = await openLogView(files, OLD);
  const directory = `${OLD}/${SNAPSHOT_DIRECTORY}`;
  for (const at of snapshotsAt) {
    const last = asOffset(at);
    const { fold } = await foldTo(log, undefined, { rules: RULES, last });
    const { name } = await writeSnapshot(files, directory, fold, await log.markAt(last), { now: () => 1 });
    files.put(`${directory}/${name}`, asFormat1(files.get(`${directory}/${name}`)));
    fold.close();
  }
}

function segmentOf(
  records: readonly LogRecord[],
  chainCrc: number,
  chainTimestamp: number,
): { bytes: Uint8Array; seed: number } {
  const header = encodeSegmentHeader({
    epoch: asEpoch(1),
    baseOffset: asOffset(records[0]?.offset ?? 1),
    createdAt: 1,
    clusterId: CLUSTER,
    nodeId: NODE,
    lineageId: LINEAGE,
    epochFirst: asOffset(1),
    chainTimestamp,
    chainCrc,
  });
  let seed = chainCrc;
  const parts = records.map(({ offset, timestamp, kind, version, body }) => {
    const bytes = new Uint8Array(RECORD_HEADER_BYTES + body.length);
    const view = new DataView(bytes.buffer);
    writeRecordHeader(view, 0, body.length, offset, timestamp, asEpoch(1), kind, version);
    bytes.set(body, RECORD_HEADER_BYTES);
    seed = stampRecord(view, 0, 0, seed, chainSalt(LINEAGE));
    return bytes;
  });
  return { bytes: Buffer.concat([header, ...parts]), seed };
}
