/**
 * What was done in a simulated set and what its clients were told, in the order in which it happened: what the checkers judge by.
 */
import { epoch as asEpoch, type EventLog } from "../../log/index.js";
import type { ReplicationHost } from "../../replication/host.js";
import { isHigher, type Leadership } from "../../replication/leadership-order.js";

/** A leadership as one word, for maps. */
export const leadershipKey = ({ epoch, lineageId }: Leadership): string => `${epoch} ${lineageId}`;

/** A record's body as text, byte for byte. */
export const bodyText = (body: Uint8Array): string =>
  Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString("latin1");

export interface AppendedWrite extends Leadership {
  readonly offset: number;
  readonly node: string;
  readonly body: string;
  /** When it was appended, in the order of everything. */
  readonly since: number;
}

export interface AnsweredWrite extends AppendedWrite {
  /** Replicas that had confirmed it when it was answered. */
  readonly confirmed: number;
  /** When it was answered. */
  readonly at: number;
  /** Other nodes that held it on their disks when it was answered, and how many there were of which nobody could tell. */
  readonly holders: readonly string[];
  readonly unknown: number;
  /** It was to be on more than half of all nodes. */
  readonly quorum: boolean;
}

/** A leadership that began: its first record is in its node's log. Whether anybody was told of it is another matter. */
export interface Promotion extends Leadership {
  readonly node: string;
  readonly forced: boolean;
  /** In the order of everything. */
  readonly at: number;
  /** Offset of its first record. */
  readonly first: number;
  /** Who wrote the record before that; undefined of the first leadership of all. */
  readonly before: Leadership | undefined;
}

/** A read that was answered although it asked for a token. */
export interface TokenRead {
  readonly node: string;
  readonly token: AppendedWrite;
  /** The record that the log had at the token's offset. */
  readonly found: string | undefined;
}

/** What a node did under a leadership that it was told to refuse. */
export interface FencedAct {
  readonly node: string;
  readonly under: Leadership;
  readonly heard: Leadership;
}

/** A write that was taken while the settings ask for so many replicas. */
export interface GuardedWrite {
  readonly node: string;
  readonly wanted: number;
  /** Ms since each of the other machines was last heard of, the shortest first. */
  readonly silentMs: readonly number[];
  readonly timeoutMs: number;
}

/** A write that waited for confirmations when its node was fenced. */
export interface FencedWait {
  readonly node: string;
  /** How long it was not told. */
  readonly ms: number;
}

/** The power of a node went. */
export interface PowerCut {
  readonly node: string;
  readonly at: number;
  /** What its log had called durable. */
  readonly durable: number;
}

/** A node's log begins here now, behind a snapshot, and was written last under that leadership. */
interface RetainedLog {
  readonly node: string;
  readonly first: number;
  readonly under: Leadership;
}

/** A primary was asked to hand its lead over. */
export interface Switchover {
  readonly from: string;
  readonly under: Leadership;
  readonly to: string;
}

/** By a switchover another leadership began, whatever was said of it: that of the other, or one by which the lead was taken back from there. */
export interface HandedOver extends Switchover {
  /** Where the new leadership begins. */
  readonly offset: number;
}

/** Something of a node's log changed on its disk. */
export interface DiskDamage {
  readonly node: string;
  /** Of the segment that it is in, as it was then. */
  readonly first: number;
  readonly last: number;
  readonly isSealed: boolean;
  /** Whether what changed is in the node's log as it changed. */
  readonly isThere: () => boolean;
}

interface KnownDamage extends DiskDamage {
  /** Since when it is not there any more, as far as anybody looked. */
  goneAt?: number | undefined;
}

export class ClusterHistory {
  #order = 0;
  readonly appended = new Map<string, Map<number, AppendedWrite>>();
  readonly answered: AnsweredWrite[] = [];
  readonly promotions: Promotion[] = [];
  readonly reads: TokenRead[] = [];
  /** Of replicas, which said that the token is of a lost history. */
  readonly refusedReads: Omit<TokenRead, "found">[] = [];
  readonly fencedAnswers: FencedAct[] = [];
  readonly fencedWrites: FencedAct[] = [];
  readonly fencedWaits: FencedWait[] = [];
  readonly guarded: GuardedWrite[] = [];
  readonly powerCuts: PowerCut[] = [];
  readonly #retained: RetainedLog[] = [];
  readonly handedOver: HandedOver[] = [];
  readonly #damages: KnownDamage[] = [];
  /** Nodes that were struck off the list because they never come back. */
  readonly forgotten = new Map<string, { readonly at: number }>();

  /** The next moment. */
  next(): number {
    this.#order += 1;
    return this.#order;
  }

  /** The next moment, at which every damaged disk is looked at: one whose power went before a mended file had its name is damaged again. */
  #moment(): number {
    const at = this.next();
    for (const damage of this.#damages) damage.goneAt = damage.isThere() ? undefined : (damage.goneAt ?? at);
    return at;
  }

