/**
 * Log and state of a simulated node as a server has them: the host that `ops` gives to replication, over the real projections, real
 * snapshots and a retention that streams hold back. What a client writes becomes a command; what time changes a node that leads writes
 * by itself.
 */
import type { Subscription } from "rxjs";
import {
  offset as asOffset,
  type DamagedDirectory,
  type EventLog,
  type Finding,
  findingOf,
  type LogSegments,
  type Offset,
  type OpenedLog,
  openLog,
  SNAPSHOT_DIRECTORY,
} from "../../log/index.js";
import type { HostHoldings } from "../../ops/replication/host.js";
import { HoldingsHost } from "../../ops/replication/host.js";
import {
  asIs,
  type Context,
  type Decider,
  foldTo,
  kv,
  listSnapshots,
  type OpenedStore,
  openStore,
  queue,
  type Reader,
  type SnapshotFacts,
  stream,
  TEXT_TYPE,
  verifySnapshot,
  writeSnapshot,
} from "../../projections/index.js";
import type { Kept, NodeIdentity } from "../../replication/host.js";
import type { Installing, SnapshotSource } from "../../replication/link-ports.js";
import type { Position } from "../../replication/position.js";
import type { ClusterHostOptions, WorldHost } from "./cluster-host.js";
import type { Folded } from "./cluster-state.js";
import { WORLD_RULES } from "./store-world.js";

const QUEUE = "jobs";
const STREAM = "room/events";
const KEYS = 5;
/** Short, so that deliveries come again while the world runs. */
const ACK_DEADLINE_MS = 400;
const DUE_MS = 100;
const TTL = { type: "milliseconds", value: 1500 } as const;
/** Digests of different nodes are of one time: long after everything that expires has. */
const DIGEST_AT_MS = Date.UTC(2030, 0, 1);
/** Of the stream that stay when it is trimmed. */
const SHOWN = 3;

