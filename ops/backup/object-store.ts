/**
 * Where a repository keeps its objects: a directory or a bucket. An object is written once, whole or not at all, and is
 * never changed; only the few small ones that say where a chain ends are replaced.
 *
 * Names are relative paths with forward slashes (`segments/…`). A store that cannot be reached, or that refuses, fails with
 * BackupError BACKUP_STORE_FAILED; a directory fails with the system's own errors.
 */

export interface StoredObject {
  readonly name: string;
  readonly bytes: number;
  /** Ms since 1970 by the store's clock: when the name or the content came last. */
  readonly changedAt: number;
}

export interface PutOptions {
  /** Leave an object that has the name already, and say so. Without it the object is replaced. */
  readonly ifAbsent?: boolean;
  /** SHA-256 of the content, 64 hex digits. Nothing is stored when the bytes turn out to be others. */
  readonly sha256?: string;
}

/** Bytes [from, end) of an object; `end` beyond its size means its end. */
export interface ByteRange {
  readonly from: number;
  readonly end?: number;
}

export interface StoreLock {
  release(): Promise<void>;
}

export interface ObjectStore {
  /** As an operator would write it. */
  readonly url: string;

  /**
   * Resolves when the object and its name are durable. Killed in between it leaves nothing, or what `list` calls temporary.
   * @throws BackupError BACKUP_SOURCE_CHANGED when the bytes are not those of `sha256`; nothing is stored then.
   */
  put(
    name: string,
    bytes: Uint8Array | AsyncIterable<Uint8Array>,
    options?: PutOptions,
  ): Promise<"stored" | "exists">;

  /** @throws BackupError BACKUP_DAMAGED (`context.name`) when there is no such object. */
  get(name: string, range?: ByteRange): AsyncIterable<Uint8Array>;

  /** Undefined when there is no such object. */
  head(name: string): Promise<{ readonly bytes: number } | undefined>;

  /** Every object whose name begins with `prefix`, in the order of names. A repository that isn't there has none. */
  list(prefix: string): AsyncIterable<StoredObject>;

  /** Resolves also when there is no such object. */
  remove(name: string): Promise<void>;

  /**
   * Makes a file of this machine an object without copying it; its bytes are durable and nobody changes them in place. False
   * when that cannot be done here (another file system, a name that is taken): then `put` it.
   */
  link?(path: string, name: string): Promise<boolean>;

  /**
   * For as long as whoever writes needs nobody else to. Given back when the holder dies: at once, after a while, or when the next
   * process of the same `owner` asks, of which one runs at a time.
   * @throws BackupError BACKUP_LOCKED.
   */
  lock(holder: string, owner?: string): Promise<StoreLock>;

  /** Ends what is under way, which then fails. For whoever cannot wait for a slow store. */
  close?(): void;
}

/** @throws RangeError for what could lead out of a repository. */
export function checkObjectName(name: string): void {
  const parts = name.split("/");
  if (parts.some((part) => part === "" || part === "." || part === ".."))
    throw new RangeError(`${name} is not the name of an object`);
}

/** All bytes of an object; fails past `bytesMax`, so that a foreign file cannot fill the memory. */
export async function readObject(store: ObjectStore, name: string, bytesMax: number): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of store.get(name)) {
    bytes += chunk.length;
    if (bytes > bytesMax) throw new RangeError(`${name} has more than the ${bytesMax} bytes expected`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}
