/**
 * The manifests of a repository and the head that says which of them there should be. A manifest is what makes a backup: it
 * is put last, after everything that it names. The head comes after it, so that it never names one that was not there; it
 * is what shows that the newest or the oldest one has been lost since.
 */
import { type Static, Type } from "@sinclair/typebox";
import { BackupError } from "./errors.js";
import { BACKUP_HEAD, BACKUPS, type BackupObject, backupId, backupObject, parseObject } from "./layout.js";
import { decodeSealed, MANIFEST_BYTES_MAX, type Manifest, readManifest, sealedText } from "./manifest.js";
import { type ObjectStore, readObject } from "./object-store.js";

const HEAD_FORMAT_VERSION = 1;
const HEAD_BYTES_MAX = 4096;

const Head = Type.Object(
  {
    formatVersion: Type.Literal(HEAD_FORMAT_VERSION),
    /** The oldest backup that was not pruned. */
    oldest: Type.String(),
    newest: Type.Object({ id: Type.String(), sha256: Type.String() }, { additionalProperties: false }),
    sha256: Type.String(),
  },
  { additionalProperties: false },
);

const HEADS = new Map([[HEAD_FORMAT_VERSION, Head]]);

export type Head = Omit<Static<typeof Head>, "formatVersion" | "sha256">;

/** A manifest object that was looked at: what it says, or why it cannot be read. */
export interface LoadedManifest {
  /** Name of the object. */
  readonly name: string;
  readonly id: string;
  readonly read: Manifest | BackupError;
}

export interface LoadedBackup extends LoadedManifest {
  readonly createdAt: number;
}

/** The backups by their names, oldest first. */
export async function listBackups(store: ObjectStore): Promise<BackupObject[]> {
  const found: BackupObject[] = [];
  for await (const { name } of store.list(BACKUPS)) {
    const parsed = parseObject(name);
    if (parsed?.kind === "backup") found.push(parsed);
  }
  return found.sort((a, b) => (a.id < b.id ? -1 : 1));
}

/** Every backup's manifest, oldest first, one at a time: all of them at once may be more than fits into memory. */
export async function* eachBackup(store: ObjectStore): AsyncGenerator<LoadedBackup, void> {
  for (const { id, createdAt } of await listBackups(store)) {
    const read = await orError(() => loadBackup(store, id));
    yield { name: backupObject(id), id, createdAt, read };
  }
}

/** @throws BackupError BACKUP_NOT_FOUND, BACKUP_DAMAGED, BACKUP_VERSION_UNKNOWN. */
export async function loadBackup(store: ObjectStore, id: string): Promise<Manifest> {
  const name = backupObject(id);
  if (parseObject(name)?.kind !== "backup" || (await store.head(name)) === undefined)
    throw new BackupError("BACKUP_NOT_FOUND", `${store.url} has no backup ${id}`, { url: store.url, id });
  const manifest = await loadManifest(store, name);
  const said = backupId(manifest.createdAt, manifest.lastOffset);
  if (said !== id || manifest.kind !== "backup")
    throw new BackupError("BACKUP_DAMAGED", `${name} is the manifest of ${manifest.kind} ${said}`, { name });
  return manifest;
}

/** @throws BackupError BACKUP_DAMAGED, BACKUP_VERSION_UNKNOWN. */
export async function loadManifest(store: ObjectStore, name: string): Promise<Manifest> {
  return readManifest(await readBounded(store, name, MANIFEST_BYTES_MAX), name);
}

/** Undefined when there is none. @throws BackupError BACKUP_DAMAGED, BACKUP_VERSION_UNKNOWN. */
export async function loadHead(store: ObjectStore): Promise<Head | undefined> {
  if ((await store.head(BACKUP_HEAD)) === undefined) return undefined;
  const bytes = await readBounded(store, BACKUP_HEAD, HEAD_BYTES_MAX);
  const { oldest, newest } = decodeSealed(HEADS, bytes, BACKUP_HEAD);
  return { oldest, newest };
}

export async function storeHead(store: ObjectStore, head: Head): Promise<void> {
  const { text } = sealedText({ formatVersion: HEAD_FORMAT_VERSION, ...head });
  await store.put(BACKUP_HEAD, Buffer.from(text));
}

export async function readBounded(store: ObjectStore, name: string, bytesMax: number): Promise<Uint8Array> {
  try {
    return await readObject(store, name, bytesMax);
  } catch (error) {
    if (error instanceof RangeError)
      throw new BackupError("BACKUP_DAMAGED", `${name} is damaged: ${error.message}`, { name }, error);
    throw error;
  }
}

/** What `load` gives, or why there is no such manifest to be had. */
export async function orError(load: () => Promise<Manifest>): Promise<Manifest | BackupError> {
  try {
    return await load();
  } catch (error) {
    if (error instanceof BackupError && error.code !== "BACKUP_STORE_FAILED") return error;
    throw error;
  }
}
