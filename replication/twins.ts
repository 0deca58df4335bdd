/**
 * Knows two nodes with one id: the data directory of one is a copy of the other's, and what one of them confirms the other one lacks.
 * A process that follows again after another one has taken its place was alive all the time, so there are two. A node that was started
 * again is a process that was not seen before, and the one of before does not come back; one that has lost its connection, or changed
 * its address, is the same process.
 *
 * Two that follow different nodes never meet. The node above both is told of both; of a node that was started again elsewhere, too, but
 * not for longer than the links take to end by which its earlier process was heard of.
 */
import { ReplicationError } from "./errors.js";
import type { LinkSettings } from "./link-ports.js";
import type { Clock } from "./ports.js";
import { areTwo } from "./relay.js";
import type { TwinStats } from "./stats.js";

/** Nodes that are remembered: as many as may be connected, for where there is no secret anybody may make ids up. */
const NODES_MAX = 256;
/** Processes of one node; the earliest is forgotten. */
const PROCESSES_MAX = 8;
/** Told of for so long after the last refusal: longer than the longest pause before another try. */
const TOLD_FOR_MS = 5 * 60_000;
/** Between two looks at all nodes that follow, directly or through others. */
const LOOKS_EVERY_MS = 1_000;
/** A link for so many ends, one after the other, until nobody tells of a process that is gone: as many as a chain of replicas has. */
const LINKS_MAX = 3;

/** Who follows, or wants to. */
export interface Follower {
  readonly nodeId: string;
  readonly name: string;
  /** Undefined: its release does not say, and it is told from nobody. */
  readonly incarnation: string | undefined;
  readonly remote: string;
}

export class Twins {
  readonly #clock: Clock;
  /** By node id, the incarnations that followed here, the earliest first. */
  readonly #seen = new Map<string, readonly string[]>();
  /** By node id; `at` by the stopwatch. */
  readonly #refused = new Map<string, { readonly twin: TwinStats; readonly at: number }>();
  /** By node id, since when two processes of it are told of at once; by the stopwatch. */
  #together = new Map<string, number>();
  #lookedAt = Number.NEGATIVE_INFINITY;
  /** A process that is gone is heard of by one link no longer. */
  readonly #linkEndsMs: number;

  constructor(clock: Clock, settings: Pick<LinkSettings, "timeoutMs" | "heartbeatIntervalMs">) {
    this.#clock = clock;
    this.#linkEndsMs = Math.max(settings.timeoutMs, 3 * settings.heartbeatIntervalMs);
  }

  /**
   * A node wants to follow whose id somebody has, perhaps, who is connected. Of two the one that was here first stays, for the later one
   * is the copy, most likely. Returns why the other one has to go when that is a copy.
   * @throws ReplicationError REPLICATION_TWIN when it is this one.
   */
  meet(follower: Follower, connected: Follower | undefined): ReplicationError | undefined {
    const { nodeId, incarnation } = follower;
    if (incarnation === undefined) return undefined;
    const seen = this.#seen.get(nodeId) ?? [];
    const own = seen.indexOf(incarnation);
    if (own < 0) this.#remember(nodeId, [...seen, incarnation]);
    const other = seen.indexOf(connected?.incarnation ?? "");
    if (connected === undefined || own < 0 || other < 0 || own === other) return undefined;
    if (own > other) throw this.#tell(follower, connected, "stays");
    return this.#tell(connected, follower, "stays");
  }

  /**
   * To be called again and again with all that follow, directly or through others: of two with one id the one that is believed first.
   * Returns what is new.
   */
  look(followers: () => Iterable<Follower>): ReplicationError[] {
    const now = this.#clock.stopwatch();
    const sinceMs = now - this.#lookedAt;
    if (sinceMs < LOOKS_EVERY_MS) return [];
    const before = sinceMs > this.#linkEndsMs ? undefined : this.#together;
    this.#lookedAt = now;
    this.#together = new Map();
    const firsts = new Map<string, Follower>();
    const found: ReplicationError[] = [];
    for (const follower of followers()) {
      const { nodeId, incarnation } = follower;
      const first = firsts.get(nodeId) ?? follower;
      firsts.set(nodeId, first);
      if (!areTwo(first.incarnation, incarnation) || this.#together.size >= NODES_MAX) continue;
      const since = before?.get(nodeId) ?? now;
      this.#together.set(nodeId, since);
      if (now - since < LINKS_MAX * this.#linkEndsMs) continue;
      const isKnown = this.#refused.has(nodeId);
      const error = this.#tell(follower, first, "is believed");
      if (!isKnown) found.push(error);
    }
    return found;
  }

  /** Those that were refused lately. */
  stats(): TwinStats[] {
    const since = this.#clock.stopwatch() - TOLD_FOR_MS;
    for (const [nodeId, { at }] of this.#refused) if (at < since) this.#refused.delete(nodeId);
    return [...this.#refused.values()].map(({ twin }) => twin);
  }

  #remember(nodeId: string, incarnations: readonly string[]): void {
    this.#seen.delete(nodeId);
    this.#seen.set(nodeId, incarnations.slice(-PROCESSES_MAX));
    const [oldest] = this.#seen.keys();
    if (this.#seen.size > NODES_MAX && oldest !== undefined) {
      this.#seen.delete(oldest);
      this.#refused.delete(oldest);
    }
  }

  #tell(copy: Follower, first: Follower, why: "stays" | "is believed"): ReplicationError {
    const { nodeId, name } = copy;
    const [refused, stays] = [copy.remote, first.remote];
    const twin = { nodeId, name, stays, refused, refusedAt: this.#clock.now() };
    this.#refused.set(nodeId, { twin, at: this.#clock.stopwatch() });
    return new ReplicationError(
      "REPLICATION_TWIN",
      `${name} at ${refused} and ${first.name} at ${stays} have one node id, ${nodeId}: the data directory of one is a copy of the other's. The one at ${stays} ${why}; stop the copy, and start it in an empty directory`,
      { nodeId, stays, refused },
    );
  }
}
