/**
 * Writes a data directory anew in the newest formats, into a place where there is nothing yet. The old one is only read: it is the way
 * back. Every record keeps its offset, time and epoch; an event of an older version is written as the newest says it; snapshots are made
 * where there were some. What comes out is folded from its own records and must have the digests of the old one, else it
 * keeps the mark of the unfinished, which nobody serves. Ended anywhere, it is the same: a directory that is refused.
 */
import {
  assert,
  type FileSystem,
  type LogMark,
  type LogView,
  offset,
  openLogView,
  RestoringDirectory,
  readDirectoryFormat,
  SegmentRewriting,
  SNAPSHOT_DIRECTORY,
} from "../../log/index.js";
import {
  type Digests,
  Fold,
  foldTo,
  type ListedSnapshot,
  LOG_DIGESTS,
  listSnapshots,
  newestForm,
  readSnapshot,
  SnapshotError,
  type SnapshotFacts,
  type StoreRules,
  writeSnapshot,
} from "../../projections/index.js";
import { OlderEvents, type OlderPart, olderFiles } from "./older-parts.js";

export type MigrationStep = "looking" | "writing" | "checking";

export interface MigrationOptions {
  readonly files: FileSystem;
  /** Absolute. Nobody writes there meanwhile. */
  readonly from: string;
  /** Absolute; empty, or not there. */
  readonly into: string;
  readonly rules: StoreRules;
  /** Wall clock, ms since 1970. */
  readonly now: () => number;
  readonly randomBytes: (count: number) => Uint8Array;
  readonly holder: string;
  /** Records, of each step anew. */
  readonly onProgress?: (step: MigrationStep, done: number, total: number) => void;
}

export interface MigrationPlan {
  readonly firstOffset: number;
  readonly lastOffset: number;
  readonly segments: number;
  readonly bytes: number;
  readonly snapshots: number;
  /** What is of an older format; when there is none, there is nothing to do. */
  readonly older: readonly OlderPart[];
}

export interface MigrationReport extends MigrationPlan {
  readonly clusterId: string;
  readonly nodeId: string;
  readonly epoch: number;
  readonly lineageId: string;
  /** At `lastOffset`, of the new directory; of the old one too, but for kept answers: see `warnings`. */
  readonly digests: Digests;
  readonly warnings: readonly string[];
}

/** What a fold came to. Restore points are in no digest of their own. */
interface Folded {
  readonly digests: Digests;
  readonly points: string;
}

const foldedOf = (fold: Fold): Folded => ({ digests: fold.digests(), points: fold.points.digest() });

/** But for kept answers: `idempotency.*` may have been another when the snapshot was made. */
function areSame(a: Folded, b: Folded): boolean {
  return a.points === b.points && LOG_DIGESTS.every((part) => a.digests[part] === b.digests[part]);
}

/** The new directory does not say what the old one says. A bug, or memory that flips bits; the old one is as it was. */
export class MigrationDiffers extends Error {
  constructor(into: string, old: Digests, found: Digests) {
    super(
      `what was written to ${into} does not fold to the state of the old directory: ${old.all}, ${found.all}`,
    );
    this.name = "MigrationDiffers";
  }
}

/** Reads every record; writes nothing. @throws LogError, ProjectionError; what the file system throws. */
export async function planMigration(options: MigrationOptions): Promise<MigrationPlan> {
  const { files, from } = options;
  return planOf(await openLogView(files, from), options);
}

async function planOf(view: LogView, options: MigrationOptions): Promise<MigrationPlan> {
  const { files, from, onProgress } = options;
  const { firstOffset, endOffset, extents } = view;
  const events = new OlderEvents();
  for await (const batch of view.read(firstOffset)) {
    for (const record of batch) events.see(record);
    onProgress?.("looking", batch.at(-1)?.offset ?? 0, endOffset);
  }
  const older = await olderFiles(files, from, await readDirectoryFormat(files, from));
  return {
    firstOffset,
    lastOffset: endOffset,
    segments: extents.length,
    bytes: extents.reduce((sum, { bytes }) => sum + bytes, 0),
    snapshots: (await listSnapshots(files, `${from}/${SNAPSHOT_DIRECTORY}`)).length,
    older: extents.length === 0 ? [] : [...older, ...events.parts],
  };
}

/**
 * Undefined when nothing is older: then nothing was written.
 * @throws MigrationDiffers; LogError LOG_DIRECTORY_UNUSABLE, LOG_LOCKED, LOG_CORRUPT; SnapshotError SNAPSHOT_MISSING; ProjectionError;
 * what the file system throws.
 */
export async function migrate(options: MigrationOptions): Promise<MigrationReport | undefined> {
  const { files, from, into, holder, now, randomBytes } = options;
  const view = await openLogView(files, from);
  const plan = await planOf(view, options);
  if (plan.older.length === 0) return undefined;
  const directory = await RestoringDirectory.begin(
    { files, dataDirectory: into, holder, now, randomBytes },
    { from, lastOffset: view.endOffset, startedAt: new Date(now()).toISOString() },
  );
  try {
    return { ...plan, ...(await new Migration(view, directory, options).run()) };
  } finally {
    await directory.close();
  }
}

