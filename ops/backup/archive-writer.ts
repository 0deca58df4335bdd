/**
 * Brings an archive up to an offset of the log: what is missing of it is sent, and a manifest then says that it is there. It
 * may be ended at any moment: what was sent and not yet named is sent or found again, and what is named is never replaced.
 *
 * A sealed segment is one object. The tail grows in pieces, each from where the last one ended, and is sent anew as one when
 * it is sealed. Only what is durable may be archived, or a power cut could leave an archive that knows more than the log.
 */
import {
  offset as asOffset,
  checkSegment,
  extentsUpTo,
  type FileSystem,
  type Identity,
  LogError,
  type LogView,
  type Offset,
  openLogView,
  readDirectoryFormat,
  SEGMENT_FORMAT_VERSION,
  type SegmentExtent,
} from "../../log/index.js";
import { version } from "../version.js";
import { type Archive, listArchive, loadArchiveManifest, storeArchiveHead } from "./archive-chain.js";
import { refuseForeign } from "./archive-ownership.js";
import { epochsOf, identityOf, isAllOf, snapshotFileNames } from "./archive-parts.js";
import { type ArchivedFiles, type ArchiveRules, retainedFiles } from "./archive-retention.js";
import type { Breaks } from "./breaks.js";
import { BackupError } from "./errors.js";
import { ARCHIVE_HEAD, archiveManifestId, archiveManifestObject } from "./layout.js";
import {
  MANIFEST_FORMAT_VERSION,
  type Manifest,
  type ManifestBody,
  type ManifestEntry,
  type SegmentEntry,
  type SnapshotEntry,
  sealManifest,
  segmentsOf,
  snapshotsOf,
} from "./manifest.js";
import type { ObjectStore } from "./object-store.js";
import { planSegments } from "./plan.js";
import { type SendOptions, type SentFile, sendSegment } from "./send.js";
import { chooseSnapshot } from "./snapshot-choice.js";

export type UploadKind = "segment" | "snapshot" | "manifest";

export interface ArchiveWriterOptions {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly store: ObjectStore;
  readonly rules: ArchiveRules;
  /** Who takes the lock of the repository. Default: the store. */
  readonly lock?: ObjectStore["lock"];
  /** Wall clock, ms since 1970. */
  readonly now: () => number;
  readonly onUpload?: (kind: UploadKind, bytes: number) => void;
  readonly onWarning?: (warning: string) => void;
}

/** What the archive holds, as its newest manifest says. */
export interface ArchiveReport {
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly lastTimestamp: number;
  readonly snapshotOffset: number | null;
  readonly files: number;
  readonly bytes: number;
}

/** Older manifests stay so many, for whoever reads them. */
const MANIFESTS_KEPT = 3;
/** While much is sent, what is there is named from time to time: so an end loses little work, and the lag shrinks. */
const SENT_BYTES_MAX = 256 * 1024 * 1024;
/** How often retention may be quicker before the matter is left to the next time. */
const ATTEMPTS = 5;

export class ArchiveWriter {
  readonly #options: ArchiveWriterOptions;
  #archive: Archive | undefined;
  #isLoaded = false;
  /** What was loaded is this log's. Before that is known nothing may be said of it, not even that it has everything. */
  #isOurs = false;
  /** Manifests that this process tried to put: one whose answer was lost may be there nevertheless. */
  readonly #tried = new Set<string>();
  #hasPut = false;
  #older: number[] = [];
  #there = new Map<string, number>();
  /** Objects of this run that somebody had brought before. */
  readonly #found = new Set<string>();
  #sentBytes = 0;
  #snapshotsSeen = "";
  #breaks: Breaks | undefined;

  constructor(options: ArchiveWriterOptions) {
    this.#options = options;
  }

