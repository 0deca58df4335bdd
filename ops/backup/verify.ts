/**
 * The checker of a repository: needs no restore and no server. Looks at every name, every manifest and their chain; of the
 * chosen backups at every byte: sizes, SHA-256, every record's crc and the chain across segments. Changes nothing.
 */
import { createHash, type Hash } from "node:crypto";
import { type CheckedSegment, checkSegment, errnoOf, errorMessage, type Finding } from "../../log/index.js";
import { eachArchiveManifest, loadArchiveHead } from "./archive-chain.js";
import {
  archiveFindings,
  type ChainLink,
  chainFindings,
  contentFindings,
  findingOf,
  unreadable,
} from "./check-manifests.js";
import { BackupError } from "./errors.js";
import { type BackupFinding, finding } from "./finding.js";
import { ARCHIVE_HEAD, BACKUP_HEAD, parseObject, segmentObject } from "./layout.js";
import type { Manifest, ManifestEntry, SegmentEntry } from "./manifest.js";
import type { ObjectStore, StoredObject } from "./object-store.js";
import { eachBackup, type LoadedBackup, type LoadedManifest, loadHead } from "./repository.js";

export interface VerifyBackupOptions {
  /** Whose files are read: one backup's, or `archive`'s; all and what none names; the newest backup's and the archive's. */
  readonly which: { readonly id: string } | "all" | "newest";
  readonly onProgress?: (bytesDone: number, bytesAll: number) => void;
}

export interface VerifyBackupReport {
  /** Backups that are there, whole or not. */
  readonly backups: number;
  /** Those whose files were read. */
  readonly verified: readonly string[];
  /** How many of those are manifests of the archive. */
  readonly archiveVerified: number;
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

/** Instead of a backup's id. */
const ARCHIVE = "archive";

/** What of a manifest its segments are held against. */
type ManifestFacts = Pick<
  Manifest,
  "clusterId" | "epochs" | "firstOffset" | "lastOffset" | "firstTimestamp" | "lastTimestamp"
>;

class Verification {
  readonly #store: ObjectStore;
  readonly #options: VerifyBackupOptions;
  readonly #findings: BackupFinding[] = [];
  readonly #notes: BackupFinding[] = [];
  readonly #objects = new Map<string, StoredObject>();
  /** Files to be read, each once, with what the first manifest that names it says. */
  readonly #wanted = new Map<string, { readonly entry: ManifestEntry; readonly facts: ManifestFacts }>();
  /** Whatever any manifest names. */
  readonly #named = new Set<string>();
  readonly #verified: string[] = [];
  /** A manifest is another release's: what it names, and in which formats that is, only that release knows. */
  #isOfOthers = false;
  readonly #clusters: { readonly name: string; readonly clusterId: string }[] = [];
  #clusterId: string | undefined;
  #bytesDone = 0;
  #bytesAll = 0;

  constructor(store: ObjectStore, options: VerifyBackupOptions) {
    this.#store = store;
    this.#options = options;
  }

