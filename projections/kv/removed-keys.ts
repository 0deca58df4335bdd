/**
 * Where the chains of keys that are gone end: the offset of the last event of a key that was removed, so that its next event, if
 * one comes, names it as `previous` and the history goes on, and so that a watch learns of a key that came and went. Bounded: past
 * the bound the key removed longest ago is forgotten, and then `isWhole` is false for good, for a key that comes back may have been
 * one of those.
 *
 * Local, and no part of what the state is: it follows from the records that were read and from how much may be remembered. No digest
 * knows it; a snapshot carries it along. What it made of an event (`previous`) is in the log.
 */
import { assert, BEFORE_FIRST, type Offset, offset } from "../../log/index.js";
import { OldestFirst } from "../oldest-first.js";

/** What an entry takes beside its key, about. */
const ENTRY_BYTES = 96;

export interface ChainEnd {
  /** Offset of the key's last event. */
  readonly offset: Offset;
  /** True when the chain is known to lead to the key's first event. */
  readonly isWhole: boolean;
}

export class RemovedKeys {
  readonly #bytesMax: () => number;
  /** In the order of removal; the offset, negative where the chain is not known to be whole. */
  readonly #ends = new OldestFirst<number>();
  #bytes = 0;
  #forgottenTo: Offset = BEFORE_FIRST;

  /** `bytesMax` may change while this lives. */
  constructor(bytesMax: () => number) {
    this.#bytesMax = bytesMax;
  }

  get size(): number {
    return this.#ends.size;
  }

  /** No event after this one is of a removed key that was not kept. */
  get forgottenTo(): Offset {
    return this.#forgottenTo;
  }

  /** False once a removed key was not kept: from then on a key that is not found here may still have been there. */
  get isWhole(): boolean {
    return this.#forgottenTo === BEFORE_FIRST;
  }

  /** What the entries take, about. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The one removed longest ago first. */
  *ends(): Generator<ChainEnd & { readonly key: string }> {
    for (const [key, end] of this.#ends) yield { key, offset: offset(Math.abs(end)), isWhole: end > 0 };
  }

  endOf(key: string): ChainEnd | undefined {
    const end = this.#ends.get(key);
    return end === undefined ? undefined : { offset: offset(Math.abs(end)), isWhole: end > 0 };
  }

  /** The key was removed; `last` is its last event. */
  remember(key: string, last: Offset, isWhole: boolean): void {
    assert(last > 0, "a key that was there has had an event");
    this.takeBack(key);
    this.#ends.set(key, isWhole ? last : -last);
    this.#bytes += entryBytes(key);
    while (this.#bytes > this.#bytesMax()) this.#forgetOldest();
  }

  /** The key is there again: its own row knows its last event. */
  takeBack(key: string): ChainEnd | undefined {
    const end = this.endOf(key);
    if (end !== undefined) {
      this.#ends.delete(key);
      this.#bytes -= entryBytes(key);
    }
    return end;
  }

  /** Removed keys were not kept; `last` is no earlier than the last event of each. */
  forgetTo(last: Offset): void {
    if (last > this.#forgottenTo) this.#forgottenTo = last;
  }

  #forgetOldest(): void {
    const { oldest } = this.#ends;
    assert(oldest !== undefined, "what takes memory is there");
    const [key, end] = oldest;
    this.takeBack(key);
    this.forgetTo(offset(Math.abs(end)));
  }
}

const entryBytes = (key: string): number => ENTRY_BYTES + 2 * key.length;
