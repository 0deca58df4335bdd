/**
 * The manifests of an archive, numbered from 1. Each names every file of the archive, so the newest one is the archive; a few
 * before it stay for whoever is reading them. The number is the fence: a manifest is only put where none is, so of two
 * servers that continue one archive the second one finds its number taken, and nothing of the first is ever replaced.
 *
 * The head comes after the manifest. It only shows that the newest one has been lost since; the next number is found without it.
 */
import { type Static, Type } from "@sinclair/typebox";
import { BackupError } from "./errors.js";
import {
  ARCHIVE_HEAD,
  ARCHIVE_MANIFESTS,
  archiveManifestId,
  archiveManifestObject,
  parseObject,
} from "./layout.js";
import { decodeSealed, type Manifest, sealedText } from "./manifest.js";
import type { ObjectStore } from "./object-store.js";
import { type LoadedManifest, loadManifest, orError, readBounded } from "./repository.js";

const HEAD_FORMAT_VERSION = 1;
const HEAD_BYTES_MAX = 4096;

const Head = Type.Object(
  {
    formatVersion: Type.Literal(HEAD_FORMAT_VERSION),
    newest: Type.Object({ id: Type.String(), sha256: Type.String() }, { additionalProperties: false }),
    sha256: Type.String(),
  },
  { additionalProperties: false },
);

const HEADS = new Map([[HEAD_FORMAT_VERSION, Head]]);

export type ArchiveHead = Pick<Static<typeof Head>, "newest">;

export interface LoadedArchiveManifest extends LoadedManifest {
  readonly sequence: number;
}

/** An archive as its newest manifest shows it. */
export interface Archive {
  readonly sequence: number;
  readonly manifest: Manifest;
}

/** Every manifest of the archive that is there, oldest first, one at a time. */
export async function* eachArchiveManifest(store: ObjectStore): AsyncGenerator<LoadedArchiveManifest, void> {
  for (const sequence of await listArchive(store)) {
    const [name, id] = [archiveManifestObject(sequence), archiveManifestId(sequence)];
    const read = await orError(() => loadArchiveManifest(store, sequence));
    // Gone since it was listed: the server that archives removes old ones.
    if (read instanceof BackupError && (await store.head(name)) === undefined) continue;
    yield { name, id, sequence, read };
  }
}

/** Numbers of the manifests that are there, ascending. */
export async function listArchive(store: ObjectStore): Promise<number[]> {
  const found: number[] = [];
  for await (const { name } of store.list(ARCHIVE_MANIFESTS)) {
    const parsed = parseObject(name);
    if (parsed?.kind === "archiveManifest") found.push(parsed.sequence);
  }
  return found.sort((a, b) => a - b);
}

/**
 * The newest manifest, whether or not a server is writing to the archive; undefined when there is no archive.
 * @throws BackupError BACKUP_DAMAGED, BACKUP_VERSION_UNKNOWN, BACKUP_STORE_FAILED.
 */
export async function loadArchive(store: ObjectStore): Promise<Archive | undefined> {
  const sequence = (await listArchive(store)).at(-1);
  if (sequence === undefined) return undefined;
  return { sequence, manifest: await loadArchiveManifest(store, sequence) };
}

/** @throws BackupError BACKUP_DAMAGED, BACKUP_VERSION_UNKNOWN. */
export async function loadArchiveManifest(store: ObjectStore, sequence: number): Promise<Manifest> {
  const name = archiveManifestObject(sequence);
  const manifest = await loadManifest(store, name);
  const expected = sequence === 1 ? null : archiveManifestId(sequence - 1);
  if (manifest.kind !== "archive" || (manifest.previous?.id ?? null) !== expected)
    throw new BackupError("BACKUP_DAMAGED", `${name} is the manifest of another ${manifest.kind}`, { name });
  return manifest;
}

/** Undefined when there is none. @throws BackupError BACKUP_DAMAGED, BACKUP_VERSION_UNKNOWN. */
export async function loadArchiveHead(store: ObjectStore): Promise<ArchiveHead | undefined> {
  if ((await store.head(ARCHIVE_HEAD)) === undefined) return undefined;
  const bytes = await readBounded(store, ARCHIVE_HEAD, HEAD_BYTES_MAX);
  const { newest } = decodeSealed(HEADS, bytes, ARCHIVE_HEAD);
  return { newest };
}

export async function storeArchiveHead(store: ObjectStore, { sequence, manifest }: Archive): Promise<void> {
  const newest = { id: archiveManifestId(sequence), sha256: manifest.sha256 };
  await store.put(ARCHIVE_HEAD, Buffer.from(sealedText({ formatVersion: HEAD_FORMAT_VERSION, newest }).text));
}
