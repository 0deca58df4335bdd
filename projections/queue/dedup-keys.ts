/**
 * The message keys that one queue remembers: which message was published with each, and until when. They are forgotten in the order
 * in which they came, which is that of their windows' ends, since a queue's window never changes.
 *
 * A row of its own and an index that grows a bucket at a time instead of a Map: a Map keeps a hole for each key that was deleted,
 * over which every look at its oldest walks (measured with a window of a million keys: 20 µs a publish), and moves all of
 * its keys in one turn when it grows.
 */
import { HashIndex } from "../kv/hash-index.js";
import type { KeyScratch } from "../kv/key-scratch.js";
import type { EventRef } from "./contract.js";

/** What remembering a message key is charged, beside the key's own characters. */
const KEY_OVERHEAD_BYTES = 160;

/** What a message key is charged while it is remembered. */
export function keyChargeOf(dedupKey: string): number {
  return KEY_OVERHEAD_BYTES + 2 * dedupKey.length;
}

export interface KeyUse {
  readonly ref: EventRef;
  readonly until: number;
}

interface Remembered extends KeyUse {
  readonly key: string;
  readonly hash: number;
  /** Where the index finds it; -1 = the key was published again since. */
  place: number;
  /** The next that was published. */
  next: Remembered | undefined;
}

export class DedupKeys {
  readonly #scratch: KeyScratch;
  readonly #index = new HashIndex();
  /** By place. */
  readonly #uses: (Remembered | undefined)[] = [];
  readonly #vacant: number[] = [];
  #oldest: Remembered | undefined;
  #newest: Remembered | undefined;
  #chargedBytes = 0;

  /** `scratch` hashes under a secret, so that nobody can choose keys that collide. */
  constructor(scratch: KeyScratch) {
    this.#scratch = scratch;
  }

  get chargedBytes(): number {
    return this.#chargedBytes;
  }

  /** When the next will be forgotten; 0 = there is none. */
  get nextEnd(): number {
    return this.#oldest?.until ?? 0;
  }

  find(key: string): KeyUse | undefined {
    return this.#find(key);
  }

  /** An older use of the key is forgotten. */
  remember(key: string, ref: EventRef, until: number): void {
    const before = this.#find(key);
    if (before !== undefined) this.#drop(before);
    const { hash } = this.#scratch.encode(key);
    const place = this.#vacant.pop() ?? this.#uses.length;
    const use: Remembered = { key, hash, ref, until, place, next: undefined };
    this.#uses[place] = use;
    this.#index.add(hash, place);
    this.#chargedBytes += keyChargeOf(key);
    if (this.#newest === undefined) this.#oldest = use;
    else this.#newest.next = use;
    this.#newest = use;
  }

  /** Forgets up to `budget` keys whose window has passed; returns how many. */
  forget(now: number, budget: number): number {
    let forgotten = 0;
    for (; forgotten < budget; forgotten++) {
      const oldest = this.#oldest;
      if (oldest === undefined || oldest.until > now) break;
      this.#drop(oldest);
      this.#oldest = oldest.next;
      if (this.#oldest === undefined) this.#newest = undefined;
    }
    return forgotten;
  }

  /** What is remembered at `now`, in order of publish. */
  *remembered(now: number): Generator<readonly [key: string, use: KeyUse]> {
    for (let use = this.#oldest; use !== undefined; use = use.next) {
      if (use.place >= 0 && use.until > now) yield [use.key, { ref: use.ref, until: use.until }];
    }
  }

  #find(key: string): Remembered | undefined {
    const { hash } = this.#scratch.encode(key);
    const bucket = this.#index.bucketOf(hash);
    for (let cell = bucket.first(hash); cell >= 0; cell = bucket.next(cell, hash)) {
      const use = this.#uses[bucket.slotAt(cell)];
      if (use?.key === key) return use;
    }
    return undefined;
  }

  /** It stays in the row until its turn comes. */
  #drop(use: Remembered): void {
    if (use.place < 0) return;
    this.#index.remove(use.hash, use.place);
    this.#uses[use.place] = undefined;
    this.#vacant.push(use.place);
    use.place = -1;
    this.#chargedBytes -= keyChargeOf(use.key);
  }
}
