/**
 * A repository in a directory, on the machine's disks or mounted. An object is written under a temporary name, synced, and
 * given its name last; its directory is synced before anybody is told. So a power cut leaves objects that are whole and
 * were said to be stored, and perhaps temporary files.
 *
 * Large objects are synced every megabyte while they are written: a server on the same disk would wait behind one sync of all
 * of them.
 */
import { createHash } from "node:crypto";
import {
  errnoOf,
  type FileHandle,
  type FileStatus,
  type FileSystem,
  ignoreDiskError,
  LockHeldError,
  readPieces,
} from "../../log/index.js";
import { BackupError } from "./errors.js";
import { LOCK_OBJECT } from "./layout.js";
import {
  type ByteRange,
  checkObjectName,
  type ObjectStore,
  type PutOptions,
  type StoredObject,
  type StoreLock,
} from "./object-store.js";

const SYNC_BYTES = 1024 * 1024;
/** Why the system will not give a file a second name here. */
const NO_LINKS: ReadonlySet<string> = new Set([
  "EXDEV",
  "EPERM",
  "EMLINK",
  "EOPNOTSUPP",
  "ENOTSUP",
  "ENOSYS",
]);

export interface DirectoryStoreOptions {
  readonly files: FileSystem;
  /** Absolute. Made when the first object is put. */
  readonly directory: string;
  /** For the names of temporary files. */
  readonly randomBytes: (count: number) => Uint8Array;
}

export class DirectoryStore implements ObjectStore {
  readonly url: string;
  readonly #files: FileSystem;
  readonly #randomBytes: (count: number) => Uint8Array;
  readonly #made = new Set<string>();

  constructor(options: DirectoryStoreOptions) {
    this.url = options.directory;
    this.#files = options.files;
    this.#randomBytes = options.randomBytes;
  }

  async put(
    name: string,
    bytes: Uint8Array | AsyncIterable<Uint8Array>,
    options: PutOptions = {},
  ): Promise<"stored" | "exists"> {
    const files = this.#files;
    const path = this.#path(name);
    if (options.ifAbsent === true && (await files.exists(path))) return "exists";
    const directory = await this.#makeParent(path);
    const temporary = `${path}.${Buffer.from(this.#randomBytes(4)).toString("hex")}.tmp`;
    try {
      await this.#write(temporary, name, bytes, options.sha256);
      if (options.ifAbsent === true) return await this.#nameIfAbsent(temporary, path, directory);
      await files.rename(temporary, path);
      await files.syncDirectory(directory);
      return "stored";
    } catch (error) {
      // What failed is told; that its remains could not be removed would hide it.
      await files.remove(temporary).catch(ignoreDiskError);
      throw error;
    }
  }

  async *get(name: string, range: ByteRange = { from: 0 }): AsyncGenerator<Uint8Array, void> {
    const handle = await this.#open(name);
    try {
      const end = Math.min(range.end ?? Number.MAX_SAFE_INTEGER, await handle.size());
      yield* readPieces(handle, { from: range.from, end });
    } finally {
      await handle.close();
    }
  }

  async head(name: string): Promise<{ readonly bytes: number } | undefined> {
    const status = await this.#files.stat(this.#path(name));
    return status?.type === "file" ? { bytes: status.bytes } : undefined;
  }

