/** What owns log and state of a simulated node, and gives its replication what it asks for. */
import type { Subscription } from "rxjs";
import {
  type AppendedRecord,
  offset as asLogOffset,
  DamagedDirectory,
  type EventLog,
  type FileSystem,
  type Finding,
  findingOf,
  holdsLog,
  Installation,
  keepDiverged,
  type LogSegments,
  type Offset,
  type OpenedLog,
  type OpenLogOptions,
  openLog,
  readIdentity,
  soundEnd,
} from "../../log/index.js";
import { ReplicationError } from "../../replication/errors.js";
import type { Kept, NodeIdentity, ReplicationHost } from "../../replication/host.js";
import { endDamaged } from "../../replication/link-error.js";
import type { Installing, SnapshotSource } from "../../replication/link-ports.js";
import type { Clock } from "../../replication/ports.js";
import type { Position } from "../../replication/position.js";
import {
  canFoldTo,
  cutSnapshots,
  type Digest,
  type Folded,
  fold,
  foldFiles,
  newestSnapshot,
  takeSnapshot,
} from "./cluster-state.js";

/** A node's log and state, as the simulated set sees them. */
export interface WorldHost extends ReplicationHost {
  open(following: boolean): Promise<void>;
  /** Writes; undefined when the state had something against it. @throws LogError as `append`. */
  submit(text: string): Offset | undefined;
  /** As it was folded record by record; undefined while there is none. */
  readonly state: Folded | undefined;
  /** Folded again, from the files alone. */
  folded(): Promise<Folded>;
  /** Takes a snapshot, and lets go what it covers. */
  retain(): Promise<void>;
  /** Writes nothing more by itself: what the nodes hold is compared. */
  rest(): void;
}

export interface ClusterHostOptions {
  readonly log: OpenLogOptions;
  readonly clock: Clock;
  /** Of a node that has no log yet, if it was started before. */
  readonly nodeId: string | undefined;
  /** A promise was broken where nobody waits. */
  readonly broken: (error: unknown) => void;
  /** Log or state could not be opened again. */
  readonly lost: (error: unknown) => void;
  /** Of every record that comes into the log, in its turn. */
  readonly appended: (log: EventLog, record: AppendedRecord) => void;
  /** Whatever writes by itself was told to end. */
  readonly followBegins: () => void;
  /** A full sync is in place: another log is open now. */
  readonly installed: () => void;
  readonly counts: HostCounts;
}

export interface HostCounts {
  installs: number;
  cuts: number;
  /** Records that were put aside. */
  diverged: number;
}

export class ClusterHost implements WorldHost {
  readonly #options: ClusterHostOptions;
  readonly #newNodeId: string;
  #opened: OpenedLog | undefined;
  #state: Digest = { offset: 0, digest: 0 };
  #subscription: Subscription | undefined;
  damage: Finding | undefined;
  /** What only this node has could not be put aside for damage. */
  #hasDiverged = false;
  /** Of a log that is closed because it is damaged. */
  #identity: NodeIdentity | undefined;

  constructor(options: ClusterHostOptions) {
    this.#options = options;
    this.#newNodeId = options.nodeId ?? Buffer.from(options.log.randomBytes(16)).toString("hex");
  }

