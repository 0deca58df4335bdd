/**
 * What a replicated node asks of this server's holdings: its log, the end of it cut off and kept aside, a whole log put into its place.
 * While log or state is replaced requests are told to come again, and readiness says why.
 */
import {
  DamagedDirectory,
  type EventLog,
  type FileSystem,
  type Finding,
  findingOf,
  holdsLog,
  Installation,
  keepDiverged,
  LOG_DIRECTORY,
  type LogSegments,
  type Offset,
  parseSegmentName,
  parseSnapshotName,
  readFilePieces,
  readIdentity,
  SNAPSHOT_DIRECTORY,
  soundEnd,
} from "../../log/index.js";
import { listSnapshots, verifySnapshot } from "../../projections/index.js";
import {
  endDamaged,
  type Kept,
  type NodeIdentity,
  type Position,
  ReplicationError,
  type ReplicationHost,
  type SnapshotSource,
} from "../../replication/index.js";
import type { Holdings } from "../holdings.js";
import type { Logger } from "../logging.js";
import type { House } from "../state/house.js";

/** What is asked of a server's holdings. */
export interface HostHoldings
  extends Pick<
    Holdings,
    "opened" | "lead" | "endLeading" | "openLog" | "closeLog" | "openState" | "closeState"
  > {
  readonly house: Pick<House, "newest"> | undefined;
}

export interface HoldingsHostParts {
  readonly holdings: HostHoldings;
  readonly files: FileSystem;
  readonly dataDirectory: string;
  /** Of a node that has no log yet, if it was started before. */
  readonly nodeId: string | undefined;
  readonly logger: Pick<Logger, "info" | "warn">;
  /** Wall clock, ms since 1970. */
  readonly now: () => number;
  readonly randomBytes: (count: number) => Uint8Array;
  /** Who holds the directory, shown to whoever is refused. */
  readonly holder: string;
  /** Log and state are there again. */
  readonly onReplaced: () => void;
  /** They are not, and this process cannot bring them back. */
  readonly onLost: (error: Error) => void;
}

type Install = Parameters<ReplicationHost["beginInstall"]>[0];
type Installing = Awaited<ReturnType<ReplicationHost["beginInstall"]>>;

const SNAPSHOT_CHUNK_BYTES = 256 * 1024;

export class HoldingsHost implements ReplicationHost {
  readonly #parts: HoldingsHostParts;
  /** Of a node that has no log yet. */
  readonly #newNodeId: string;
  /** The end of the log is this node's alone, and could not be cut off: a full sync keeps the old log. */
  #hasDiverged = false;
  /** Of a log that was closed, or not opened, because it is damaged. */
  #damage: Finding | undefined;
  #identity: NodeIdentity | undefined;

  constructor(parts: HoldingsHostParts) {
    this.#parts = parts;
    this.#newNodeId = parts.nodeId ?? Buffer.from(parts.randomBytes(16)).toString("hex");
  }

  identity(): NodeIdentity {
    return (
      this.#parts.holdings.opened?.identity ??
      this.#identity ?? { clusterId: undefined, nodeId: this.#newNodeId }
    );
  }

  log(): EventLog | undefined {
    return this.#parts.holdings.opened?.log;
  }

  logSegments(): LogSegments | undefined {
    return this.#parts.holdings.opened?.segments;
  }

  get damage(): Finding | undefined {
    return this.#damage;
  }

  async shut(finding: Finding): Promise<void> {
    const { holdings, files, dataDirectory } = this.#parts;
    this.#damage = finding;
    this.#identity = await readIdentity(files, dataDirectory);
    await holdings.closeState();
    await holdings.closeLog();
  }

