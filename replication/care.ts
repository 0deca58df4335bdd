/**
 * Takes care of this node's log as it lies on the disk. A node that follows reads one segment whole at intervals, round after round of all,
 * and compares where it ends with the node that it follows, which reads its own. What is damaged here is fetched again; what is damaged
 * there, or sound on both sides and not the same, is only told. So is damage on a node that leads: it repairs nothing by itself, because it
 * cannot know what it has lost.
 */
import {
  describeFinding,
  type EventLog,
  type Finding,
  LogError,
  type LogSegments,
  type Offset,
} from "../log/index.js";
import type { ReplicationHost } from "./host.js";
import { KnownDamage } from "./known-damage.js";
import type { LeadershipFile } from "./leadership-file.js";
import { isSameLeadership, type Leadership } from "./leadership-order.js";
import { damagedLog, linkErrorOf } from "./link-error.js";
import type { LinkContext } from "./link-ports.js";
import { Mender } from "./mender.js";
import type { Heartbeat } from "./messages.js";
import { Opening } from "./opening.js";
import { paced } from "./pace.js";
import type { Address, Network } from "./ports.js";
import { describePosition, isSamePosition, type Position } from "./position.js";
import * as refusals from "./refusals.js";
import type { ReplicationSettings } from "./settings.js";
import type { DamageCounters, DamageStats } from "./stats.js";

/** Of a promotion, for reading the own log. */
const VERIFY_MS = 700;

export interface CareOptions {
  readonly host: ReplicationHost;
  readonly network: Network;
  readonly link: LinkContext;
  readonly file: LeadershipFile;
  readonly settings: Pick<ReplicationSettings, "checkIntervalMs">;
  /** Whom damaged records may be had from; the node that is followed first. */
  readonly lenders: () => readonly Address[];
  /** The connection over which the node that is followed streams; undefined while none does. */
  readonly stream: () => object | undefined;
  readonly events: CareEvents;
}

export interface CareEvents {
  /** The log is about to be closed: it is followed no longer, and nobody is sent from it. */
  closing(): Promise<void>;
  /** The log is open, or everything is to be fetched anew: from now on the node follows again. */
  opened(how: "open" | "resync"): void;
  /** What was damaged reads well again. */
  mended(): void;
}

export class Care {
  readonly #options: CareOptions;
  readonly #known: KnownDamage;
  readonly #mender: Mender;
  /** What is looked at next. */
  #round: Iterator<Offset, never> | undefined;
  readonly #noticed = new Set<Offset>();
  #turns = 0;
  #watched: LogSegments | undefined;
  #unwatch: () => void = () => undefined;
  #cancel: () => void = () => undefined;
  /** One thing at a time reads and mends. */
  #running: Promise<void> = Promise.resolve();
  #opening: Opening | undefined;
  /**
   * Of the node that is followed, when this one began to owe: with so much it has everything again. A later leadership begins with all that
   * was ever confirmed, but for what force passed over, so what another one had does not count any more.
   */
  #owed: { readonly until: Offset; readonly under: Leadership | undefined } | undefined;
  /** What is here is not mended any more: everything comes anew. */
  #wantsAll = false;
  #stopped = false;

  constructor(options: CareOptions) {
    this.#options = options;
    const { link, network, lenders } = options;
    this.#known = new KnownDamage(() => link.clock.now());
    this.#mender = new Mender({ network, link, lenders });
  }

  start(): void {
    this.watch();
    this.#schedule();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#cancel();
    this.#unwatch();
    this.#opening?.end("stopped");
    await this.#mender.stop();
    await this.#running;
  }

