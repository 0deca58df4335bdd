/**
 * The epoch table of an open log: which leadership wrote what, from which offset on. It is read from the segment
 * headers, for an epoch always starts a segment; its first record (`epoch.started`) says why it began (`epoch-start.ts`).
 */
import { assert } from "./errors.js";
import type { EpochEntry } from "./event-log.js";
import { epoch as asEpoch, type Offset } from "./units.js";

/** Kind of an epoch's first record. The only kind that belongs to the log itself. */
export const EPOCH_STARTED = 1;

export class EpochTable {
  #entries: readonly EpochEntry[];

  constructor(entries: readonly EpochEntry[]) {
    this.#entries = entries;
  }

  /** Oldest first. */
  get entries(): readonly EpochEntry[] {
    return this.#entries;
  }

  get current(): EpochEntry | undefined {
    return this.#entries[this.#entries.length - 1];
  }

  /** Begins the next epoch at `first`, with a lineage that no other node can have drawn. */
  begin(first: Offset, nodeId: string, lineageId: string): EpochEntry {
    const before = this.current;
    assert(before === undefined || first > before.first, "an epoch begins after the one before");
    const entry = { epoch: asEpoch((before?.epoch ?? 0) + 1), first, nodeId, lineageId };
    this.#entries = [...this.#entries, entry];
    return entry;
  }

  /** Forgets the epochs that began after `last`, when the log was cut there. */
  truncate(last: Offset): void {
    this.#entries = this.#entries.filter((entry) => entry.first <= last);
  }
}