  async reopen(): Promise<void> {
    const { holdings, files, dataDirectory, onReplaced, onLost } = this.#parts;
    this.#damage = undefined;
    // Nothing is left: everything comes from the primary.
    if (!(await holdsLog(files, dataDirectory))) return;
    try {
      await holdings.openLog({ following: true });
      await holdings.openState();
      onReplaced();
    } catch (error) {
      const finding = findingOf(error);
      if (finding !== undefined) return await this.shut(finding);
      onLost(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  }

  openDamaged(): Promise<DamagedDirectory> {
    const { files, dataDirectory, now, holder } = this.#parts;
    return DamagedDirectory.open({ files, dataDirectory, now, holder });
  }

  async prepareCut(last: Offset): Promise<void> {
    const { files, dataDirectory } = this.#parts;
    const names = await files.list(`${dataDirectory}/${LOG_DIRECTORY}`);
    const first = names.flatMap((name) => parseSegmentName(name) ?? []).sort((a, b) => a - b)[0] ?? 1;
    // Also of a log that is left without a record: it goes on behind a snapshot, or begins at 1. Of one without a segment nothing is left.
    if (first > 1 && last >= first - 1) await this.#mustHaveSnapshot(last, first, undefined);
    await this.#removeSnapshotsAfter(last);
  }

  lead(): Promise<void> {
    return this.#parts.holdings.lead();
  }

  followBegins(): Promise<void> {
    return this.#parts.holdings.endLeading();
  }

  async cut(after: Position): Promise<Kept | undefined> {
    const { holdings, logger } = this.#parts;
    const log = this.log();
    if (log === undefined) return undefined;
    await this.#mustFoldTo(log, after.offset);
    await holdings.closeState();
    try {
      await this.#removeSnapshotsAfter(after.offset);
      const kept = await this.#keepDiverged(log, after.offset);
      if (kept !== undefined) logger.warn({ ...kept }, "records that only this node had were put aside");
      return kept;
    } finally {
      await this.#foldAgain();
    }
  }

  /** Nobody else has what is damaged there, so it cannot be mended, and what cannot be read cannot be put aside record by record. */
  async #keepDiverged(log: EventLog, last: Offset): Promise<Kept | undefined> {
    const { files, dataDirectory, now } = this.#parts;
    try {
      return await keepDiverged(files, dataDirectory, log, last, now());
    } catch (error) {
      const finding = findingOf(error);
      if (finding === undefined) throw error;
      this.#hasDiverged = true;
      throw endDamaged(finding, last);
    }
  }

  beginInstall({ clusterId }: Install): Promise<Installation> {
    const { holdings, files, dataDirectory, holder, now, randomBytes } = this.#parts;
    return Installation.begin({
      files,
      dataDirectory,
      holder,
      now,
      randomBytes,
      clusterId,
      nodeId: this.identity().nodeId,
      isHeld: holdings.opened !== undefined,
    });
  }

  async installed(installing: Installing): Promise<Kept | undefined> {
    if (!(installing instanceof Installation)) throw new TypeError("this host began another installation");
    const { holdings, logger } = this.#parts;
    const oldEnd = this.#hasDiverged ? undefined : await soundEnd(this.log());
    await holdings.closeState();
    await holdings.closeLog();
    try {
      const { end, kept } = await installing.commit({ oldEnd });
      this.#hasDiverged = false;
      this.#damage = undefined;
      const { offset, epoch } = end;
      logger.info({ offset, epoch, kept: kept?.directory }, "the primary's log was put into place");
      return kept;
    } finally {
      // Whatever came of it, the directory holds what it did before or the new log.
      await this.reopen();
    }
  }

  async newestSnapshot(): Promise<SnapshotSource | undefined> {
    const { holdings, files, dataDirectory } = this.#parts;
    const facts = await holdings.house?.newest();
    if (facts === undefined) return undefined;
    const { name, offset, bytes } = facts;
    const path = `${dataDirectory}/${SNAPSHOT_DIRECTORY}/${name}`;
    return {
      name,
      offset,
      bytes,
      read: () => readFilePieces(files, path, { end: bytes, pieceBytes: SNAPSHOT_CHUNK_BYTES }),
    };
  }

  /** A log that has lost its beginning cannot be cut below its oldest snapshot: nobody could fold what is left. */
  async #mustFoldTo(log: EventLog, last: Offset): Promise<void> {
    if (log.firstOffset > 1) await this.#mustHaveSnapshot(last, log.firstOffset, log);
  }

  /** `log`: when it is open, whose snapshots they must be. */
  async #mustHaveSnapshot(last: Offset, firstOffset: number, log: EventLog | undefined): Promise<void> {
    const { files, dataDirectory } = this.#parts;
    const directory = `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
    for (const { name, info } of await listSnapshots(files, directory)) {
      if (info === undefined || info.offset > last || info.offset < firstOffset - 1) continue;
      if (log !== undefined && !(await log.agrees(info))) continue;
      if ((await verifySnapshot(files, `${directory}/${name}`)).problem === undefined) return;
    }
    this.#hasDiverged = true;
    throw new ReplicationError(
      "REPLICATION_CUT_TOO_DEEP",
      `no snapshot is left of offset ${last} or before: this log cannot be cut there, and is replaced as a whole`,
      { after: last, firstOffset },
    );
  }

  /** Before the records: a snapshot of what a log does not have any more would tell of a loss. */
  async #removeSnapshotsAfter(last: Offset): Promise<void> {
    const { files, dataDirectory } = this.#parts;
    const directory = `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
    if (!(await files.exists(directory))) return;
    for (const name of await files.list(directory)) {
      if ((parseSnapshotName(name)?.offset ?? 0) > last) await files.remove(`${directory}/${name}`);
    }
    await files.syncDirectory(directory);
  }

  async #foldAgain(): Promise<void> {
    const { holdings, onReplaced, onLost } = this.#parts;
    try {
      await holdings.openState();
      onReplaced();
    } catch (error) {
      onLost(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  }
}