  append(write: Omit<AppendedWrite, "since">): void {
    const key = leadershipKey(write);
    const under = this.appended.get(key) ?? new Map<number, AppendedWrite>();
    this.appended.set(key, under);
    under.set(write.offset, { ...write, since: this.#moment() });
  }

  appendedAt(under: Leadership, offset: number): AppendedWrite | undefined {
    return this.appended.get(leadershipKey(under))?.get(offset);
  }

  answer(write: Omit<AnsweredWrite, "at">): void {
    this.answered.push({ ...write, at: this.#moment() });
  }

  /** A node begins leaderships of its own, or opens a log that holds some. */
  begin(node: string, host: Pick<ReplicationHost, "identity" | "log">, forced: boolean): void {
    const epochs = host.log()?.epochs ?? [];
    epochs.forEach(({ epoch, lineageId, first, nodeId }, i) => {
      const isOwn = nodeId === host.identity().nodeId;
      if (!isOwn || this.#promotion({ epoch, lineageId }) !== undefined) return;
      this.promotions.push({
        epoch,
        lineageId,
        node,
        forced,
        first,
        at: this.next(),
        before: epochs[i - 1],
      });
    });
  }

  /** What comes before is not in its log any more: a snapshot covers it. */
  retain(node: string, log: EventLog | undefined): void {
    if (log !== undefined) this.#retained.push({ node, first: log.firstOffset, under: leadershipOf(log) });
  }

  #promotion(leadership: Leadership): Promotion | undefined {
    const key = leadershipKey(leadership);
    return this.promotions.find((known) => leadershipKey(known) === key);
  }

  /** Whether a log that was written last under this leadership has the record, or had it before a snapshot covered it. */
  includes(under: Leadership, write: Leadership & { readonly offset: number }): boolean {
    if (leadershipKey(under) === leadershipKey(write)) return true;
    const began = this.#promotion(under);
    return began?.before !== undefined && write.offset < began.first && this.includes(began.before, write);
  }

  damage(damage: DiskDamage): void {
    this.#damages.push({ ...damage });
  }

  /** All that there ever was. */
  get damages(): readonly DiskDamage[] {
    return this.#damages;
  }

  /** Whether its disk ever lost something. */
  isDamaged(name: string): boolean {
    return this.#damages.some(({ node }) => node === name);
  }

  /**
   * Whether it may have gone with damage on the disk of the node that answered it: behind that no record proves itself. What was answered
   * when the damage was mended is excused by nothing.
   */
  wasDamaged({ node, offset, at }: Pick<AnsweredWrite, "node" | "offset" | "at">): boolean {
    return this.#damages.some(
      (damage) => damage.node === node && damage.first <= offset && wasThereAfter(damage, at),
    );
  }

  /** Whether a replica had damage in its newest segment since, before the record or in it: then it may have cut it, to fetch it again. */
  mayHaveCut(name: string, { offset, since }: { readonly offset: number; readonly since: number }): boolean {
    return this.#damages.some(
      (damage) =>
        !damage.isSealed && damage.node === name && damage.first <= offset && wasThereAfter(damage, since),
    );
  }

  /**
   * Whether all that held it may have cut it since. Of the last instants before an end of the process a replica cannot tell damage from an
   * unfinished write (`log/README.md`), so it does not know that it owes anything.
   */
  wasCutByDamage({ holders, offset, at }: Pick<AnsweredWrite, "holders" | "offset" | "at">): boolean {
    return holders.length > 0 && holders.every((holder) => this.mayHaveCut(holder, { offset, since: at }));
  }

  /** Whether force has passed over what was written under this leadership. */
  isForcedOver(under: Leadership): boolean {
    return this.promotions.some((won) => won.forced && isHigher(won, under));
  }

  /** Whether its node let it go, because a snapshot covers it: by its own retention, or with a full sync of a log that goes on from it. */
  wasLetGo(write: Leadership & Pick<AnsweredWrite, "node" | "offset">): boolean {
    return this.#retained.some(
      ({ node, first, under }) => node === write.node && first > write.offset && this.includes(under, write),
    );
  }

  /** Whether the power took it from a node that had answered before it was on the disk, as its settings allow. */
  wentWithPower({ node, offset, at }: Pick<AnsweredWrite, "node" | "offset" | "at">): boolean {
    return this.powerCuts.some((cut) => cut.node === node && cut.at > at && offset > cut.durable);
  }
}

/** Also what came later was there after it. */
const wasThereAfter = ({ goneAt }: KnownDamage, moment: number): boolean =>
  goneAt === undefined || goneAt > moment;

export function leadershipOf(log: Pick<EventLog, "epochs">): Leadership {
  const last = log.epochs.at(-1);
  return { epoch: last?.epoch ?? asEpoch(0), lineageId: last?.lineageId ?? "" };
}
