/**
 * Which history an answer is of, in its head: lineage and epoch of the offset that it tells, else of the newest record that this node shows. So
 * an offset can be recognised when it is of a lost history, and what a primary shows that was replaced from what its successor shows.
 */
import { epochAt, lineageOf } from "../lineage.js";
import type { ApiOptions } from "../options.js";

export class LineageLines {
  readonly #log: ApiOptions["log"];
  #entry: ReturnType<typeof epochAt>;
  #text = "";

  constructor(log: ApiOptions["log"]) {
    this.#log = log;
  }

  /** Whole lines, for an answer that tells this offset, or none; 0 is of no record. Empty before a node has its first log. */
  of(offset = 0): string {
    const { epochs, committedOffset } = this.#log;
    const found = epochAt(epochs, offset === 0 ? committedOffset : offset);
    // A log without a record has the epoch that will write the first.
    const entry = found ?? (offset === 0 ? epochs[0] : undefined);
    if (entry === undefined) return "";
    // Every answer has them, and nearly always the same.
    if (entry !== this.#entry) {
      this.#entry = entry;
      this.#text = `X-Annals-Lineage: ${lineageOf(entry)}\r\nX-Annals-Epoch: ${entry.epoch}\r\n`;
    }
    return this.#text;
  }
}
