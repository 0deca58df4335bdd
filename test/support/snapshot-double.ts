/** Snapshots for servers without a directory: remembered, not written. */
import type { NewSnapshot, Refusal, Snapshots } from "../../api/index.js";
import { offset } from "../../log/index.js";
import type { ListedSnapshot, SnapshotFacts } from "../../projections/index.js";

export class SnapshotDouble implements Snapshots {
  readonly #endOffset: () => number;
  readonly listed: ListedSnapshot[] = [];
  /** What the next one is refused with. */
  refused: Refusal | undefined;

  constructor(endOffset: () => number) {
    this.#endOffset = endOffset;
  }

  async make(): Promise<NewSnapshot | Refusal> {
    if (this.refused !== undefined) return this.refused;
    const at = offset(Math.max(1, this.#endOffset()));
    const facts = factsAt(at);
    this.listed.push({ name: facts.name, offset: at, bytes: facts.bytes, info: facts });
    return { type: "snapshot", facts, durationMs: 12.3 };
  }

  async list(): Promise<readonly ListedSnapshot[]> {
    return this.listed;
  }
}

function factsAt(at: ReturnType<typeof offset>): SnapshotFacts {
  const hash = "5".repeat(64);
  return {
    name: `snapshot_1700000000000_${at}.snap`,
    clusterId: "c".repeat(32),
    lineageId: "e".repeat(32),
    epoch: 1 as SnapshotFacts["epoch"],
    offset: at,
    timestamp: 1_700_000_000_000,
    crc: 7,
    bytes: 1234,
    formatVersion: 2,
    createdAt: 1_700_000_000_001,
    clock: 1_700_000_000_000,
    counts: { keys: 1, queues: 2, messages: 3, streams: 4, answers: 5 },
    digests: { kv: hash, queue: hash, stream: hash, idempotency: hash, all: hash },
    sha256: hash,
  };
}
