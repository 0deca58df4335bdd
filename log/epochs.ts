/**
 * The epoch table of an open log: which leadership wrote what, from which offset on. It is read from the segment
 * headers, for an epoch always starts a segment; its first record (`epoch.started`) says why it began (`epoch-start.ts`).
 */
import { assert } from "./errors.js";
import type { EpochEntry } from "./event-log.js";
import type { SegmentHeader } from "./format.js";
import { epoch as asEpoch, type Epoch, type Offset } from "./units.js";

/** Kind of an epoch's first record. The only kind that belongs to the log itself. */
export const EPOCH_STARTED = 1;

const EPOCH_MAX = 0xffff_ffff;

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

  /** Begins the next epoch at `first`, above `above` too, with a lineage that no other node can have drawn. */
  begin(first: Offset, nodeId: string, lineageId: string, above: Epoch = asEpoch(0)): EpochEntry {
    const epoch = asEpoch(Math.max(this.current?.epoch ?? 0, above) + 1);
    assert(epoch <= EPOCH_MAX, "an epoch is a u32");
    return this.#add({ epoch, first, nodeId, lineageId });
  }

  /** A segment of another node begins: with it an epoch, perhaps, also in the place of one that has no record. */
  follow({ epoch, epochFirst: first, nodeId, lineageId }: SegmentHeader): void {
    if (lineageId === this.current?.lineageId) return;
    this.#entries = this.#entries.filter((entry) => entry.first < first);
    this.#add({ epoch, first, nodeId, lineageId });
  }

  #add(entry: EpochEntry): EpochEntry {
    const before = this.current;
    assert(before === undefined || entry.first > before.first, "an epoch begins after the one before");
    this.#entries = [...this.#entries, entry];
    return entry;
  }

  /** Forgets the epochs that began after `last`, when the log was cut there. */
  truncate(last: Offset): void {
    this.#entries = this.#entries.filter((entry) => entry.first <= last);
  }
}
