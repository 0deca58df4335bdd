/**
 * The checker of a repository: needs no restore and no server. Looks at every name, every manifest and their chain; of the
 * chosen backups at every byte: sizes, SHA-256, every record's crc and the chain across segments. Changes nothing.
 */
import { createHash, type Hash } from "node:crypto";
import { type CheckedSegment, checkSegment, errnoOf, type Finding } from "../../log/index.js";
import { chainFindings, contentFindings, findingOf, unreadable } from "./check-manifests.js";
import { BackupError } from "./errors.js";
import { type BackupFinding, finding } from "./finding.js";
import { BACKUP_HEAD, parseObject, segmentObject } from "./layout.js";
import type { Manifest, ManifestEntry, SegmentEntry } from "./manifest.js";
import type { ObjectStore, StoredObject } from "./object-store.js";
import { type Head, loadArchiveManifests, loadBackups, loadHead } from "./repository.js";

export interface VerifyBackupOptions {
  /** Which backups' files are read: one, all of them (and what none of them names), or the newest. */
  readonly which: { readonly id: string } | "all" | "newest";
  readonly onProgress?: (bytesDone: number, bytesAll: number) => void;
}

export interface VerifyBackupReport {
  /** Backups that are there, whole or not. */
  readonly backups: number;
  /** Those whose files were read. */
  readonly verified: readonly string[];
  readonly objects: number;
  readonly bytesRead: number;
  /** Damage. Empty: what was looked at is whole. */
  readonly findings: readonly BackupFinding[];
  /** Worth knowing, but harmless. */
  readonly notes: readonly BackupFinding[];
}

/** @throws BackupError BACKUP_NOT_FOUND, BACKUP_STORE_FAILED; damage is in the report. */
export async function verifyBackups(
  store: ObjectStore,
  options: VerifyBackupOptions,
): Promise<VerifyBackupReport> {
  return new Verification(store, options).run();
}

class Verification {
  readonly #store: ObjectStore;
  readonly #options: VerifyBackupOptions;
  readonly #findings: BackupFinding[] = [];
  readonly #notes: BackupFinding[] = [];
  readonly #objects = new Map<string, StoredObject>();
  #bytesDone = 0;
  #bytesAll = 0;

  constructor(store: ObjectStore, options: VerifyBackupOptions) {
    this.#store = store;
    this.#options = options;
  }

  async run(): Promise<VerifyBackupReport> {
    await this.#listObjects();
    const backups = await loadBackups(this.#store);
    const archive = await loadArchiveManifests(this.#store);
    const head = await this.#head();
    if (backups.length === 0 && head === undefined)
      throw new BackupError("BACKUP_NOT_FOUND", `${this.#store.url} holds no backup`, {
        url: this.#store.url,
      });
    const { findings, notes } = chainFindings(backups, head);
    this.#findings.push(...[...backups, ...archive].flatMap(unreadable), ...findings);
    this.#notes.push(...notes);

    const readable = backups.flatMap(({ id, name, read }) =>
      read instanceof BackupError ? [] : [{ id, name, manifest: read }],
    );
    const chosen = this.#choose(
      readable,
      backups.map(({ id }) => id),
    );
    for (const { name, manifest } of chosen) this.#findings.push(...contentFindings(name, manifest));
    this.#findings.push(...foreignClusters(readable));
    const named = new Set(
      [...readable.map(({ manifest }) => manifest), ...archive.map(({ read }) => read)].flatMap((read) =>
        read instanceof BackupError ? [] : read.files.map(({ name }) => name),
      ),
    );
    const clusterId = readable.at(-1)?.manifest.clusterId;
    await this.#readAll(chosen, named, clusterId);
    return {
      backups: backups.length,
      verified: chosen.map(({ id }) => id),
      objects: this.#objects.size,
      bytesRead: this.#bytesDone,
      findings: this.#findings,
      notes: this.#notes,
    };
  }

  async #listObjects(): Promise<void> {
    for await (const object of this.#store.list("")) {
      const { name } = object;
      const parsed = parseObject(name);
      if (parsed === undefined)
        this.#findings.push(finding("foreign", name, "files of a repository", "one that does not belong"));
      else if (parsed.kind === "temporary")
        this.#notes.push(finding("leftover", name, "no half-written file", "one"));
      else this.#objects.set(name, object);
    }
  }