  async *list(prefix: string): AsyncGenerator<StoredObject, void> {
    // Only the directory that the prefix names can hold anything: `segments/0001` means some files of `segments`.
    const folder = prefix.slice(0, prefix.lastIndexOf("/") + 1);
    for await (const object of this.#walk(folder)) if (object.name.startsWith(prefix)) yield object;
  }

  async remove(name: string): Promise<void> {
    const path = this.#path(name);
    try {
      await this.#files.remove(path);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return;
      throw error;
    }
    await this.#files.syncDirectory(parentOf(path));
  }

  async link(from: string, name: string): Promise<boolean> {
    const files = this.#files;
    const path = this.#path(name);
    const directory = await this.#makeParent(path);
    try {
      await files.link(from, path);
    } catch (error) {
      const errno = errnoOf(error) ?? "";
      // Gone meanwhile, as retention removes files: whoever reads it finds out why. A name that is taken `put` looks at.
      if (NO_LINKS.has(errno) || errno === "ENOENT" || errno === "EEXIST") return false;
      throw error;
    }
    await files.syncDirectory(directory);
    return true;
  }

  async lock(holder: string): Promise<StoreLock> {
    await this.#makeParent(this.#path(LOCK_OBJECT));
    try {
      return await this.#files.lock(this.#path(LOCK_OBJECT), holder);
    } catch (error) {
      if (!(error instanceof LockHeldError)) throw error;
      const message = `the repository ${this.url} is in use by ${error.holder}`;
      throw new BackupError("BACKUP_LOCKED", message, { url: this.url, holder: error.holder }, error);
    }
  }

  async #write(
    temporary: string,
    name: string,
    bytes: Uint8Array | AsyncIterable<Uint8Array>,
    sha256: string | undefined,
  ): Promise<void> {
    const hash = createHash("sha256");
    const handle = await this.#files.open(temporary, "create");
    try {
      let [at, syncedAt] = [0, 0];
      for await (const chunk of bytes instanceof Uint8Array ? [bytes] : bytes) {
        if (chunk.length === 0) continue;
        hash.update(chunk);
        await handle.write(chunk, at);
        at += chunk.length;
        if (at - syncedAt < SYNC_BYTES) continue;
        await handle.sync();
        syncedAt = at;
      }
      const found = hash.digest("hex");
      if (sha256 !== undefined && sha256 !== found)
        throw new BackupError(
          "BACKUP_SOURCE_CHANGED",
          `what was to become ${name} changed while it was copied`,
          { name, expected: sha256, found },
        );
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  /** Two that put one name at once: one of them has it. A second name is refused when taken, which a rename is not. */
  async #nameIfAbsent(temporary: string, path: string, directory: string): Promise<"stored" | "exists"> {
    const files = this.#files;
    let outcome: "stored" | "exists" = "stored";
    try {
      await files.link(temporary, path);
    } catch (error) {
      const errno = errnoOf(error) ?? "";
      if (NO_LINKS.has(errno)) {
        await files.rename(temporary, path);
        await files.syncDirectory(directory);
        return "stored";
      }
      if (errno !== "EEXIST") throw error;
      outcome = "exists";
    }
    await files.remove(temporary);
    await files.syncDirectory(directory);
    return outcome;
  }

  /** Files of a folder and all below it, by name. A folder itself is no object. */
  async *#walk(folder: string): AsyncGenerator<StoredObject, void> {
    for (const [name, status] of await this.#entries(folder)) {
      if (status.type === "directory") yield* this.#walk(`${name}/`);
      else yield { name, bytes: status.bytes, changedAt: status.changedAt };
    }
  }

  async #entries(folder: string): Promise<(readonly [name: string, FileStatus])[]> {
    const directory = folder === "" ? this.url : this.#path(folder.slice(0, -1));
    let names: string[];
    try {
      names = await this.#files.list(directory);
    } catch (error) {
      if (errnoOf(error) === "ENOENT") return [];
      throw error;
    }
    const entries: (readonly [string, FileStatus])[] = [];
    for (const name of names) {
      const status = await this.#files.stat(`${directory}/${name}`);
      // Gone since it was listed: it has no place in an answer of now.
      if (status !== undefined) entries.push([`${folder}${name}`, status]);
    }
    return entries;
  }

  async #open(name: string): Promise<FileHandle> {
    try {
      return await this.#files.open(this.#path(name), "read");
    } catch (error) {
      if (errnoOf(error) !== "ENOENT") throw error;
      throw new BackupError("BACKUP_DAMAGED", `${name} is missing in ${this.url}`, { name }, error);
    }
  }

  #path(name: string): string {
    checkObjectName(name);
    return `${this.url}/${name}`;
  }

  async #makeParent(path: string): Promise<string> {
    const directory = parentOf(path);
    if (!this.#made.has(directory)) await this.#files.makeDirectory(directory);
    this.#made.add(directory);
    return directory;
  }
}

const parentOf = (path: string): string => path.slice(0, path.lastIndexOf("/"));
