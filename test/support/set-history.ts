/** What clients of a set of real servers were told, and when each leadership began and was heard of: what the checkers judge by. */

import { epoch as asEpoch } from "../../log/index.js";
import type { Answer as Acknowledgement, AnsweredWhileFenced } from "../../props/checkers/unfenced.js";
import type { Leadership } from "../../replication/leadership-order.js";
import type { Answer } from "./http-client.js";
import { sleep } from "./set-waits.js";

/** Lineages by the digits that clients are told. */
const LINEAGE_DIGITS = 8;
/** An answer that left before another one did may be read after it; never so much later. */
const READ_LATE_MS = 20;

export interface AnsweredWrite extends Acknowledgement {
  /** The key; its value follows from it. */
  readonly body: string;
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

  /** An answer that promises something: done, and confirmed by so many. */
  answer(node: string, key: string, confirmed: number, answer: Answer, heard: Leadership | undefined): void {
    const {
      "x-annals-offset": offset,
      "x-annals-epoch": epoch,
      "x-annals-lineage": lineage,
    } = answer.headers;
    const under = { epoch: asEpoch(Number(epoch)), lineageId: String(lineage) };
    this.#order += 1;
    this.answered.push({ ...under, node, offset: Number(offset), confirmed, body: key, at: this.#order });
    if (heard !== undefined && heard.epoch > under.epoch) this.whileFenced.push({ node, under, heard });
  }

  /** A promotion without force that was answered just now. */
  async began(node: string, { text }: Answer): Promise<void> {
    const { epoch: number, lineage_id: lineageId } = JSON.parse(text);
    const epoch = asEpoch(number);
    await sleep(READ_LATE_MS);
    this.#order += 1;
    this.promotions.push({ node, epoch, lineageId: short(lineageId), forced: false, at: this.#order });
    this.heard(node, { epoch, lineageId });
  }
}

export const short = (lineageId: string): string => lineageId.slice(0, LINEAGE_DIGITS);
