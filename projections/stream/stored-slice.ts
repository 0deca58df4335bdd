/** One append's messages of a page, where they lie in the memory that they were read into. Copied only when somebody asks. */
import { assert } from "../../log/index.js";
import { copyBytes } from "../bytes.js";
import type { StoredMessages } from "./codec.js";
import type { EventPlace, PlanSlice, ReadSlice } from "./contract.js";

export class StoredSlice implements ReadSlice {
  readonly event: EventPlace;
  readonly first: number;
  readonly skip: number;
  readonly count: number;
  readonly timestamp: number;
  readonly bytes: number;
  readonly #stored: StoredMessages;
  /** Where the first message taken begins. */
  readonly #start: number;

  constructor({ event, first, skip, count }: PlanSlice, timestamp: number, stored: StoredMessages) {
    const { lengths } = stored;
    assert(lengths.length >= skip + count, "an event has the messages that the index counted");
    this.event = event;
    this.first = first;
    this.skip = skip;
    this.count = count;
    this.timestamp = timestamp;
    this.#stored = stored;
    this.#start = stored.start + sumOf(lengths, 0, skip);
    this.bytes = sumOf(lengths, skip, skip + count);
  }

  get messages(): readonly Uint8Array[] {
    const { source, lengths } = this.#stored;
    let at = this.#start;
    return this.#taken(lengths).map((length) => {
      at += length;
      return source.subarray(at - length, at);
    });
  }

  get tags(): readonly string[] {
    return this.#taken(this.#stored.tags);
  }

  get metadata(): readonly (string | undefined)[] {
    return this.#taken(this.#stored.metadata);
  }

  copyTo(target: Uint8Array, at: number, separator?: number): number {
    const { source, lengths } = this.#stored;
    let from = this.#start;
    if (separator === undefined) {
      copyBytes(source, from, from + this.bytes, target, at);
      return at + this.bytes;
    }
    let to = at;
    for (let index = this.skip; index < this.skip + this.count; index++) {
      const length = lengths[index] ?? 0;
      copyBytes(source, from, from + length, target, to);
      from += length;
      to += length;
      target[to++] = separator;
    }
    return to;
  }

  #taken<Value>(values: readonly Value[]): readonly Value[] {
    return values.length === this.count ? values : values.slice(this.skip, this.skip + this.count);
  }
}

function sumOf(lengths: readonly number[], from: number, end: number): number {
  let sum = 0;
  for (let index = from; index < end; index++) sum += lengths[index] ?? 0;
  return sum;
}
