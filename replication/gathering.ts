/**
 * A full sync while it arrives: the chunks of the snapshot, then runs, until the record with which it is whole. What arrives is verified by
 * whoever keeps it (the log's `Installation`); here only that it comes in the order and the amount that was announced.
 */

import { ChunkQueue } from "./chunk-queue.js";
import { ReplicationError } from "./errors.js";
import type { Installing } from "./link-ports.js";
import type { Install, Run } from "./messages.js";
import { unexpected } from "./session.js";

export class Gathering {
  readonly installing: Installing;
  readonly #install: Install;
  readonly #chunks = new ChunkQueue();
  readonly #placing: Promise<void>;
  #snapshotLeft: number;
  #hasRuns = false;

  constructor(install: Install, installing: Installing) {
    this.#install = install;
    this.installing = installing;
    this.#snapshotLeft = install.snapshot?.bytes ?? 0;
    this.#placing =
      install.snapshot === undefined
        ? Promise.resolve()
        : installing.placeSnapshot(install.snapshot.name, this.#chunks);
    // Whoever puts a chunk, or abandons all of it, is told. A race with this promise for each chunk would stay with it until the end.
    this.#placing.catch((error: unknown) => this.#chunks.refuse(error));
  }

  get isWhole(): boolean {
    return this.#hasRuns && this.installing.end.offset >= this.#install.until;
  }

  async chunk(bytes: Uint8Array): Promise<void> {
    if (bytes.length > this.#snapshotLeft)
      throw unexpected("a chunk", "the rest of a snapshot that is shorter");
    this.#snapshotLeft -= bytes.length;
    await this.#chunks.put(bytes);
    if (this.#snapshotLeft > 0) return;
    this.#chunks.end();
    await this.#placing;
  }

  async run({ header, startsSegment, bytes }: Run): Promise<void> {
    if (this.#snapshotLeft > 0) throw unexpected("a run", "a snapshot");
    if (!this.#hasRuns && (!startsSegment || header.baseOffset !== this.#install.from))
      throw new ReplicationError("REPLICATION_MESSAGE_BAD", "a full sync that does not begin where it said", {
        expected: this.#install.from,
        found: header.baseOffset,
      });
    await this.installing.receive({ header, startsSegment, bytes });
    this.#hasRuns = true;
  }

  /** No more will come: whoever waits for a piece that is being written no longer does. */
  fail(reason: Error): void {
    this.#chunks.fail(reason);
  }

  async abandon(reason: Error): Promise<void> {
    this.fail(reason);
    await this.#placing.catch(toldElsewhere);
    await this.installing.abandon();
  }
}

function toldElsewhere(): undefined {
  return undefined;
}
