/**
 * What was done in a simulated set and what its clients were told, in the order in which it happened: what the checkers judge by.
 */
import { epoch as asEpoch, type EventLog } from "../../log/index.js";
import type { Leadership } from "../../replication/leadership-order.js";

/** A leadership as one word, for maps. */
export const leadershipKey = ({ epoch, lineageId }: Leadership): string => `${epoch} ${lineageId}`;

export interface AppendedWrite extends Leadership {
  readonly offset: number;
  readonly node: string;
  readonly body: string;
}

export interface AnsweredWrite extends AppendedWrite {
  /** Replicas that had confirmed it when it was answered. */
  readonly confirmed: number;
  /** When, in the order of everything. */
  readonly at: number;
}

export interface Promotion extends Leadership {
  readonly node: string;
  readonly forced: boolean;
  /** When it was answered, in the order of everything. */
  readonly at: number;
  /** Nodes that were fenced before it began, by name; the one that won, too. */
  readonly reached: readonly string[];
}

/** A read that was answered although it asked for a token. */
export interface TokenRead {
  readonly node: string;
  readonly token: AppendedWrite;
  /** The record that the log had at the token's offset. */
  readonly found: string | undefined;
}

/** A leadership that a node was told to refuse, and acknowledged under. */
export interface FencedAnswer {
  readonly node: string;
  readonly under: Leadership;
  readonly heard: Leadership;
}

export class ClusterHistory {
  #order = 0;
  readonly appended = new Map<string, Map<number, AppendedWrite>>();
  readonly answered: AnsweredWrite[] = [];
  readonly promotions: Promotion[] = [];
  readonly reads: TokenRead[] = [];
  readonly fencedAnswers: FencedAnswer[] = [];

  /** The next moment. */
  next(): number {
    this.#order += 1;
    return this.#order;
  }

  append(write: AppendedWrite): void {
    const key = leadershipKey(write);
    const under = this.appended.get(key) ?? new Map<number, AppendedWrite>();
    this.appended.set(key, under);
    under.set(write.offset, write);
  }

  answer(write: AppendedWrite, confirmed: number): void {
    this.answered.push({ ...write, confirmed, at: this.next() });
  }
}

export function leadershipOf(log: EventLog): Leadership {
  const last = log.epochs.at(-1);
  return { epoch: last?.epoch ?? asEpoch(0), lineageId: last?.lineageId ?? "" };
}
