/**
 * Holds a primary's writes while a replica gets everything, so that it can take over without a record lost, and gives the lead up to it when
 * it asks for that: durably, before the other begins to lead, and only while writes are held for it. So when the hold ends before, for the
 * time is over or anything else, writes go on, and the other cannot lead any more without another promotion, however late it asks.
 *
 * Who gave the lead up writes no more. When nothing is heard of the other then, it may lead or not: only itself can say. If it says that it
 * does not, the lead is taken back by a promotion for which that one must give way in turn.
 */
import type { EventLog, Offset } from "../log/index.js";
import { isSameLeadership, type Leadership } from "./leadership-order.js";
import { linkErrorOf } from "./link-error.js";
import type { NodeStatement } from "./messages.js";
import { askAround, type PromotionContext } from "./promotion.js";
import * as refusals from "./refusals.js";
import type { ReplicaSet } from "./replica-set.js";
import { Seldom } from "./seldom.js";

export interface HandoverOptions {
  readonly asking: PromotionContext;
  readonly set: ReplicaSet;
  /** Whatever writes by itself stops, and begins again. */
  readonly hold: () => Promise<void>;
  readonly goOn: () => void;
  /** What change of the role is under way. */
  readonly changing: () => string | undefined;
  /** Promotes this node, if that one gives way. `tries` is told under which leadership. */
  readonly lead: (from: string, tries: (leadership: Leadership) => void) => Promise<unknown>;
}

/**
 * What became of a handover. `kept`: this node leads as before. `led`: the other one leads. `back`: this node leads again, under a leadership
 * of its own. `open`: it gave its lead up, and whether the other leads is not known. `passed`: some other leadership was heard of. `told`: none
 * was, and this node leads no more, because somebody told it to follow.
 */
export type HandoverOutcome = "kept" | "led" | "back" | "open" | "passed" | "told";

export class Handover {
  readonly #options: HandoverOptions;
  readonly #seldom: Seldom;
  #running: { readonly to: string; readonly cancel: () => void } | undefined;
  /** Whom the lead was given to last, and what that one leads under, if it does; or what this node tried to take it back under since. */
  #given: { readonly to: string; readonly leadership: Leadership } | undefined;
  /** What this node led under when it began to hand over. */
  #under: Leadership | undefined;

  constructor(options: HandoverOptions) {
    this.#options = options;
    this.#seldom = new Seldom(options.asking.link.clock.stopwatch);
  }

  /** The node that writes are held for. */
  get to(): string | undefined {
    return this.#running?.to;
  }

  get outcome(): HandoverOutcome {
    const { local } = this.#options.asking;
    if (local.leads && !local.isFenced) return isSameLeadership(local.own, this.#under) ? "kept" : "back";
    if (isSameLeadership(local.heard, this.#under)) return "told";
    if (this.#given === undefined || !isSameLeadership(local.heard, this.#given.leadership)) return "passed";
    return local.leadership.primary?.nodeId === this.#given.to ? "led" : "open";
  }

  /** Resolves with the end that the replica holds durably. From the call on no write is taken. */
  async begin(to: string, log: EventLog, timeoutMs: number): Promise<Offset> {
    const { asking, set, hold } = this.#options;
    const { clock } = asking.link;
    const until = clock.stopwatch() + timeoutMs;
    const running = { to, cancel: clock.after(timeoutMs, () => this.end()) };
    this.#running = running;
    this.#under = asking.local.own;
    try {
      await hold();
      const end = log.endOffset;
      await log.whenCommitted(end);
      await set.holds(to, end, Math.max(0, until - clock.stopwatch()));
      return end;
    } catch (error) {
      if (this.#running === running) this.end();
      throw error;
    }
  }

  /** Gives the lead up, or the way to it, to a candidate. @throws ReplicationError REPLICATION_NOT_YIELDED. */
  yieldTo(leadership: Leadership, { nodeId, name }: NodeStatement): void {
    const { local } = this.#options.asking;
    const change = this.#options.changing();
    if (change !== undefined) throw refusals.yieldsNot(`it ${change}`);
    if (!local.leads || local.isFenced) return;
    if (this.#running?.to !== nodeId) throw refusals.yieldsNot(`it leads, and holds no writes for ${name}`);
    this.#given = { to: nodeId, leadership };
  }

  /** Takes writes again, if this node still may. */
  end(): void {
    const { asking, goOn } = this.#options;
    const { local } = asking;
    if (!this.#let()) return;
    if (local.leads && !local.isFenced) goOn();
  }

  /** The role changes: there is nothing left to hold. */
  forget(): void {
    this.#let();
  }

  /** Leads again, if the other can be asked and gives way. Who cannot be asked may lead. */
  async takeBack(): Promise<void> {
    const { asking, lead } = this.#options;
    const to = this.#given?.to;
    if (to === undefined || this.outcome !== "open") return;
    const reached = await askAround(asking, (nodeId) => nodeId === to);
    if (reached === 0 || this.outcome !== "open") return;
    try {
      // A try that comes to nothing is nobody's leadership, and the next one follows.
      await lead(to, (leadership) => {
        this.#given = { to, leadership };
      });
    } catch (error) {
      const { code, message } = linkErrorOf(error);
      const words = `this node gave its lead up to node ${to}, and cannot take it back: ${message}`;
      this.#seldom.tell(code, (untold) => asking.link.logger.warn({ code, untold }, words));
    }
  }

  #let(): boolean {
    const running = this.#running;
    running?.cancel();
    this.#running = undefined;
    return running !== undefined;
  }
}
