/**
 * The key-value projection's types: its events, what deciders may see, and every command and query with its answer.
 */
import type { Offset } from "../../log/index.js";

/** Bytes as a string with one character (U+0000..U+00FF) per byte: a copy that nothing changes, in the smallest form V8 has. */
export type ByteString = string & { readonly bytes: unique symbol };

/** Unicode text (stored as UTF-8) or raw bytes. */
export type ValueInput = string | Uint8Array;

/** `text/plain` for a string set through a JSON door, `application/json` for other JSON, else as it came. */
export const TEXT_TYPE = "text/plain; charset=utf-8";
export const JSON_TYPE = "application/json";
export const BYTES_TYPE = "application/octet-stream";

export interface StoredValue {
  readonly bytes: ByteString;
  readonly contentType: string;
}

/** A key as it is now. Only handed out while the key is there and not expired. */
export interface KvEntry extends StoredValue {
  /** Offset of the key's last change. */
  readonly revision: Offset;
  /** Ms since 1970; 0 = never. */
  readonly expiresAt: number;
}

/** A key as it is now, without a copy of its value. */
export interface KvHead extends Omit<KvEntry, "bytes"> {
  readonly valueBytes: number;
}

// ---- events: what happened, with the resulting value. `previous` is the key's own chain (0 = no earlier event) ----

export interface KeySet {
  readonly type: "kv.set";
  readonly key: string;
  readonly value: ValueInput;
  readonly contentType: string;
  readonly expiresAt: number;
  readonly previous: Offset;
}
export interface KeyDeleted {
  readonly type: "kv.deleted";
  readonly key: string;
  readonly previous: Offset;
}
/** Removed by the primary to make room. */
export interface KeyEvicted {
  readonly type: "kv.evicted";
  readonly key: string;
  readonly previous: Offset;
}
/** Expiry set, moved or taken away (0); the value stays. */
export interface KeyExpiryChanged {
  readonly type: "kv.expiry_changed";
  readonly key: string;
  readonly expiresAt: number;
  readonly previous: Offset;
}
/** Every key removed at once. */
export interface KeysFlushed {
  readonly type: "kv.flushed";
}
export type KvEvent = KeySet | KeyDeleted | KeyEvicted | KeyExpiryChanged | KeysFlushed;

// ---- what deciders see, and the rules they obey ----

export type EvictionPolicy =
  | "noeviction"
  | "allkeys-lru"
  | "allkeys-lfu"
  | "allkeys-random"
  | "volatile-lru"
  | "volatile-lfu"
  | "volatile-random"
  | "volatile-ttl";

export interface KvRules {
  readonly maxMemoryBytes: number;
  readonly evictionPolicy: EvictionPolicy;
  readonly allowFlush: boolean;
  readonly keyBytesMax: number;
  readonly valueBytesMax: number;
  /** What remembering the last events of removed keys may take in memory, about; see `removed-keys.ts`. */
  readonly removedKeysBytesMax: number;
}

/** Some 100,000 keys. */
export const REMOVED_KEYS_BYTES_MAX = 16 << 20;

export type KvRejectionCode =
  | "KV_KEY_NOT_FOUND"
  | "KV_VALUES_TOO_LARGE"
  | "KV_KEY_INVALID"
  | "KV_REVISION_MISMATCH"
  /** No event of the key is there. */
  | "KV_REVISION_NOT_FOUND"
  | "KV_REVISION_RETIRED"
  /** It is a deletion or an eviction. */
  | "KV_REVISION_REMOVED"
  /** More records than one request may read lie before what it asks for. */
  | "KV_HISTORY_TOO_LONG"
  | "KV_NOT_AN_INTEGER"
  | "KV_INTEGER_OVERFLOW"
  | "KV_EXPIRY_INVALID"
  | "KV_VALUE_TOO_LARGE"
  | "KV_CONTENT_TYPE_INVALID"
  | "KV_VALUE_NOT_TEXT"
  | "KV_MEMORY_FULL"
  | "KV_FLUSH_NOT_ALLOWED"
  | "KV_PATTERN_INVALID"
  | "KV_CURSOR_INVALID"
  | "KV_RANGE_INVALID"
  | "KV_OPTIONS_CONFLICT";