  get #owesSince(): number | undefined {
    return this.#options.file.content.owes;
  }

  /** Before this node leads. @throws ReplicationError REPLICATION_LOG_DAMAGED, REPLICATION_NOT_READY. */
  mustBeWhole(force: boolean): void {
    const damage = this.#options.host.damage ?? this.#stillThere().first;
    if (damage !== undefined) throw damagedLog(damage);
    const log = this.#options.host.log();
    if (log !== undefined && (log.epochs.at(-1)?.first ?? 1) > log.endOffset) throw refusals.nothingIsLeft();
    if (this.#owesSince !== undefined && !force) throw refusals.owes();
  }

  get counters(): DamageCounters {
    return this.#known.counters;
  }

  stats(): DamageStats {
    return this.#stillThere().stats(this.#owesSince, this.#opening?.waitsFor);
  }

  /** What retention has taken meanwhile is damaged no more. A node that leads does not look for it again by itself. */
  #stillThere(): KnownDamage {
    const segments = this.#options.host.logSegments();
    for (const first of this.#known.all)
      if (segments !== undefined && first !== segments.tail && segments.at(first) === undefined)
        this.#known.gone(first);
    return this.#known;
  }

  /** Whether the log is damaged, and closed for it: then it is being mended and opened, and `opened` follows. */
  opens(): boolean {
    // Whatever was heard of the node before is not this one's.
    this.#known.turned();
    this.#round = undefined;
    if (this.#options.host.damage === undefined || this.#wantsAll) return this.#opening !== undefined;
    this.#open();
    return true;
  }

  #open(): void {
    if (this.#opening !== undefined || this.#stopped) return;
    const { host, link, file, events } = this.#options;
    const { clock, random, logger, settings } = link;
    const opening = new Opening({
      host,
      mender: this.#mender,
      known: this.#known,
      clock,
      random,
      logger,
      retryMs: settings.reconnectDelayMs,
      owe: () => file.change({ owes: Math.floor(clock.now()) }),
    });
    this.#opening = opening;
    this.#soon(async () => {
      const how = await opening.run();
      this.#opening = undefined;
      if (how === "stopped") return;
      this.#wantsAll = how === "resync";
      this.watch();
      events.opened(how);
    });
  }

  /** Everything is to be fetched anew instead; false: that is under way. Undefined: the log is open. */
  resync(): boolean | undefined {
    return this.#opening?.end("resync");
  }

  /** Of a node that leads, or follows: what reads find damaged from now on is looked at. After every change of the log. */
  watch(): void {
    const segments = this.#options.host.logSegments();
    if (segments === this.#watched || this.#stopped) return;
    if (segments !== undefined) this.#wantsAll = false;
    this.#unwatch();
    this.#watched = segments;
    this.#forget();
    const subscription = segments?.noticed.subscribe((base) => this.notice(base));
    this.#unwatch = () => subscription?.unsubscribe();
  }

  /** A read found damage in the segment that begins there. */
  notice(base: Offset): void {
    if (this.#noticed.has(base) || this.#stopped) return;
    this.#noticed.add(base);
    this.#soon(() => this.#look(base).finally(() => this.#noticed.delete(base)));
  }

  /** At every heartbeat. `said`: by the node that is followed, when its records come. */
  heard(said: Pick<Heartbeat, "end" | "own" | "firstOffset"> | undefined): void {
    this.watch();
    if (said !== undefined) this.#known.upstreamBegins(said.firstOffset);
    if (this.#owesSince === undefined || said === undefined) return;
    const { end, own } = said;
    if (this.#owed === undefined || !isSameLeadership(this.#owed.under, own))
      this.#owed = { until: end, under: own };
    const { host, file, link } = this.#options;
    if ((host.log()?.durableOffset ?? 0) < this.#owed.until) return;
    this.#owed = undefined;
    file
      .change({ owes: undefined })
      .catch((error: unknown) =>
        link.logger.warn({ err: error }, "that this node has everything again could not be written"),
      );
    link.logger.info({}, "this node has everything again that it had confirmed");
  }

  /**
   * Before this node leads: the headers of all segments, then their records, newest first, for as long as a promotion may take. Returns the
   * offset from which on everything was read. @throws ReplicationError REPLICATION_LOG_DAMAGED.
   */
  async verifyNewest(): Promise<Offset | undefined> {
    const { host, link } = this.#options;
    const segments = host.logSegments();
    if (segments === undefined) return undefined;
    const until = link.clock.stopwatch() + VERIFY_MS;
    const found = await segments.checkNewest(() => link.clock.stopwatch() >= until);
    if (found.type === "sound") return found.from;
    this.#found(found.first, found.finding);
    throw damagedLog(found.finding);
  }

  #forget(): void {
    this.#known.clear();
    this.#round = undefined;
  }

  #schedule(): void {
    const { settings, link } = this.#options;
    const { checkIntervalMs } = settings;
    if (checkIntervalMs === 0 || this.#stopped) return;
    this.#cancel = link.clock.after(checkIntervalMs, () => {
      this.#soon(() => this.#patrol().finally(() => this.#schedule()));
    });
  }

  #soon(work: () => Promise<void>): void {
    this.#running = this.#running.then(async () => {
      if (this.#stopped) return;
      try {
        await work();
      } catch (error) {
        if (this.#stopped) return;
        // Retention was quicker, or the log is being closed or cut.
        if (error instanceof LogError && (error.code === "LOG_OFFSET_RETIRED" || error.code === "LOG_CLOSED"))
          return;
        this.#options.link.logger.error({ err: error }, "the log could not be looked after");
      }
    });
  }

  get #follows(): boolean {
    return this.#options.host.log()?.following === true;
  }

  /** One segment. */
  async #patrol(): Promise<void> {
    this.watch();
    const segments = this.#options.host.logSegments();
    if (segments === undefined || !this.#follows) return;
    this.#round ??= rounds(segments);
    await this.#look(this.#due() ?? this.#round.next().value);
  }

  /** What is known to be damaged comes every other time, one after the other: what nobody can lend must not keep the rest from being seen. */
  #due(): Offset | undefined {
    const { all } = this.#known;
    const turn = this.#turns++;
    return turn % 2 === 0 && all.length > 0 ? all[(turn / 2) % all.length] : undefined;
  }

  async #look(first: Offset): Promise<void> {
    const { host } = this.#options;
    const [log, segments] = [host.log(), host.logSegments()];
    if (log === undefined || segments === undefined) return;
    const stream = this.#options.stream();
    if (first === segments.tail) return await this.#lookAtTail(log, segments, stream);
    if (segments.at(first) === undefined) return this.#known.gone(first);
    const found = await segments.check(first, this.#paced());
    this.#known.checked();
    if (found.type === "damaged") {
      this.#found(first, found.finding);
      if (this.#follows) await this.#mend(segments, first, found.finding);
      return;
    }
    this.#known.gone(first);
    if (this.#follows && !this.#stopped) await this.#compare(first, found.end, stream);
  }

  /** Reads slowly, and no further once this is stopped. */
  #paced(): (bytes: number) => Promise<void> {
    const pace = paced(this.#options.link.clock);
    return async (bytes) => {
      if (this.#stopped) throw refusals.stopping();
      await pace(bytes);
    };
  }

  /** The newest segment cannot be fetched as a whole, for it still grows: what holds of it stays, and the rest comes again. */
  async #lookAtTail(log: EventLog, segments: LogSegments, stream: object | undefined): Promise<void> {
    const first = segments.tail;
    const last = log.durableOffset;
    if (first > last) return;
    const finding = await segments.checkTail(last, this.#paced());
    const { host, events } = this.#options;
    if (host.logSegments() !== segments || segments.tail !== first) return;
    if (finding === undefined) {
      this.#known.checked();
      this.#known.gone(first);
      const end = await log.positionAt(last);
      if (this.#follows && !this.#stopped) await this.#compare(first, end, stream);
      return;
    }
    this.#found(first, finding);
    if (!this.#follows) return;
    await events.closing();
    await host.shut(finding);
    this.#open();
  }

  #found(first: Offset, finding: Finding): void {
    if (!this.#known.found(first, finding)) return;
    const then = this.#follows
      ? "it is fetched again"
      : "this node leads and repairs nothing by itself: promote a replica, or see `annals repair`";
    this.#options.link.logger.error(
      { file: finding.file, position: finding.position, offset: finding.offset },
      `damage on this node's disk: ${describeFinding({ ...finding, advice: then })}`,
    );
  }

  async #mend(segments: LogSegments, first: Offset, finding: Finding): Promise<void> {
    const { link, events } = this.#options;
    try {
      const mended = await this.#mender.mend(() => segments.mend(first, finding));
      this.#known.mended(mended);
      this.#known.gone(first);
      const { last, bytes, from } = mended;
      const kept = mended.quarantined.map(({ file }) => file);
      link.logger.warn(
        { first, last, bytes, from, kept },
        `the damaged segment was replaced with the records of ${from}`,
      );
      events.mended();
    } catch (error) {
      const { code, message } = linkErrorOf(error);
      link.logger.error({ code, first }, `the damaged segment could not be replaced yet: ${message}`);
    }
  }

  /** `stream`: of the time when the own segment was read. */
  async #compare(first: Offset, own: Position, stream: object | undefined): Promise<void> {
    const { logger } = this.#options.link;
    const last = own.offset;
    try {
      const other = await this.#mender.endThere(first, last);
      const isSame = isSamePosition(own, other);
      // An end that only this node has is cut by the next connection: that is no damage, and nobody has to be told.
      if (!isSame && (stream === undefined || this.#options.stream() !== stream)) return;
      this.#known.compared(own, other, isSame);
      if (isSame) return;
      logger.error(
        { offset: last, own: own.crc, other: other.crc },
        `two sound logs are not the same: ${describePosition(own)} here, ${describePosition(other)} on the node that is followed; \`annals diff\` names the first record that differs`,
      );
    } catch (error) {
      const { code, message } = linkErrorOf(error);
      if (code !== "REPLICATION_LOG_DAMAGED") {
        logger.info(
          { code, first },
          `a segment could not be compared with the node that is followed: ${message}`,
        );
        return;
      }
      if (this.#known.upstreamDamaged(first, last, message))
        logger.error(
          { code, first, last },
          `the node that is followed has damage on its disk, which is sound here: ${message}`,
        );
    }
  }
}

/**
 * Round after round, the newest sealed segment first. What is sealed meanwhile waits for the next round: segments may be sealed faster than
 * they are looked at, and the oldest would never have their turn.
 */
function* rounds(segments: LogSegments): Generator<Offset, never> {
  for (;;) {
    const sealed = segments.list().filter(({ last }) => last <= segments.durableOffset);
    // What retention took while the round went on is passed over.
    for (const { first } of sealed.reverse()) if (segments.at(first) !== undefined) yield first;
    // The newest may take long to be sealed, so each round ends with it, as far as it goes.
    yield segments.tail;
  }
}