  async #head(): Promise<Head | "unreadable" | undefined> {
    try {
      return await loadHead(this.#store);
    } catch (error) {
      if (!(error instanceof BackupError) || error.code === "BACKUP_STORE_FAILED") throw error;
      this.#findings.push(findingOf(error, BACKUP_HEAD));
      return "unreadable";
    }
  }

  #choose<Backup extends { readonly id: string }>(
    readable: readonly Backup[],
    ids: readonly string[],
  ): readonly Backup[] {
    const { which } = this.#options;
    if (which === "all") return readable;
    if (which === "newest") return readable.slice(-1);
    if (!ids.includes(which.id))
      throw new BackupError("BACKUP_NOT_FOUND", `${this.#store.url} has no backup ${which.id}`, {
        url: this.#store.url,
        id: which.id,
      });
    return readable.filter(({ id }) => id === which.id);
  }

  /** Every file of the chosen backups once; with `all` also what nobody names: the next backup could use it. */
  async #readAll(
    chosen: readonly { readonly name: string; readonly manifest: Manifest }[],
    named: ReadonlySet<string>,
    clusterId: string | undefined,
  ): Promise<void> {
    const entries = new Map<string, { entry: ManifestEntry; manifest: Manifest }>();
    for (const { name, manifest } of chosen)
      for (const entry of manifest.files) {
        const known = entries.get(entry.name);
        if (known === undefined) entries.set(entry.name, { entry, manifest });
        else if (known.entry.sha256 !== entry.sha256 || known.entry.bytes !== entry.bytes)
          this.#findings.push(finding("swapped", name, `${entry.name} as other backups know it`, "another"));
      }
    const unnamed = [...this.#objects.values()].filter(({ name }) => {
      const kind = parseObject(name)?.kind;
      return (kind === "segment" || kind === "snapshot") && !named.has(name);
    });
    for (const { name } of unnamed)
      this.#notes.push(finding("leftover", name, "an object that a backup names", "one that none does"));

    const read = this.#options.which === "all" ? unnamed : [];
    for (const { bytes } of [...[...entries.values()].map(({ entry }) => entry), ...read])
      this.#bytesAll += bytes;
    for (const { entry, manifest } of entries.values()) await this.#checkNamed(entry, manifest);
    for (const object of read) await this.#checkUnnamed(object, clusterId);
  }

  async #checkNamed(entry: ManifestEntry, manifest: Manifest): Promise<void> {
    const { name, bytes } = entry;
    const object = this.#objects.get(name);
    if (object === undefined) {
      this.#findings.push(finding("missing", name, `${bytes} bytes`, "no such object"));
      return;
    }
    if (object.bytes !== bytes)
      this.#findings.push(finding("damaged", name, `${bytes} bytes`, `${object.bytes}`));
    const read = await this.#read(object, entry.kind === "segment");
    if (read.finding !== undefined) this.#findings.push(read.finding);
    else if (read.sha256 !== entry.sha256)
      this.#findings.push(finding("damaged", name, `SHA-256 ${entry.sha256}`, read.sha256));
    const { segment } = read;
    if (entry.kind === "segment" && segment !== undefined)
      this.#findings.push(...toldFindings(entry, segment, manifest));
  }

  async #checkUnnamed(object: StoredObject, clusterId: string | undefined): Promise<void> {
    const { name } = object;
    const parsed = parseObject(name);
    const { segment, sha256, finding: bad } = await this.#read(object, parsed?.kind === "segment");
    if (bad !== undefined) this.#findings.push(bad);
    else if (parsed?.kind === "snapshot" && !sha256.startsWith(parsed.sha))
      this.#findings.push(finding("damaged", name, `SHA-256 ${parsed.sha}…`, sha256));
    if (segment === undefined) return;
    const { header, lastOffset } = segment;
    const { baseOffset: firstOffset, lineageId } = header;
    if (clusterId !== undefined && header.clusterId !== clusterId)
      this.#findings.push(finding("foreign", name, `cluster ${clusterId}`, header.clusterId));
    const ownName = segmentObject({ firstOffset, lastOffset, lineageId, sha256 });
    if (ownName !== name) this.#findings.push(finding("swapped", name, "what its name says", ownName));
  }

  /** Reads an object to its end; `finding` when that cannot be done, or when it is no whole segment. */
  async #read({ name }: StoredObject, isSegment: boolean): Promise<ObjectReading> {
    const hash = createHash("sha256");
    const stream = this.#hashed(name, hash);
    try {
      if (!isSegment) {
        for await (const _chunk of stream);
        return { sha256: hash.digest("hex") };
      }
      const checked = await checkSegment(name, stream);
      const sha256 = hash.digest("hex");
      if (!("code" in checked)) return { sha256, segment: checked };
      return { sha256, finding: finding("damaged", name, "a whole segment", whatIsWrong(checked)) };
    } catch (error) {
      // A disk that cannot read a sector is damage like any other; that it is gone since it was listed, too.
      const isGone = error instanceof BackupError && error.code === "BACKUP_DAMAGED";
      if (!isGone && errnoOf(error) !== "EIO") throw error;
      const found = error instanceof Error ? error.message : String(error);
      return { sha256: "", finding: finding(isGone ? "missing" : "damaged", name, "its bytes", found) };
    }
  }

  async *#hashed(name: string, hash: Hash): AsyncGenerator<Uint8Array, void> {
    for await (const chunk of this.#store.get(name)) {
      hash.update(chunk);
      this.#bytesDone += chunk.length;
      this.#options.onProgress?.(this.#bytesDone, Math.max(this.#bytesDone, this.#bytesAll));
      yield chunk;
    }
  }
}