  get #files(): FileSystem {
    return this.#options.log.files;
  }

  get #directory(): string {
    return this.#options.log.dataDirectory;
  }

  get state(): Folded {
    return this.#state;
  }

  /** As a server does: what a follower's log and state cannot be opened for is kept, to be mended. */
  async open(following: boolean): Promise<void> {
    try {
      this.#opened = await openLog({ ...this.#options.log, following });
      await this.#openState();
    } catch (error) {
      const finding = following ? findingOf(error) : undefined;
      if (finding === undefined) throw error;
      await this.shut(finding);
    }
  }

  logSegments(): LogSegments | undefined {
    return this.#opened?.segments;
  }

  async shut(finding: Finding): Promise<void> {
    this.damage = finding;
    this.#subscription?.unsubscribe();
    const opened = this.#opened;
    this.#opened = undefined;
    this.#identity = await readIdentity(this.#files, this.#directory);
    await opened?.log.close();
  }

  async reopen(): Promise<void> {
    this.damage = undefined;
    if (await holdsLog(this.#files, this.#directory)) await this.open(true);
  }

  openDamaged(): Promise<DamagedDirectory> {
    return DamagedDirectory.open(this.#options.log);
  }

  async prepareCut(last: Offset): Promise<void> {
    await cutSnapshots(this.#files, this.#directory, last);
  }

  identity(): NodeIdentity {
    const fresh = { clusterId: undefined, nodeId: this.#newNodeId };
    return this.#opened?.identity ?? this.#identity ?? fresh;
  }

  log(): EventLog | undefined {
    return this.#opened?.log;
  }

  submit(text: string): Offset | undefined {
    const timestamp = Math.floor(this.#options.log.now());
    return this.log()?.append({ kind: 2, version: 1, timestamp, body: Buffer.from(text) });
  }

  async lead(): Promise<void> {
    // Nothing is written here by itself.
  }

  rest(): void {
    // It never does anything else.
  }

  async followBegins(): Promise<void> {
    this.#options.followBegins();
  }

  async folded(): Promise<Folded> {
    const log = this.log();
    return log === undefined ? this.#state : await foldFiles(this.#files, this.#directory, log);
  }

  async cut(after: Position): Promise<Kept | undefined> {
    const log = this.log();
    if (log === undefined) return undefined;
    await this.#mustFoldTo(log, after);
    this.#subscription?.unsubscribe();
    const { now } = this.#options.log;
    const kept = await this.#keepDiverged(log, after.offset, now());
    this.#options.counts.cuts += 1;
    this.#options.counts.diverged += kept?.records ?? 0;
    await this.#openStateAgain();
    return kept;
  }

  /** A log that has lost its beginning is not cut below its oldest snapshot: nobody could fold what is left. It takes a full sync. */
  async #mustFoldTo(log: EventLog, { offset }: Position): Promise<void> {
    if (await canFoldTo(this.#files, this.#directory, log, offset)) return;
    throw new ReplicationError(
      "REPLICATION_CUT_TOO_DEEP",
      `no snapshot is left of offset ${offset} or before: the log cannot be cut there. Resync this node`,
    );
  }

  async #keepDiverged(log: EventLog, last: Offset, timestamp: number): Promise<Kept | undefined> {
    try {
      return await keepDiverged(this.#files, this.#directory, log, last, timestamp);
    } catch (error) {
      const finding = findingOf(error);
      if (finding === undefined) throw error;
      this.#hasDiverged = true;
      await this.#openStateAgain();
      throw endDamaged(finding, last);
    }
  }

  beginInstall({ clusterId }: Parameters<ReplicationHost["beginInstall"]>[0]): Promise<Installation> {
    const { files, dataDirectory, holder, now, randomBytes } = this.#options.log;
    return Installation.begin({
      files,
      dataDirectory,
      holder,
      now,
      randomBytes,
      clusterId,
      nodeId: this.identity().nodeId,
      isHeld: this.#opened !== undefined,
    });
  }

  async installed(installing: Installing): Promise<Kept | undefined> {
    if (!(installing instanceof Installation)) throw new TypeError("this host began another installation");
    const log = this.log();
    const oldEnd = this.#hasDiverged ? undefined : await soundEnd(log);
    this.#subscription?.unsubscribe();
    await log?.close();
    this.#opened = undefined;
    const { kept } = await installing.commit({ oldEnd });
    this.damage = undefined;
    this.#hasDiverged = false;
    this.#options.counts.installs += 1;
    this.#options.counts.diverged += kept?.records ?? 0;
    await this.open(true);
    this.#options.installed();
    return kept;
  }

  async newestSnapshot(): Promise<SnapshotSource | undefined> {
    const log = this.log();
    const found = log && (await newestSnapshot(this.#files, this.#directory, log));
    if (found === undefined) return undefined;
    const { name, offset, bytes } = found;
    const read = async function* (): AsyncGenerator<Uint8Array> {
      for (let at = 0; at < bytes.length; at += 16) yield bytes.subarray(at, at + 16);
    };
    return { name, offset: asLogOffset(offset), bytes: bytes.length, read };
  }

  async retain(): Promise<void> {
    const log = this.log();
    if (log === undefined) return;
    const covered = await takeSnapshot(this.#files, this.#directory, log, this.#options.log.now());
    if (covered > 0) await log.retain(asLogOffset(covered));
  }

  /** As a server does: what cannot be folded any more ends the process. */
  async #openStateAgain(): Promise<void> {
    try {
      await this.#openState();
    } catch (error) {
      this.#options.lost(error);
      throw error;
    }
  }

  async #openState(): Promise<void> {
    const log = this.log();
    if (log === undefined) return;
    this.#state = await foldFiles(this.#files, this.#directory, log);
    this.#subscription = log.appended.subscribe((record) => {
      this.#options.appended(log, record);
      try {
        this.#state = fold(this.#state, record);
      } catch (error) {
        this.#options.broken(error);
      }
    });
  }
}
