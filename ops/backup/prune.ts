/**
 * Removes old backups, and objects that nobody names. Never an object that a manifest names which stays, an archive's
 * included; and nothing at all while one of them cannot be read, for nobody knows what it names.
 *
 * In this order, so that killed anywhere it leaves whole backups and a head that is right: the head, then the manifests from
 * the oldest on, then the objects.
 */
import { eachArchiveManifest } from "./archive-chain.js";
import { BackupError } from "./errors.js";
import { type BackupObject, backupObject, parseObject, SEGMENTS, SNAPSHOTS } from "./layout.js";
import type { Manifest } from "./manifest.js";
import type { ObjectStore, StoredObject } from "./object-store.js";
import { lockWith, type Patience } from "./patient-lock.js";
import { eachBackup, listBackups, loadBackup, loadHead, storeHead } from "./repository.js";

export interface PruneOptions {
  /** The newest so many stay. */
  readonly keep: number | undefined;
  /** Those that are younger stay, too. With neither no backup goes. */
  readonly keepDays: number | undefined;
  /** What no backup ever named goes only when it is older: it may be on its way into one. Beside an archive it is an hour at least. */
  readonly graceMs: number;
  readonly dryRun: boolean;
  readonly now: () => number;
  readonly holder: string;
  /** With which somebody else's work on the repository is waited for. Default: none. */
  readonly patience?: Patience;
}

export interface PruneReport {
  readonly dryRun: boolean;
  /** Ids, oldest first. */
  readonly removedBackups: readonly string[];
  readonly keptBackups: readonly string[];
  readonly removedObjects: readonly string[];
  readonly removedBytes: number;
}

const HOUR_MS = 60 * 60 * 1000;
const DAY_MS = 24 * HOUR_MS;
/** A server that archives sends without the lock, and names within minutes. */
const ARCHIVE_GRACE_MS = HOUR_MS;

/** @throws BackupError BACKUP_LOCKED, BACKUP_NOT_FOUND, BACKUP_DAMAGED, BACKUP_VERSION_UNKNOWN. */
export async function pruneBackups(store: ObjectStore, options: PruneOptions): Promise<PruneReport> {
  if (options.dryRun) return prune(store, options);
  // A lock would make the directory, where there is none.
  await requireBackups(store);
  const lock = await lockWith(options.patience, store, options.holder);
  try {
    return await prune(store, options);
  } finally {
    await lock.release();
  }
}

/** @throws BackupError BACKUP_NOT_FOUND. */
async function requireBackups(store: ObjectStore): ReturnType<typeof listBackups> {
  const backups = await listBackups(store);
  if (backups.length > 0) return backups;
  throw new BackupError("BACKUP_NOT_FOUND", `${store.url} holds no backup`, { url: store.url });
}

async function prune(store: ObjectStore, options: PruneOptions): Promise<PruneReport> {
  const backups = await requireBackups(store);
  const head = await loadHead(store);
  // What a killed prune was about to remove goes, whatever is to be kept now.
  const passed = backups.filter(({ id }) => head !== undefined && id < head.oldest).length;
  const first = Math.min(Math.max(passed, firstKept(backups, options)), backups.length - 1);
  const [going, staying] = [backups.slice(0, first), backups.slice(first)];
  const named = await namesIn(store, new Set(going.map(({ id }) => id)));
  const objects: StoredObject[] = [];
  const graceMs = Math.max(options.graceMs, named.byArchive ? ARCHIVE_GRACE_MS : 0);
  const sentBefore = options.now() - graceMs;
  for await (const object of store.list("")) if (isGarbage(object, named, sentBefore)) objects.push(object);

  const report: PruneReport = {
    dryRun: options.dryRun,
    removedBackups: going.map(({ id }) => id),
    keptBackups: staying.map(({ id }) => id),
    removedObjects: objects.map(({ name }) => name),
    removedBytes: objects.reduce((sum, { bytes }) => sum + bytes, 0),
  };
  if (options.dryRun) return report;
  const [oldest, newest] = [staying[0], staying.at(-1)];
  if (oldest !== undefined && newest !== undefined && going.length > 0) {
    const { sha256 } = await loadBackup(store, newest.id);
    await storeHead(store, { oldest: oldest.id, newest: { id: newest.id, sha256 } });
  }
  for (const { id } of going) await store.remove(backupObject(id));
  for (const { name } of objects) await store.remove(name);
  return report;
}

/** What manifests name. */
interface Named {
  /** By a backup that stays, or by the archive. */
  readonly kept: ReadonlySet<string>;
  /** By a backup that goes. */
  readonly once: ReadonlySet<string>;
  /** An archive is among those that name. */
  readonly byArchive: boolean;
}

/** @throws BackupError when one of them cannot be read. */
async function namesIn(store: ObjectStore, going: ReadonlySet<string>): Promise<Named> {
  const [kept, once] = [new Set<string>(), new Set<string>()];
  for await (const { id, read } of eachBackup(store))
    for (const { name } of orThrow(read).files) (going.has(id) ? once : kept).add(name);
  let byArchive = false;
  for await (const { read } of eachArchiveManifest(store)) {
    byArchive = true;
    for (const { name } of orThrow(read).files) kept.add(name);
  }
  return { kept, once, byArchive };
}

/** Index of the oldest backup that stays. The newest always does. */
function firstKept(backups: readonly BackupObject[], { keep, keepDays, now }: PruneOptions): number {
  if (keep === undefined && keepDays === undefined) return 0;
  const byCount = backups.length - Math.max(1, keep ?? 1);
  const youngest = now() - (keepDays ?? 0) * DAY_MS;
  const byAge = keepDays === undefined ? -1 : backups.findIndex(({ createdAt }) => createdAt >= youngest);
  return Math.max(0, byAge === -1 ? byCount : Math.min(byCount, byAge));
}

/** What a backup has named is nobody's work in progress any more, so it needs no grace. */
function isGarbage({ name, changedAt }: StoredObject, { kept, once }: Named, sentBefore: number): boolean {
  if (kept.has(name)) return false;
  const isTemporary = parseObject(name)?.kind === "temporary";
  const isObject = name.startsWith(SEGMENTS) || name.startsWith(SNAPSHOTS);
  if (!isTemporary && (!isObject || parseObject(name) === undefined)) return false;
  return once.has(name) || changedAt < sentBefore;
}

function orThrow(read: Manifest | BackupError): Manifest {
  if (!(read instanceof BackupError)) return read;
  throw new BackupError(
    read.code,
    `${read.message}; nothing was removed, for nobody knows what it names`,
    read.context,
    read,
  );
}