/** What a server holds, without its threads and timers. */
class WorldHoldings implements HostHoldings {
  readonly #options: ClusterHostOptions;
  readonly #directory: string;
  opened: OpenedLog | undefined;
  store: OpenedStore | undefined;
  readonly house = { newest: () => this.#newest() };
  #watching: Subscription | undefined;
  #isLeading = false;
  #cancelDue: () => void = () => undefined;

  constructor(options: ClusterHostOptions) {
    this.#options = options;
    this.#directory = `${options.log.dataDirectory}/${SNAPSHOT_DIRECTORY}`;
  }

  async openLog({ following }: { readonly following: boolean }): Promise<OpenedLog> {
    const opened = await openLog({ ...this.#options.log, following });
    const { log } = opened;
    this.opened = opened;
    this.#watching = log.appended.subscribe((record) => this.#options.appended(log, record));
    return opened;
  }

  async openState(): Promise<OpenedStore> {
    const log = this.opened?.log;
    if (log === undefined) throw new Error("there is no log to fold");
    this.store = await this.#fold(log);
    return this.store;
  }

  async lead(): Promise<void> {
    this.#isLeading = true;
    this.#lookForDue();
  }

  async endLeading(): Promise<void> {
    this.#isLeading = false;
    this.#cancelDue();
    this.#options.followBegins();
  }

  rest(): void {
    this.#isLeading = false;
    this.#cancelDue();
  }

  async closeState(): Promise<void> {
    const { store } = this;
    this.store = undefined;
    await store?.close();
  }

  async closeLog(): Promise<void> {
    const { opened } = this;
    this.opened = undefined;
    this.#watching?.unsubscribe();
    await opened?.log.close();
  }

  /** The state, folded again from the files. */
  async folded(log: EventLog): Promise<Folded> {
    const store = await this.#fold(log);
    try {
      return stateOf(store);
    } finally {
      await store.close();
    }
  }

  /** A snapshot of what is durable; then the log goes up to what it, or a stream, still needs. */
  async retain(): Promise<void> {
    const log = this.opened?.log;
    const { files, now } = this.#options.log;
    const last = log?.durableOffset;
    if (log === undefined || last === undefined || last < 1) return;
    const place = { files, directory: this.#directory };
    await files.makeDirectory(this.#directory);
    const { fold } = await foldTo(log, place, { rules: WORLD_RULES, last });
    await writeSnapshot(files, this.#directory, fold, await log.markAt(last), { now });
    const shown = fold.stream.oldestShown(fold.clock);
    fold.close();
    await log.retain(asOffset(Math.min(last, shown ?? last)));
  }

  #fold(log: EventLog): Promise<OpenedStore> {
    const { files, fsyncMode } = this.#options.log;
    return openStore({
      log,
      rules: WORLD_RULES,
      snapshots: { files, directory: this.#directory },
      lostRecords: fsyncMode === "never" ? "warn" : "refuse",
      onDead: this.#options.broken,
    });
  }

  async #newest(): Promise<SnapshotFacts | undefined> {
    const log = this.opened?.log;
    const { files } = this.#options.log;
    if (log === undefined) return undefined;
    for (const { name, info } of (await listSnapshots(files, this.#directory)).reverse()) {
      if (info === undefined || info.offset > log.durableOffset || !(await log.agrees(info))) continue;
      if ((await verifySnapshot(files, `${this.#directory}/${name}`)).problem === undefined) return info;
    }
    return undefined;
  }

  /** What time does to the queues, while this node leads. */
  #lookForDue(): void {
    this.#cancelDue = this.#options.clock.after(DUE_MS, () => {
      const { store } = this;
      const now = Math.floor(this.#options.log.now());
      const due = store?.nextDue();
      if (store !== undefined && due !== undefined && due <= now && this.opened?.log.following === false)
        void Promise.resolve(store.execute(queue.due, { limit: 10 }, contextAt(now), asIs)).catch(
          this.#refused,
        );
      if (this.#isLeading) this.#lookForDue();
    });
  }

  /** The log has failed or follows: whoever owns it knows. */
  readonly #refused = (): void => undefined;
}

export class StoreHost implements WorldHost {
  readonly #options: ClusterHostOptions;
  readonly #holdings: WorldHoldings;
  readonly #host: HoldingsHost;
  #written = 0;
  /** What consumers were given and have not acknowledged. */
  readonly #held: { readonly messageId: string; readonly receipt: string }[] = [];

  constructor(options: ClusterHostOptions) {
    this.#options = options;
    this.#holdings = new WorldHoldings(options);
    const { files, dataDirectory, now, randomBytes, holder } = options.log;
    const nothing = (): void => undefined;
    this.#host = new HoldingsHost({
      files,
      dataDirectory,
      now,
      randomBytes,
      holder,
      nodeId: options.nodeId,
      holdings: this.#holdings,
      logger: { info: nothing, warn: nothing },
      onReplaced: nothing,
      onLost: options.lost,
    });
  }

  /** As a server does: what a follower's log and state cannot be opened for is kept, to be mended. */
  async open(following: boolean): Promise<void> {
    try {
      await this.#holdings.openLog({ following });
      await this.#holdings.openState();
    } catch (error) {
      const finding = following ? findingOf(error) : undefined;
      if (finding === undefined) throw error;
      await this.#host.shut(finding);
    }
  }

  get state(): Folded | undefined {
    const { store } = this.#holdings;
    return store === undefined ? undefined : stateOf(store);
  }

  async folded(): Promise<Folded> {
    const log = this.log();
    return log === undefined ? { offset: 0, digest: "nothing" } : await this.#holdings.folded(log);
  }

  retain(): Promise<void> {
    return this.#holdings.retain();
  }

  rest(): void {
    this.#holdings.rest();
  }

  submit(text: string): Offset | undefined {
    const { store, opened } = this.#holdings;
    if (store === undefined || opened === undefined) return undefined;
    const before = opened.log.endOffset;
    this.#written += 1;
    this.#perform(store, text);
    return opened.log.endOffset > before ? opened.log.endOffset : undefined;
  }

  /** Queue and stream are made when they are not there, which a first promotion may have taken back. */
  #perform(store: OpenedStore, text: string): void {
    const key = `key ${this.#written % KEYS}`;
    switch (this.#written % 8) {
      case 1: {
        const config = { ackDeadlineMs: ACK_DEADLINE_MS };
        if (this.#has(store, queue.stats, { queue: QUEUE })) {
          this.#ask(store, queue.publish, { queue: QUEUE, payload: Buffer.from(text) });
        } else this.#ask(store, queue.create, { queue: QUEUE, config });
        return;
      }
      case 3:
        if (store.streamTotals().streams > 0)
          this.#ask(store, stream.append, { name: STREAM, messages: [{ bytes: text }] });
        else
          this.#ask(store, stream.getOrCreate, {
            name: STREAM,
            contentType: TEXT_TYPE,
            retention: { count: SHOWN },
          });
        return;
      case 4:
        this.#consume(store);
        return;
      case 5: {
        const held = this.#held.shift();
        if (held !== undefined) this.#ask(store, queue.ack, { queue: QUEUE, ...held });
        else this.#ask(store, kv.delete, { key });
        return;
      }
      case 6:
        this.#ask(store, kv.set, { key, value: text, contentType: TEXT_TYPE, expiry: TTL });
        return;
      default:
        this.#ask(store, kv.set, { key, value: text, contentType: TEXT_TYPE });
    }
  }

  #has<Query, Answer>(store: OpenedStore, read: Reader<Query, Answer>, query: Query): boolean {
    const found = store.query(read, query, this.#context(), (outcome) => outcome.type === "done");
    return found === true || found instanceof Promise;
  }

  #consume(store: OpenedStore): void {
    const command = { queue: QUEUE, consumer: "c", count: 1 };
    this.#ask(store, queue.consume, command, ({ messages }) => {
      for (const { messageId, receipt } of messages) this.#held.push({ messageId, receipt });
    });
  }

  #ask<Command, Answer>(
    store: OpenedStore,
    decide: Decider<Command, Answer>,
    command: Command,
    heard: (answer: Answer) => void = () => undefined,
  ): void {
    const told = store.execute(decide, command, this.#context(), (outcome) => {
      if (outcome.type === "done") heard(outcome.answer);
    });
    // That it is not committed is told to whoever waits for that.
    if (told instanceof Promise) told.catch(() => undefined);
  }

  #context(): Context {
    return contextAt(Math.floor(this.#options.log.now()));
  }

  // ---- the host that a server has ----

  get damage(): Finding | undefined {
    return this.#host.damage;
  }

  shut(finding: Finding): Promise<void> {
    return this.#host.shut(finding);
  }

  reopen(): Promise<void> {
    return this.#host.reopen();
  }

  openDamaged(): Promise<DamagedDirectory> {
    return this.#host.openDamaged();
  }

  prepareCut(last: Offset): Promise<void> {
    return this.#host.prepareCut(last);
  }

  logSegments(): LogSegments | undefined {
    return this.#host.logSegments();
  }

  identity(): NodeIdentity {
    return this.#host.identity();
  }

  log(): EventLog | undefined {
    return this.#host.log();
  }

  lead(): Promise<void> {
    return this.#host.lead();
  }

  followBegins(): Promise<void> {
    return this.#host.followBegins();
  }

  async cut(after: Position): Promise<Kept | undefined> {
    const kept = await this.#host.cut(after);
    this.#options.counts.cuts += 1;
    this.#options.counts.diverged += kept?.records ?? 0;
    return kept;
  }

  beginInstall(install: Parameters<WorldHost["beginInstall"]>[0]): Promise<Installing> {
    return this.#host.beginInstall(install);
  }

  async installed(installing: Awaited<ReturnType<HoldingsHost["beginInstall"]>>): Promise<Kept | undefined> {
    const kept = await this.#host.installed(installing);
    this.#options.counts.installs += 1;
    this.#options.counts.diverged += kept?.records ?? 0;
    this.#options.installed();
    return kept;
  }

  newestSnapshot(): Promise<SnapshotSource | undefined> {
    return this.#host.newestSnapshot();
  }
}

const stateOf = (store: OpenedStore): Folded => ({
  offset: store.offset,
  digest: store.digest(DIGEST_AT_MS),
});

const contextAt = (now: number): Context => ({ now, random: 0.5, cause: { command: "test" } });
