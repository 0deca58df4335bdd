/**
 * The highest leadership that a node ever heard of, and what follows from it. It rises in memory in the turn in which it is heard, so that
 * nothing older is confirmed from then on; whoever waits for the promise knows that no restart forgets it.
 */
import type { FileSystem } from "../log/index.js";
import { ReplicationError } from "./errors.js";
import { type LeadershipContent, LeadershipFile, type RoleAndAddress } from "./leadership-file.js";
import { isHigher, isSameLeadership, type Leadership } from "./leadership-order.js";
import type { PeerNote } from "./messages.js";
import type { ReplicationNodeOptions } from "./node-options.js";
import type { ReplicationSettings } from "./settings.js";

/** More promotions than a set sees, and few enough of the 2^32 epochs. */
export const EPOCH_JUMP_MAX = 1_000_000;

export class HeardLeadership {
  readonly #file: LeadershipFile;
  readonly #now: () => number;

  constructor(file: LeadershipFile, now: () => number) {
    this.#file = file;
    this.#now = now;
  }

  get highest(): Leadership | undefined {
    return this.#file.content.heard;
  }

  /** Who told of it, for people, and when. */
  get from(): string {
    return this.#file.content.from;
  }

  get since(): number {
    return this.#file.content.since;
  }

  /** Since when this node lacks records that it may have confirmed, ms since 1970; undefined when it has them. */
  get owesSince(): number | undefined {
    return this.#file.content.owes;
  }

  /** Who leads under it, when that is known. */
  get primary(): PeerNote | undefined {
    return this.#file.content.primary;
  }

  /**
   * @throws ReplicationError REPLICATION_EPOCH_ABSURD when another node states what no promotions can have led to: one frame must not use
   * up the epochs that there are. A node that knows nothing yet cannot judge.
   */
  mustBePlausible({ epoch }: Leadership, highest: Leadership | undefined, from: string): void {
    if (highest === undefined || epoch - highest.epoch <= EPOCH_JUMP_MAX) return;
    throw new ReplicationError(
      "REPLICATION_EPOCH_ABSURD",
      `${from} states epoch ${epoch}, and the highest known here is ${highest.epoch}: one of the two is wrong. If it is this node, empty its data directory and let it join anew`,
      { found: epoch, known: highest.epoch, limit: EPOCH_JUMP_MAX },
    );
  }

  /** Undefined: known, and durable. Otherwise resolves when it is durable. */
  raise({ epoch, lineageId }: Leadership, from: string): Promise<void> | undefined {
    const heard = { epoch, lineageId };
    if (isHigher(heard, this.highest)) {
      const since = Math.floor(this.#now());
      return this.#file.change({ heard, from, since, primary: undefined });
    }
    // Still on its way to the disk, or the last try failed.
    return isHigher(heard, this.#file.durable.heard) ? this.#file.write() : undefined;
  }

  /** Who leads under a leadership; believed when it is the highest. Written soon: to forget it costs no promise. */
  led(leadership: Leadership | undefined, primary: PeerNote): Promise<void> | undefined {
    if (leadership === undefined || !isSameLeadership(leadership, this.highest)) return undefined;
    return isSamePlace(primary, this.primary) ? undefined : this.#file.change({ primary });
  }
}

/** Whether a node that is to lead may not: something higher than what its log was written under was heard of. */
export function isFenced(own: Leadership | undefined, heard: Leadership | undefined): boolean {
  return isHigher(heard, own);
}

/** Whether what the directory has of a log, if anything, is another node's: it leads once it has won. */
export const followedLast = ({ lived, heard }: LeadershipContent): boolean =>
  lived === "replica" && heard !== undefined;

/**
 * Notes of a node that no process runs that its log is about to lose records which it may have confirmed, if it followed when it ran last:
 * until it has all of its primary's again it is promoted only with force. @throws ReplicationError.
 */
export async function noteOwing(files: FileSystem, dataDirectory: string, now: number): Promise<void> {
  const file = new LeadershipFile(files, dataDirectory);
  await file.load();
  if (followedLast(file.content)) await file.change({ owes: Math.floor(now) });
}

/** What a node is when it starts: what it was told while it ran, as long as the settings are those that were overruled. */
export function roleAtStart(settings: ReplicationSettings, file: LeadershipContent): RoleAndAddress {
  const configured = configuredRole(settings);
  const { told } = file;
  return told !== undefined && isSameRole(told.settings, configured)
    ? { role: told.role, address: told.address }
    : configured;
}

export const configuredRole = ({ role, masterAddress }: ReplicationSettings): RoleAndAddress => ({
  role,
  address: role === "replica" ? masterAddress : undefined,
});

/** As the settings are now, which may have been changed while the node runs. */
export const configuredNow = ({ settings, configured }: ReplicationNodeOptions): RoleAndAddress =>
  configured?.() ?? configuredRole(settings);

export const isSameRole = (a: RoleAndAddress, b: RoleAndAddress): boolean =>
  a.role === b.role && a.address?.host === b.address?.host && a.address?.port === b.address?.port;

type Place = Pick<PeerNote, "nodeId" | "name" | "listen" | "http">;

export function isSamePlace(a: Place, b: Place | undefined): boolean {
  return (
    a.nodeId === b?.nodeId &&
    a.name === b.name &&
    a.http === b.http &&
    a.listen?.host === b.listen?.host &&
    a.listen?.port === b.listen?.port
  );
}

export const isSameNote = (a: PeerNote, b: PeerNote | undefined): boolean =>
  isSamePlace(a, b) && a.since === b?.since && a.confirmed === b.confirmed;