/** What deciders see. Narrow, so that a batch can lay its own uncommitted changes over it. */
export interface KvView {
  /** The key as it is at `now`; undefined when absent or expired. Does not count as an access. */
  get(key: string, now: number): KvEntry | undefined;
  /** As `get`, where the value itself does not matter. */
  look(key: string, now: number): KvHead | undefined;
  /** Offset of the key's own last event while the state holds the key (expired or not), else 0. */
  revisionOf(key: string): Offset;
  /** Offset of the key's own last event, its removal too, as far as it is remembered, else 0: `previous` of the next. */
  previousOf(key: string): Offset;
  /** False when no event of the key came after `since`, also none that a removal has undone; true where that is forgotten. */
  mayHaveChanged(key: string, since: Offset): boolean;
  /** Offset of the last event of the key that the state remembers: its revision, else the last removal of any key. */
  lastChange(key: string): Offset;
  /** Offset of the last event of this projection. */
  readonly lastOffset: Offset;
  readonly memoryBytes: number;
  /** Keys held, expired ones that were not reclaimed yet included. */
  readonly keysHeld: number;
  /** Keys that are there at `now`. */
  size(now: number): number;
  /** What a key with these sizes is charged. */
  chargeOf(key: string, valueBytes: number, contentType: string): number;
  /** What the key is charged now; 0 when the state does not hold it. */
  chargedFor(key: string): number;
  /** Who chooses what to evict in one decision, never a hidden key. */
  evictions(hidden?: HiddenKeys): Evictions;
}

export interface Evictions {
  /** Keys to evict, best first, until `bytes` would be freed; fewer if there are no more candidates. Never one of `spare`. */
  candidates(
    policy: EvictionPolicy,
    bytes: number,
    random: number,
    spare: ReadonlySet<string>,
  ): readonly string[];
}

/** Keys of which a batch says itself what they are: more with each operation, so they are asked for one by one. */
export interface HiddenKeys {
  has(key: string): boolean;
}

/** What readers see beside that. */
export interface KvReadView extends KvView {
  /** As `get`, and counts: as an access for LRU and LFU, and as a hit or a miss. */
  read(key: string, now: number): KvEntry | undefined;
  /** As `look`, and counts as `read` does. */
  readHead(key: string, now: number): KvHead | undefined;
  /** One page of a walk over every key; `random` names the table's incarnation if no page did before. */
  scan(query: ScanQuery, now: number, random: number): ScanPage;
  /**
   * Where the chain of the key's events ends: `previousOf`, and whether it is known to lead to the key's first event. Offset 0 and
   * whole: the key has never been there.
   */
  chainOf(key: string): { readonly offset: Offset; readonly isWhole: boolean };
  /** Any key that is there at `now`. */
  randomKey(now: number, random: number): string | undefined;
  stats(now: number): KvStats;
}

export type ScanPage =
  | { readonly type: "page"; readonly answer: ScanAnswer }
  /** The cursor belongs to another incarnation of the table, or to none. */
  | { readonly type: "cursor" }
  | { readonly type: "pattern" };

// ---- commands and queries: payloads and answers ----

export type Expiry = {
  readonly type: "seconds" | "milliseconds" | "unix_seconds" | "unix_milliseconds";
  /** A whole number > 0; the unix forms must lie in the future. */
  readonly value: number;
};

export interface SetCommand {
  readonly key: string;
  readonly value: ValueInput;
  readonly contentType: string;
  readonly expiry?: Expiry;
  /** Only if the key is not there / only if it is. Not met: nothing happens and `written` is false. */
  readonly nx?: boolean;
  readonly xx?: boolean;
  /** Keep the expiry that the key has; excludes `expiry`. */
  readonly keepTtl?: boolean;
  /** Give back the value that was there. */
  readonly get?: boolean;
  /** The revision the key must have; 0 = it must not be there. Else KV_REVISION_MISMATCH. */
  readonly ifRevision?: number;
}
export interface SetAnswer {
  readonly written: boolean;
  /** Revision of the key after the command; 0 if it is not there. */
  readonly revision: Offset;
  readonly created: boolean;
  readonly old?: StoredValue;
}

