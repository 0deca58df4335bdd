/**
 * Promise: each node's log is a prefix of its primary's history, leadership by leadership and byte by byte. What stands under a leadership
 * is what its primary appended there, beginning where every other log has it begin; and two logs that both hold a record of a leadership are
 * the same log up to there.
 */
import type { EpochEntry, LogRecord } from "../../log/index.js";
import { EPOCH_STARTED } from "./prefix.js";
import { PromiseBroken } from "./promise-broken.js";

export interface NodeLog {
  readonly node: string;
  readonly epochs: readonly EpochEntry[];
  /** From its first to its last, read back from the disk. */
  readonly records: readonly LogRecord[];
}

/** The body that was appended there, byte for byte as latin1; undefined when nobody told of it. */
export type AppendedAt = (entry: EpochEntry, offset: number) => string | undefined;

export function checkReplicaPrefix(logs: readonly NodeLog[], appended: AppendedAt): void {
  const begins = new Map<string, { readonly first: number; readonly node: string }>();
  const crcs = new Map<string, { readonly crc: number; readonly node: string }>();
  for (const { node, epochs, records } of logs) {
    const broken = (evidence: string): never => {
      throw new PromiseBroken("replica prefix", `${node}: ${evidence}`);
    };
    for (const { epoch, lineageId, first } of epochs) {
      const key = `${epoch} ${lineageId}`;
      const before = begins.get(key);
      if (before !== undefined && before.first !== first)
        broken(`epoch ${epoch} begins at ${first}, on ${before.node} at ${before.first}`);
      begins.set(key, { first, node });
    }
    for (const { offset, epoch, kind, body, crc } of records) {
      const entry = epochs.findLast(({ first }) => first <= offset);
      if (entry === undefined || entry.epoch !== epoch) {
        broken(`offset ${offset} is of epoch ${epoch}, the table says ${entry?.epoch}`);
        continue;
      }
      const key = `${epoch} ${entry.lineageId} ${offset}`;
      const there = crcs.get(key);
      if (there !== undefined && there.crc !== crc)
        broken(`the log up to offset ${offset} of epoch ${epoch} is not that of ${there.node}`);
      crcs.set(key, { crc, node });
      if (kind === EPOCH_STARTED) continue;
      const expected = appended(entry, offset);
      if (expected === undefined) broken(`nobody appended offset ${offset} of epoch ${epoch}`);
      else if (Buffer.from(body).toString("latin1") !== expected)
        broken(`offset ${offset} of epoch ${epoch} is not what was appended there`);
    }
  }
}