const OTHER_ANSWERS =
  "idempotency.* let the server keep other answers when the newest snapshot was made: of idempotency keys the new directory knows what the settings allow now";

class Migration {
  readonly #view: LogView;
  readonly #directory: RestoringDirectory;
  readonly #options: MigrationOptions;
  readonly #rewriting: SegmentRewriting;
  readonly #warnings: string[] = [];
  /** The snapshot of the old directory that tells what was before the first record. */
  #begun: SnapshotFacts | undefined;

  constructor(view: LogView, directory: RestoringDirectory, options: MigrationOptions) {
    this.#view = view;
    this.#directory = directory;
    this.#options = options;
    const { randomBytes } = options;
    this.#rewriting = new SegmentRewriting(view, { randomBytes, rewrite: newestForm });
  }

  async run(): Promise<Omit<MigrationReport, keyof MigrationPlan>> {
    await this.#writeSegments();
    const written = await this.#directory.view(this.#view.endOffset);
    const found = await this.#foldAnew(written);
    const before = await this.#foldOld();
    const { digests } = found;
    if (!areSame(before, found)) throw new MigrationDiffers(this.#options.into, before.digests, digests);
    if (before.digests.idempotency !== digests.idempotency) this.#warnings.push(OTHER_ANSWERS);
    const { identity, epoch } = await this.#finish();
    return { ...identity, epoch: epoch.epoch, lineageId: epoch.lineageId, digests, warnings: this.#warnings };
  }

  async #writeSegments(): Promise<void> {
    const { endOffset, extents } = this.#view;
    for (const extent of extents) {
      await this.#directory.placeSegment(extent.firstOffset, this.#rewriting.bytes(extent));
      this.#options.onProgress?.("writing", extent.lastOffset, endOffset);
    }
  }

  /**
   * Folds what was written, all of it, and makes the snapshots on the way where there were some: from records they know more than from
   * an older snapshot. Only where the log does not begin with its first record, the oldest that can be used is where it begins.
   */
  async #foldAnew(written: LogView): Promise<Folded> {
    const { files, from, into, now, rules, onProgress } = this.#options;
    const listed = await listSnapshots(files, `${from}/${SNAPSHOT_DIRECTORY}`);
    const fold = written.firstOffset === 1 ? new Fold({ rules }) : await this.#foldBefore(listed);
    const wanted = new Set(listed.map(({ offset: at }) => at));
    const keep = async (): Promise<void> => {
      if (!wanted.has(fold.offset)) return;
      const mark = await this.#markAt(fold, written);
      await writeSnapshot(files, `${into}/${SNAPSHOT_DIRECTORY}`, fold, mark, { now });
    };
    try {
      await keep();
      for await (const batch of written.read(offset(fold.offset + 1))) {
        for (const record of batch) {
          fold.take(record);
          await keep();
        }
        fold.reclaimExpired(fold.clock, batch.length);
        onProgress?.("checking", fold.offset, written.endOffset);
      }
      return foldedOf(fold);
    } finally {
      fold.close();
    }
  }

  /** @throws SnapshotError SNAPSHOT_MISSING when none tells what was before the log's first record. */
  async #foldBefore(listed: readonly ListedSnapshot[]): Promise<Fold> {
    const { files, from, rules } = this.#options;
    const directory = `${from}/${SNAPSHOT_DIRECTORY}`;
    for (const { name, offset: at, info } of listed) {
      if (info === undefined || at < this.#view.firstOffset - 1 || !(await this.#view.agrees(info))) continue;
      const fold = new Fold({ rules });
      try {
        await readSnapshot(files, `${directory}/${name}`, fold);
        this.#begun = info;
        return fold;
      } catch (error) {
        fold.close();
        if (!(error instanceof SnapshotError)) throw error;
        this.#warnings.push(`${error.code}: ${error.message}`);
      }
    }
    // It says what is missing.
    await foldTo(this.#view, { files, directory }, { rules });
    assert(false, "a start cannot begin with a snapshot that none can begin with");
  }

  #markAt(fold: Fold, written: LogView): Promise<LogMark> | LogMark {
    const begun = this.#begun;
    if (begun === undefined || fold.offset >= written.firstOffset) return written.markAt(fold.offset);
    const { clusterId, lineageId, epoch, offset: at, crc, timestamp } = begun;
    return this.#rewriting.markBefore({ clusterId, lineageId, epoch, offset: at, crc, timestamp });
  }

  /** As a start sees the old directory. */
  async #foldOld(): Promise<Folded> {
    const { files, from, rules } = this.#options;
    const snapshots = { files, directory: `${from}/${SNAPSHOT_DIRECTORY}` };
    const { fold } = await foldTo(this.#view, snapshots, {
      rules,
      onWarning: ({ code, message }) => this.#warnings.push(`${code}: ${message}`),
    });
    const folded = foldedOf(fold);
    fold.close();
    return folded;
  }

  #finish() {
    const { epochs, endOffset, extents } = this.#view;
    const current = epochs.at(-1);
    const [first] = extents;
    if (current === undefined || first === undefined)
      throw new RangeError("a log without a record has no epoch");
    return this.#directory.finish({
      last: endOffset,
      clusterId: first.header.clusterId,
      epochsUpTo: current.epoch,
      from: this.#options.from,
      migratedLineage: current.lineageId,
    });
  }
}