export interface DeleteCommand {
  readonly key: string;
  readonly ifRevision?: number;
}
export interface KeyQuery {
  readonly key: string;
}
export interface KeysQuery {
  readonly keys: readonly string[];
}
export interface IncrementCommand {
  readonly key: string;
  /** Signed 64-bit; negative to decrement. */
  readonly amount: bigint;
}
export interface Pair {
  readonly key: string;
  readonly value: ValueInput;
  readonly contentType: string;
}
export interface SetManyCommand {
  readonly pairs: readonly Pair[];
}
export interface ExpireCommand {
  readonly key: string;
  readonly expiry: Expiry;
}
export interface AppendCommand {
  readonly key: string;
  readonly value: ValueInput;
}
export interface SetRangeCommand {
  readonly key: string;
  /** Byte offset in the value; a gap is filled with zero bytes. */
  readonly offset: number;
  readonly value: ValueInput;
}
export interface GetRangeQuery {
  readonly key: string;
  /** Byte positions, both inclusive; negative counts from the end. */
  readonly start: number;
  readonly end: number;
}
/** A key as one revision left it. */
export type FoundRevision =
  | {
      readonly type: "value";
      readonly value: Uint8Array;
      readonly contentType: string;
      /** Ms since 1970; 0 = never. */
      readonly expiresAt: number;
    }
  /** The key was removed by it. */
  | { readonly type: "removal" }
  | { readonly type: "not_found" }
  | { readonly type: "retired" }
  /** More records than allowed lie between it and its value. */
  | { readonly type: "too_long" };

export interface RevertCommand {
  readonly key: string;
  /** What the revision left, as read from the log. */
  readonly found: FoundRevision;
  readonly ifRevision?: number;
}
export interface RevertAnswer {
  readonly revision: Offset;
  /** Ms since 1970; 0 = never. */
  readonly expiresAt: number;
}
/** A key as it is to be; undefined: not there. */
export interface KeyThen {
  readonly key: string;
  readonly was:
    | { readonly value: Uint8Array; readonly contentType: string; readonly expiresAt: number }
    | undefined;
}
export interface RestoreCommand {
  /** Each once. */
  readonly keys: readonly KeyThen[];
  readonly dryRun: boolean;
}
export interface RestoreChange {
  readonly key: string;
  readonly change: "created" | "replaced" | "expiry_changed" | "deleted";
  /** That the key had before; 0 = it was not there. */
  readonly revision: number;
}
export interface RestoreAnswer {
  readonly changes: readonly RestoreChange[];
}
export interface GetSetCommand {
  readonly key: string;
  readonly value: ValueInput;
  readonly contentType: string;
}
export interface RenameCommand {
  readonly key: string;
  readonly destination: string;
}
export interface CopyCommand extends RenameCommand {
  readonly replace: boolean;
}
export interface ScanQuery {
  readonly prefix?: string;
  /** Glob: `*`, `?`, `[abc]`, `[^a]`, `[a-z]`, `\` escapes. Linear time. */
  readonly pattern?: string;
  /** From the page before; absent for the first. */
  readonly cursor?: string;
  readonly limit: number;
}
export interface ScanAnswer {
  readonly keys: readonly string[];
  /** Absent when the scan is complete. Keys there from its first to its last page are listed exactly once. */
  readonly cursor?: string;
}
/** A page of a scan, or keys by name, with all that a key has. */
export interface EntriesQuery {
  readonly of: ScanQuery | { readonly keys: readonly string[] };
  /** A page of a scan ends before it has more bytes of values; one key always fits. Undefined: without the values. */
  readonly bytesMax: number | undefined;
}
export interface EntriesAnswer {
  /** Those that are there. */
  readonly entries: readonly { readonly key: string; readonly head: KvHead; readonly value?: ByteString }[];
  readonly cursor?: string;
}
export interface KvStats {
  readonly totalKeys: number;
  readonly memoryBytes: number;
  readonly maxMemoryBytes: number;
  readonly expiringKeys: number;
  readonly expiredTotal: number;
  readonly evictedTotal: number;
  /** Since the process started. */
  readonly operations: {
    readonly gets: number;
    readonly sets: number;
    readonly dels: number;
    readonly hits: number;
    readonly misses: number;
  };
}