  /**
   * Everything up to `last`, which is durable, with these breaks on the way. Undefined when there is nothing to archive yet.
   * @throws BackupError, among them BACKUP_REPOSITORY_FOREIGN, BACKUP_ARCHIVE_DIVERGED, BACKUP_ARCHIVE_GAP and
   * BACKUP_ARCHIVE_TAKEN, which no later attempt can mend; LogError LOG_CORRUPT; what a disk throws.
   */
  async bringUpTo(last: Offset, breaks?: Breaks): Promise<ArchiveReport | undefined> {
    this.#breaks = breaks;
    await this.#load();
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#bringUpTo(last);
        return this.report();
      } catch (error) {
        const overtaken = error instanceof LogError && error.code === "LOG_OFFSET_RETIRED";
        if (!overtaken || attempt === ATTEMPTS) throw error;
      }
    }
  }

  report(): ArchiveReport | undefined {
    const manifest = this.#archive?.manifest;
    if (manifest === undefined) return undefined;
    const { firstOffset, lastOffset, lastTimestamp, snapshot, files } = manifest;
    const bytes = files.reduce((sum, file) => sum + file.bytes, 0);
    return {
      firstOffset,
      lastOffset,
      lastTimestamp,
      snapshotOffset: snapshot?.offset ?? null,
      files: files.length,
      bytes,
    };
  }

  /** What was sent and has no name may have been swept since: only what the manifest names is there for sure. */
  #forgetUnnamed(): void {
    this.#found.clear();
    this.#there = new Map(this.#archive?.manifest.files.map(({ name, bytes }) => [name, bytes]));
  }

  async #load(): Promise<void> {
    if (this.#isLoaded) return;
    const { store } = this.#options;
    const there = await listArchive(store);
    const sequence = there.at(-1);
    if (sequence !== undefined) {
      this.#archive = { sequence, manifest: await loadArchiveManifest(store, sequence) };
      this.#older = there.slice(0, -1);
    }
    this.#isLoaded = true;
  }

  async #bringUpTo(last: Offset): Promise<void> {
    const { files, dataDirectory, store } = this.#options;
    const isNew = last > (this.#archive?.manifest.lastOffset ?? 0);
    const snapshots = await snapshotFileNames(files, dataDirectory);
    if (this.#isOurs && !isNew && snapshots === this.#snapshotsSeen) return;
    const view = await openLogView(files, dataDirectory, { last });
    if (view.extents.length === 0) return;
    const identity = identityOf(view, dataDirectory);
    await refuseForeign(store, view, identity, this.#archive?.manifest);
    this.#isOurs = true;
    this.#forgetUnnamed();
    const pass = new Pass(view, identity, await extentsUpTo(files, dataDirectory, view.extents, last));
    await this.#sendSegments(pass);
    await this.#sendSnapshot(pass);
    this.#snapshotsSeen = snapshots;
    await this.#put(pass);
  }

  async #sendSegments(pass: Pass): Promise<void> {
    const known = segmentsOf(this.#archive?.manifest);
    pass.snapshots = snapshotsOf(this.#archive?.manifest);
    pass.mark = this.#archive?.manifest.snapshot ?? null;
    pass.segments = known.filter(({ endOffset }) => endOffset < pass.view.firstOffset);
    const whole = new Map(known.map((entry) => [entry.baseOffset, entry]));
    for (const extent of pass.extents) {
      // Left the archive by its own rules, while the log still has it.
      if (extent.lastOffset < (this.#archive?.manifest.firstOffset ?? 0)) continue;
      const entry = whole.get(extent.firstOffset);
      if (entry !== undefined && isAllOf(entry, extent)) pass.segments.push(entry);
      else pass.segments.push(...(await this.#sendExtent(extent, known)));
      if (this.#sentBytes >= SENT_BYTES_MAX) await this.#put(pass);
    }
  }

  async #sendExtent(extent: SegmentExtent, known: readonly SegmentEntry[]): Promise<SegmentEntry[]> {
    const { files, dataDirectory } = this.#options;
    // A sealed one goes as it is, whatever pieces of it are there: a restore fetches one object instead of many.
    if (extent.sealed)
      return [this.#sent("segment", await sendSegment(this.#send, dataDirectory, extent, undefined))];
    const extents = { extents: [extent] };
    const [plan] = await planSegments({ files, dataDirectory, view: extents, known, there: this.#there });
    const { reused = [], rest } = plan ?? {};
    if (rest === undefined) return [...reused];
    const sent = await sendSegment(this.#send, dataDirectory, extent, rest.from);
    return [...reused, this.#sent("segment", sent)];
  }

  async #sendSnapshot(pass: Pass): Promise<void> {
    const { files, dataDirectory } = this.#options;
    const previous = this.#archive?.manifest;
    try {
      const chosen = await chooseSnapshot({
        files,
        dataDirectory,
        view: pass.view,
        previous,
        agreedOffset: previous?.lastOffset ?? 0,
        send: this.#send,
        onWarning: (warning) => this.#options.onWarning?.(warning),
      });
      if (chosen === undefined || chosen.mark.offset <= (pass.mark?.offset ?? -1)) return;
      pass.mark = chosen.mark;
      pass.snapshots.push(this.#sent("snapshot", chosen.file));
    } catch (error) {
      // The archive reaches further back than the log: it needs none of the log's.
      const canDoWithout =
        previous !== undefined && error instanceof BackupError && error.code === "BACKUP_SNAPSHOT_MISSING";
      if (!canDoWithout) throw error;
    }
  }

  /** Names what is there. Nothing when that is no more than before, or cannot be restored yet. */
  async #put(pass: Pass): Promise<void> {
    const before = this.#archive?.manifest;
    const last = pass.segments.at(-1);
    if (last === undefined || last.endOffset < (before?.lastOffset ?? 0)) return;
    const isNew = last.endOffset > (before?.lastOffset ?? 0) || pass.mark?.name !== before?.snapshot?.name;
    const first = before?.firstOffset ?? pass.view.firstOffset;
    if (!isNew || (first > 1 && (pass.mark === null || pass.mark.offset > last.endOffset))) return;
    const all: ArchivedFiles = { segments: pass.segments, snapshots: pass.snapshots };
    const kept = retainedFiles(all, this.#options.rules, this.#options.now());
    const body = await this.#bodyOf(pass, kept, last);
    const named = new Set(before?.files.map(({ name }) => name));
    const found = body.files.filter(({ name }) => this.#found.has(name) && !named.has(name));
    await this.#whileNobodyPrunes(found, pass.identity.nodeId, () => this.#putManifest(body));
    this.#sentBytes = 0;
  }

  /**
   * What was found there has no name of the archive's yet, so whoever prunes may be about to remove it. With the lock nobody is: it
   * is looked for once more, and named before the lock is given back. What was sent just now is younger than any prune removes.
   */
  async #whileNobodyPrunes(
    found: readonly ManifestEntry[],
    nodeId: string,
    put: () => Promise<void>,
  ): Promise<void> {
    if (found.length === 0) return put();
    const { store, lock: take = store.lock.bind(store) } = this.#options;
    // A data directory has one process at a time: a killed one left no lock that this one would have to wait for.
    const lock = await take(`annals archive, pid ${process.pid}`, nodeId);
    try {
      for (const { name, bytes } of found) {
        if ((await store.head(name))?.bytes === bytes) continue;
        throw new BackupError(
          "BACKUP_LOCKED",
          `${name} was removed from ${store.url} before the archive could name it; it is sent again`,
          { url: store.url, name },
        );
      }
      await put();
    } finally {
      await lock.release();
    }
  }

  async #bodyOf(
    { view, identity, mark }: Pass,
    kept: ArchivedFiles,
    last: SegmentEntry,
  ): Promise<ManifestBody> {
    const { files, dataDirectory } = this.#options;
    const before = this.#archive;
    const firstOffset = kept.segments[0]?.baseOffset ?? last.baseOffset;
    const isSame = firstOffset === before?.manifest.firstOffset;
    const { timestamp } = await view.markAt(asOffset(last.endOffset));
    return {
      formatVersion: MANIFEST_FORMAT_VERSION,
      kind: "archive",
      annalsVersion: version,
      tool: "annals serve",
      // After everything that is named was read, and as new as anything that was named before.
      directoryFormat: Math.max(
        await readDirectoryFormat(files, dataDirectory),
        before?.manifest.directoryFormat ?? 1,
      ),
      segmentFormat: SEGMENT_FORMAT_VERSION,
      ...identity,
      createdAt: Math.max(this.#options.now(), (before?.manifest.createdAt ?? 0) + 1),
      firstOffset,
      lastOffset: last.endOffset,
      firstTimestamp: isSame ? before.manifest.firstTimestamp : await this.#firstTimestamp(kept, view),
      lastTimestamp: timestamp,
      lastCrc: last.endCrc,
      epochs: epochsOf(before?.manifest, view, firstOffset, last.endOffset),
      files: [...kept.segments, ...kept.snapshots],
      snapshot: mark,
      previous:
        before === undefined
          ? null
          : { id: archiveManifestId(before.sequence), sha256: before.manifest.sha256 },
    };
  }

  async #putManifest(body: ManifestBody): Promise<void> {
    const { store } = this.#options;
    const { manifest, text } = sealManifest(body);
    const sequence = (this.#archive?.sequence ?? 0) + 1;
    this.#tried.add(manifest.sha256);
    const bytes = Buffer.from(text);
    // A server that was killed before its head leaves that to the next: two manifests and no head would look like a lost one.
    if (!this.#hasPut && this.#archive !== undefined && (await store.head(ARCHIVE_HEAD)) === undefined)
      await storeArchiveHead(store, this.#archive);
    const done = await store.put(archiveManifestObject(sequence), bytes, { ifAbsent: true });
    const archive = done === "stored" ? { sequence, manifest } : await this.#whatIsThere(sequence);
    if (this.#archive !== undefined) this.#older.push(this.#archive.sequence);
    this.#archive = archive;
    this.#hasPut = true;
    this.#tried.clear();
    this.#options.onUpload?.("manifest", bytes.length);
    await storeArchiveHead(store, archive);
    while (this.#older.length >= MANIFESTS_KEPT) {
      await store.remove(archiveManifestObject(this.#older[0] ?? 0));
      this.#older.shift();
    }
  }

  /** The number is taken: by an attempt of our own whose answer was lost, or by somebody else. */
  async #whatIsThere(sequence: number): Promise<Archive> {
    const { store } = this.#options;
    const manifest = await loadArchiveManifest(store, sequence);
    if (this.#tried.has(manifest.sha256)) return { sequence, manifest };
    // What a process of before had under way may arrive after this one has looked: look again, once.
    const isFirst = !this.#hasPut;
    this.#hasPut = true;
    [this.#isLoaded, this.#isOurs] = [!isFirst, !isFirst];
    throw new BackupError(
      isFirst ? "BACKUP_LOCKED" : "BACKUP_ARCHIVE_TAKEN",
      `node ${manifest.nodeId} has archived up to offset ${manifest.lastOffset} to ${store.url}, and so does this server`,
      { url: store.url, holder: manifest.nodeId, found: manifest.lastOffset },
    );
  }

  /** Of the oldest record that stays: on this disk, or in the archive alone. */
  async #firstTimestamp({ segments }: ArchivedFiles, view: LogView): Promise<number> {
    const [first] = segments;
    if (first === undefined) return 0;
    if (first.baseOffset >= view.firstOffset)
      return (await view.markAt(asOffset(first.baseOffset))).timestamp;
    const checked = await checkSegment(first.name, this.#options.store.get(first.name));
    if (!("code" in checked) && checked.firstTimestamp !== undefined) return checked.firstTimestamp;
    throw new BackupError("BACKUP_DAMAGED", `${first.name} is damaged`, { name: first.name });
  }

  get #send(): SendOptions {
    const { files, store } = this.#options;
    return { files, store, there: this.#there, copy: false, onBytes: () => undefined, breaks: this.#breaks };
  }

  #sent<Entry extends SegmentEntry | SnapshotEntry>(
    kind: UploadKind,
    { entry, how }: SentFile<Entry>,
  ): Entry {
    if (how === "there") {
      this.#found.add(entry.name);
      return entry;
    }
    this.#sentBytes += entry.bytes;
    this.#options.onUpload?.(kind, entry.bytes);
    return entry;
  }
}

/** One run, and what it has brought together so far. */
class Pass {
  readonly view: LogView;
  readonly identity: Identity;
  readonly extents: readonly SegmentExtent[];
  segments: SegmentEntry[] = [];
  snapshots: SnapshotEntry[] = [];
  mark: Manifest["snapshot"] = null;

  constructor(view: LogView, identity: Identity, extents: readonly SegmentExtent[]) {
    this.view = view;
    this.identity = identity;
    this.extents = extents;
  }
}
