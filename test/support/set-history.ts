/** What clients of a set of real servers were told, and when each leadership began and was heard of: what the checkers judge by. */

import { epoch as asEpoch } from "../../log/index.js";
import type { Answer as Acknowledgement, AnsweredWhileFenced } from "../../props/checkers/unfenced.js";
import type { Leadership } from "../../replication/leadership-order.js";
import type { Answer } from "./http-client.js";

/** Lineages by the digits that clients are told. */
const LINEAGE_DIGITS = 8;

export interface AnsweredWrite extends Acknowledgement {
  /** The key; its value follows from it. */
  readonly body: string;
}

export interface Sent {
  /** In the order of everything. */
  readonly at: number;
  /** What the node was known to have heard of then. */
  readonly heard: Leadership | undefined;
}

export interface BegunLeadership extends Leadership {
  readonly node: string;
  readonly forced: boolean;
  readonly at: number;
}

export class SetHistory {
  readonly answered: AnsweredWrite[] = [];
  readonly promotions: BegunLeadership[] = [];
  readonly whileFenced: AnsweredWhileFenced[] = [];
  readonly #heard = new Map<string, Leadership>();
  #order = 0;

  /** What this node was known to have heard of, for whoever sends it something now. */
  heardOn(node: string): Leadership | undefined {
    return this.#heard.get(node);
  }

  /** The node itself said so. */
  heard(node: string, { epoch, lineageId }: Leadership): void {
    if ((this.#heard.get(node)?.epoch ?? 0) < epoch)
      this.#heard.set(node, { epoch, lineageId: short(lineageId) });
  }

  /** The moment in which something is sent. */
  next(): number {
    this.#order += 1;
    return this.#order;
  }

  /**
   * An answer that promises something: done, and confirmed by so many. It is judged by when it was asked for: the confirmation, and the
   * answer, may have been under way when a process was stopped or a connection fell silent, and come late. That what was confirmed
   * before a leadership began is in its history is judged apart.
   */
  answer(node: string, key: string, confirmed: number, answer: Answer, sent: Sent): void {
    const { at, heard } = sent;
    const {
      "x-annals-offset": offset,
      "x-annals-epoch": epoch,
      "x-annals-lineage": lineage,
    } = answer.headers;
    const under = { epoch: asEpoch(Number(epoch)), lineageId: String(lineage) };
    this.answered.push({ ...under, node, offset: Number(offset), confirmed, body: key, at });
    if (heard !== undefined && heard.epoch > under.epoch) this.whileFenced.push({ node, under, heard });
  }

  /** A promotion without force that was answered just now. */
  began(node: string, { text }: Answer): void {
    const { epoch: number, lineage_id: lineageId } = JSON.parse(text);
    const epoch = asEpoch(number);
    this.promotions.push({ node, epoch, lineageId: short(lineageId), forced: false, at: this.next() });
    this.heard(node, { epoch, lineageId });
  }
}

export const short = (lineageId: string): string => lineageId.slice(0, LINEAGE_DIGITS);