interface ObjectReading {
  readonly sha256: string;
  readonly segment?: CheckedSegment;
  readonly finding?: BackupFinding;
}

const whatIsWrong = ({ position, offset, expected, found }: Finding): string =>
  `${found} instead of ${expected} at position ${position ?? 0}${offset === undefined ? "" : ` (offset ${offset})`}`;

/** What a segment says of itself against what the manifest says of it. */
function toldFindings(entry: SegmentEntry, segment: CheckedSegment, manifest: Manifest): BackupFinding[] {
  const { header, lastOffset, lastCrc, firstTimestamp, lastTimestamp } = segment;
  const epoch = manifest.epochs.find(({ lineageId }) => lineageId === header.lineageId);
  const isFirst = entry.baseOffset === manifest.firstOffset;
  const isLast = entry.endOffset === manifest.lastOffset;
  const told: readonly (readonly [string, unknown, unknown])[] = [
    ["cluster", manifest.clusterId, header.clusterId],
    ["lineage", entry.lineageId, header.lineageId],
    ["epoch", epoch?.epoch, header.epoch],
    ["first offset of the epoch", epoch?.first, header.epochFirst],
    ["first offset", entry.baseOffset, header.baseOffset],
    ["crc before", entry.chainCrc, header.chainCrc],
    ["last offset", entry.endOffset, lastOffset],
    ["last crc", entry.endCrc, lastCrc],
    ["first timestamp", isFirst ? manifest.firstTimestamp : firstTimestamp, firstTimestamp],
    ["last timestamp", isLast ? manifest.lastTimestamp : lastTimestamp, lastTimestamp],
  ];
  return told
    .filter(([, expected, found]) => expected !== found)
    .map(([what, expected, found]) =>
      finding("swapped", entry.name, `${what} ${String(expected)}`, String(found)),
    );
}

function foreignClusters(
  readable: readonly { readonly name: string; readonly manifest: Manifest }[],
): BackupFinding[] {
  const own = readable.at(-1)?.manifest.clusterId;
  return readable
    .filter(({ manifest }) => manifest.clusterId !== own)
    .map(({ name, manifest }) => finding("foreign", name, `cluster ${own}`, manifest.clusterId));
}