  async run(): Promise<VerifyBackupReport> {
    // In this order, so that whoever writes meanwhile looks like no damage: a head names what is there, and so does a manifest.
    const head = await this.#head(BACKUP_HEAD, loadHead);
    const archiveHead = await this.#head(ARCHIVE_HEAD, loadArchiveHead);
    const links = await this.#readManifests();
    const archived = await this.#readArchive();
    await this.#listObjects();
    const isEmpty = links.length === 0 && archived.length === 0;
    if (isEmpty && head === undefined && archiveHead === undefined)
      throw notFound(this.#store.url, `${this.#store.url} holds no backup and no archive`);
    this.#checkClusters();
    const { findings, notes } = chainFindings(links, head);
    this.#findings.push(...findings, ...archiveFindings(archived, archiveHead));
    this.#notes.push(...notes);
    await this.#readFiles();
    return {
      backups: links.length,
      verified: this.#verified,
      archiveVerified: archived.filter(({ id }) => this.#verified.includes(id)).length,
      objects: this.#objects.size,
      bytesRead: this.#bytesDone,
      findings: this.#findings,
      notes: this.#notes,
    };
  }

  /** Looks at each manifest once and keeps of it what the rest needs. */
  async #readManifests(): Promise<ChainLink[]> {
    const { which } = this.#options;
    const links: ChainLink[] = [];
    let newest: { readonly backup: LoadedBackup; readonly manifest: Manifest } | undefined;
    for await (const backup of eachBackup(this.#store)) {
      const { id, name, read } = backup;
      this.#noteUnreadable(backup);
      if (read instanceof BackupError) {
        links.push({ id, name, read });
        continue;
      }
      links.push({ id, name, read: { sha256: read.sha256, previous: read.previous } });
      this.#note(name, read);
      newest = { backup, manifest: read };
      if (which === "all" || (typeof which === "object" && which.id === id)) this.#want(backup, read);
    }
    if (which === "newest" && newest !== undefined) this.#want(newest.backup, newest.manifest);
    if (typeof which === "object" && which.id !== ARCHIVE && !links.some(({ id }) => id === which.id))
      throw notFound(this.#store.url, `${this.#store.url} has no backup ${which.id}`);
    return links;
  }

  /** As above, of the archive: its newest manifest has all of it. */
  async #readArchive(): Promise<ChainLink[]> {
    const { which } = this.#options;
    const links: ChainLink[] = [];
    let newest: { readonly loaded: LoadedManifest; readonly manifest: Manifest } | undefined;
    for await (const loaded of eachArchiveManifest(this.#store)) {
      const { id, name, read } = loaded;
      this.#noteUnreadable(loaded);
      const isDamaged = read instanceof BackupError;
      links.push({ id, name, read: isDamaged ? read : { sha256: read.sha256, previous: read.previous } });
      if (isDamaged) continue;
      this.#note(name, read);
      newest = { loaded, manifest: read };
      if (which === "all") this.#want(loaded, read);
    }
    const isWanted = which === "newest" || (typeof which === "object" && which.id === ARCHIVE);
    if (isWanted && newest !== undefined) this.#want(newest.loaded, newest.manifest);
    if (typeof which === "object" && which.id === ARCHIVE && links.length === 0)
      throw notFound(this.#store.url, `${this.#store.url} has no archive`);
    return links;
  }

  #noteUnreadable(loaded: LoadedManifest): void {
    this.#findings.push(...unreadable(loaded));
    const { read } = loaded;
    if (read instanceof BackupError && read.code === "BACKUP_VERSION_UNKNOWN") this.#isOfOthers = true;
  }

  #note(name: string, { files, clusterId }: Manifest): void {
    for (const file of files) this.#named.add(file.name);
    this.#clusters.push({ name, clusterId });
  }

  #checkClusters(): void {
    this.#clusterId = this.#clusters.at(-1)?.clusterId;
    for (const { name, clusterId } of this.#clusters)
      if (clusterId !== this.#clusterId)
        this.#findings.push(finding("foreign", name, `cluster ${this.#clusterId}`, clusterId));
  }

  #want({ id, name }: LoadedManifest, manifest: Manifest): void {
    this.#verified.push(id);
    this.#findings.push(...contentFindings(name, manifest));
    const { clusterId, epochs, firstOffset, lastOffset, firstTimestamp, lastTimestamp } = manifest;
    const facts = { clusterId, epochs, firstOffset, lastOffset, firstTimestamp, lastTimestamp };
    for (const entry of manifest.files) {
      const known = this.#wanted.get(entry.name)?.entry;
      if (known === undefined) this.#wanted.set(entry.name, { entry, facts });
      else if (known.sha256 !== entry.sha256 || known.bytes !== entry.bytes)
        this.#findings.push(finding("swapped", name, `${entry.name} as other backups know it`, "another"));
    }
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

  async #head<Read>(name: string, load: (store: ObjectStore) => Promise<Read>): Promise<Read | "unreadable"> {
    try {
      return await load(this.#store);
    } catch (error) {
      if (!(error instanceof BackupError) || error.code === "BACKUP_STORE_FAILED") throw error;
      this.#findings.push(findingOf(error, name));
      return "unreadable";
    }
  }

  /** With `all` also what nobody names: the next backup could use it. */
  async #readFiles(): Promise<void> {
    const unnamed = [...this.#objects.values()].filter(({ name }) => {
      const kind = parseObject(name)?.kind;
      return (kind === "segment" || kind === "snapshot") && !this.#named.has(name) && !this.#isOfOthers;
    });
    for (const { name } of unnamed)
      this.#notes.push(finding("leftover", name, "an object that a backup names", "one that none does"));
    const read = this.#options.which === "all" ? unnamed : [];
    for (const { entry } of this.#wanted.values()) this.#bytesAll += entry.bytes;
    for (const { bytes } of read) this.#bytesAll += bytes;
    for (const { entry, facts } of this.#wanted.values()) await this.#checkNamed(entry, facts);
    for (const object of read) await this.#checkUnnamed(object);
  }

  async #checkNamed(entry: ManifestEntry, facts: ManifestFacts): Promise<void> {
    const { name, bytes } = entry;
    const object = this.#objects.get(name);
    if (object === undefined) {
      this.#findings.push(finding("missing", name, `${bytes} bytes`, "no such object"));
      return;
    }
    if (object.bytes !== bytes) {
      this.#findings.push(finding("damaged", name, `${bytes} bytes`, `${object.bytes}`));
      return;
    }
    const read = await this.#read(object, entry.kind === "segment");
    if (read.finding !== undefined) this.#findings.push(read.finding);
    else if (read.sha256 !== entry.sha256)
      this.#findings.push(finding("damaged", name, `SHA-256 ${entry.sha256}`, read.sha256));
    const { segment } = read;
    if (entry.kind === "segment" && segment !== undefined)
      this.#findings.push(...toldFindings(entry, segment, facts));
  }

  async #checkUnnamed(object: StoredObject): Promise<void> {
    const { name } = object;
    const parsed = parseObject(name);
    const { segment, sha256, finding: bad } = await this.#read(object, parsed?.kind === "segment");
    if (bad !== undefined) this.#findings.push(bad);
    else if (parsed?.kind === "snapshot" && !sha256.startsWith(parsed.sha))
      this.#findings.push(finding("damaged", name, `SHA-256 ${parsed.sha}…`, sha256));
    if (segment === undefined) return;
    const { header, lastOffset } = segment;
    const { baseOffset: firstOffset, lineageId } = header;
    if (this.#clusterId !== undefined && header.clusterId !== this.#clusterId)
      this.#findings.push(finding("foreign", name, `cluster ${this.#clusterId}`, header.clusterId));
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
      const found = errorMessage(error);
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
function toldFindings(entry: SegmentEntry, segment: CheckedSegment, facts: ManifestFacts): BackupFinding[] {
  const { header, lastOffset, lastCrc, firstTimestamp, lastTimestamp } = segment;
  const epoch = facts.epochs.find(({ lineageId }) => lineageId === header.lineageId);
  const isFirst = entry.baseOffset === facts.firstOffset;
  const isLast = entry.endOffset === facts.lastOffset;
  const told: readonly (readonly [string, unknown, unknown])[] = [
    ["cluster", facts.clusterId, header.clusterId],
    ["lineage", entry.lineageId, header.lineageId],
    ["epoch", epoch?.epoch, header.epoch],
    ["first offset of the epoch", epoch?.first, header.epochFirst],
    ["first offset", entry.baseOffset, header.baseOffset],
    ["crc before", entry.chainCrc, header.chainCrc],
    ["last offset", entry.endOffset, lastOffset],
    ["last crc", entry.endCrc, lastCrc],
    ["first timestamp", isFirst ? facts.firstTimestamp : firstTimestamp, firstTimestamp],
    ["last timestamp", isLast ? facts.lastTimestamp : lastTimestamp, lastTimestamp],
  ];
  return told
    .filter(([, expected, found]) => expected !== found)
    .map(([what, expected, found]) =>
      finding("swapped", entry.name, `${what} ${String(expected)}`, String(found)),
    );
}

function notFound(url: string, message: string): BackupError {
  return new BackupError("BACKUP_NOT_FOUND", message, { url });
}
