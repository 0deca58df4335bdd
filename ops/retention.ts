/**
 * Lets the oldest part of the log go, and the snapshots that nobody needs any more. How much is to stay the settings say; who else
 * needs what, its holders: the snapshots that a start begins with, the window that stays restorable, the streams, and
 * whoever registers. `log/retention.ts` removes the files.
 *
 * Nothing goes that one of them holds. The log goes only up to what two snapshots can replace that were read back whole: one
 * may turn out damaged when it is needed.
 */
import { firstNeeded, type LogReader, type Offset, type OffsetHolder } from "../log/index.js";
import type { SnapshotFacts } from "../projections/index.js";
import { superfluous } from "./state/keeping.js";
import type { SnapshotShelf, Trusted } from "./state/shelf.js";

/** Snapshots that a start can begin with, at least, before the log behind them goes. */
const SNAPSHOTS_NEEDED = 2;

export interface RetentionRules {
  /** Log that stays at least; 0: not by size. */
  readonly bytes: number;
  /** The window within which every moment stays restorable; 0: none. With neither, everything stays. */
  readonly windowMs: number;
  readonly snapshotsMax: number;
}

export interface RetentionParts {
  readonly log: LogReader & {
    readonly durableOffset: Offset;
    retain(needed: Offset): Promise<Offset>;
  };
  /** First offset of the newest segments with at most so many bytes. */
  readonly firstWithin: (bytesMax: number) => Offset;
  readonly shelf: SnapshotShelf;
  /** The oldest record that a live stream shows. */
  readonly oldestShown: (now: number) => Offset | undefined;
  readonly now: () => number;
  /** Asked once a round: they may change while the process runs. */
  readonly rules: () => RetentionRules;
}

export interface RetentionReport {
  readonly snapshotsRemoved: readonly string[];
  readonly firstBefore: Offset;
  readonly first: Offset;
  /** Who needs what, when something was old enough to go. */
  readonly holders: readonly OffsetHolder[];
  readonly heldBy: string | undefined;
}

interface Window {
  readonly beginsAt: number;
  readonly lengthMs: number;
  readonly offset: Offset;
}

interface Anchors {
  /** The newest that hold, newest first; as many as are needed, if there are. */
  readonly starts: readonly Trusted[];
  /** The last that holds before the window. */
  readonly window: Trusted | undefined;
}

export class Retention {
  readonly #parts: RetentionParts;
  readonly #sources = new Set<() => readonly OffsetHolder[]>();
  #turn: Promise<unknown> = Promise.resolve();
  /** Of the round that is going on: what is decided in one is decided by the same rules. */
  #rules: RetentionRules;

  constructor(parts: RetentionParts) {
    this.#parts = parts;
    this.#rules = parts.rules();
  }

  /** Asks `holders` before each removal from now on. The function that comes back ends that. */
  register(holders: () => readonly OffsetHolder[]): () => void {
    this.#sources.add(holders);
    return () => this.#sources.delete(holders);
  }

  /** One round. Rounds follow each other. @throws as the log and the file system do; the next round goes on from there. */
  run(): Promise<RetentionReport> {
    const round = this.#turn.then(() => this.#round());
    this.#turn = round.catch(() => undefined);
    return round;
  }

  async #round(): Promise<RetentionReport> {
    const { log, shelf } = this.#parts;
    const rules = this.#parts.rules();
    this.#rules = rules;
    const firstBefore = log.firstOffset;
    const window = await this.#window();
    // Most rounds end here: nothing is old enough, and no snapshot need be read back for that.
    const removes = (rules.bytes > 0 || rules.windowMs > 0) && this.#limit(window) > firstBefore;
    // A snapshot beyond what is durable may have its log taken from under it.
    const usable = (await shelf.usable()).filter(({ offset }) => offset <= log.durableOffset);
    const anchors =
      removes || firstBefore > 1 ? await this.#anchors(usable, window) : { starts: [], window: undefined };
    const snapshotsRemoved = await this.#prune(usable, anchors, window);
    if (!removes) {
      return { snapshotsRemoved, firstBefore, first: firstBefore, holders: [], heldBy: undefined };
    }
    const holders = this.#holders(anchors, window);
    const { offset, holder } = firstNeeded(holders, this.#limit(window));
    const first = offset > firstBefore ? await this.#retain(offset) : firstBefore;
    return { snapshotsRemoved, firstBefore, first, holders, heldBy: holder?.name };
  }

  async #window(): Promise<Window | undefined> {
    const { log, now } = this.#parts;
    const rules = this.#rules;
    if (rules.windowMs === 0) return undefined;
    const beginsAt = Math.max(0, Math.floor(now() - rules.windowMs));
    return { beginsAt, lengthMs: rules.windowMs, offset: await log.offsetAt(beginsAt) };
  }

  async #anchors(usable: readonly SnapshotFacts[], window: Window | undefined): Promise<Anchors> {
    const { shelf } = this.#parts;
    const starts: Trusted[] = [];
    let before: Trusted | undefined;
    for (const facts of usable) {
      const isBefore = window !== undefined && facts.offset < window.offset;
      const isWanted = starts.length < SNAPSHOTS_NEEDED || (isBefore && before === undefined);
      const trusted = isWanted ? await shelf.trust(facts) : undefined;
      if (trusted === undefined) continue;
      if (starts.length < SNAPSHOTS_NEEDED) starts.push(trusted);
      if (isBefore) before ??= trusted;
    }
    return { starts, window: before };
  }

  async #prune(
    usable: readonly SnapshotFacts[],
    anchors: Anchors,
    window: Window | undefined,
  ): Promise<string[]> {
    const { shelf, log } = this.#parts;
    // Each of the few that are left may be the one that the next start needs.
    if (log.firstOffset > 1 && anchors.starts.length < SNAPSHOTS_NEEDED) return [];
    const names = new Set(usable.map(({ name }) => name));
    const all = await shelf.list();
    const going = superfluous(
      all.map(({ name, offset, info }) => ({
        name,
        offset,
        timestamp: info?.timestamp ?? 0,
        usable: names.has(name),
      })),
      {
        max: this.#rules.snapshotsMax,
        anchors: new Set(
          [...anchors.starts, ...(anchors.window === undefined ? [] : [anchors.window])].map(
            ({ facts }) => facts.name,
          ),
        ),
        window,
      },
    );
    await shelf.remove(going);
    return going;
  }

  #holders({ starts, window: before }: Anchors, window: Window | undefined): OffsetHolder[] {
    const { log, oldestShown, now } = this.#parts;
    const holders: OffsetHolder[] = [];
    const first = log.firstOffset;
    const lastStart = starts[SNAPSHOTS_NEEDED - 1];
    holders.push({ name: "snapshots", offset: lastStart === undefined ? first : lowest(starts) });
    if (window !== undefined) holders.push({ name: "window", offset: before?.needs ?? first });
    const shown = oldestShown(now());
    if (shown !== undefined) holders.push({ name: "streams", offset: shown });
    for (const source of this.#sources) holders.push(...source());
    return holders;
  }

  /** Up to where the settings let it go. */
  #limit(window: Window | undefined): Offset {
    const { firstWithin, log } = this.#parts;
    const rules = this.#rules;
    let limit = log.durableOffset;
    if (rules.bytes > 0) limit = min(limit, firstWithin(rules.bytes));
    if (window !== undefined) limit = min(limit, window.offset);
    return limit;
  }

  async #retain(needed: Offset): Promise<Offset> {
    const { log, shelf } = this.#parts;
    await shelf.settle();
    return log.retain(needed);
  }
}

const min = (a: Offset, b: Offset): Offset => (a < b ? a : b);

function lowest(starts: readonly Trusted[]): Offset {
  return starts.map(({ needs }) => needs).reduce(min);
}
