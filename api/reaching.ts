/**
 * Waits until a log has the offset that a read asks for. On a node that follows another, what is asked for may be of a leadership that
 * this node has not heard of yet: that is waited for, too. Where it cannot come any more it is refused at once.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Refusal, refusal } from "./errors.js";
import { judged, type MinOffset } from "./lineage.js";
import type { ApiOptions } from "./options.js";
import { abandoned, draining, type WaitingCall, type WaitingRoom } from "./waiting-room.js";

/** Who asks: whoever has gone away holds nothing here. */
export type ReachingCall = Pick<WaitingCall, "isAbandoned" | "onAbandoned">;

/** Nothing tells when another leadership begins, and few ask across one. */
const LOOK_AGAIN_MS = 20;

export class Reaching {
  readonly #options: ApiOptions;
  readonly #wanted: MinOffset;
  readonly #call: ReachingCall;
  readonly #room: Pick<WaitingRoom, "onRing">;
  readonly #mayNot: () => Refusal | undefined;
  readonly #endsAt: number;

  /** `mayNot`: why it is no use to wait, asked again when this node has stopped to take writes. */
  constructor(
    options: ApiOptions,
    wanted: MinOffset,
    call: ReachingCall,
    room: Pick<WaitingRoom, "onRing">,
    mayNot: () => Refusal | undefined = () => undefined,
  ) {
    this.#options = options;
    this.#wanted = wanted;
    this.#call = call;
    this.#room = room;
    this.#mayNot = mayNot;
    this.#endsAt = options.stopwatch() + options.limits.minOffsetWaitMs;
  }

  /** Undefined: it is there. */
  async refusal(): Promise<Refusal | undefined> {
    for (;;) {
      const { log, replication } = this.#options;
      // Also of what has come: a new epoch may have begun below it meanwhile.
      const verdict = judged(log, this.#wanted, replication);
      if (verdict === "here") return undefined;
      if (verdict === "lost") return this.#lost();
      // Also of what is answered while draining, such as who asks how this node is.
      const refused = this.#options.health.draining() ? draining() : this.#mayNot();
      if (refused !== undefined) return refused;
      if (this.#call.isAbandoned) return abandoned();
      if (this.#leftMs() <= 0) return this.#late();
      if (verdict === "coming") await this.#arrival();
      else await sleep(Math.min(LOOK_AGAIN_MS, this.#leftMs()));
    }
  }

  #leftMs(): number {
    return this.#endsAt - this.#options.stopwatch();
  }

  /** Or the end of its time, of the writes that this node takes, of the server, or its client's. */
  #arrival(): Promise<void> {
    const { store } = this.#options;
    return new Promise((resolve) => {
      const stays: (() => void)[] = [];
      const over = (): void => {
        for (const leave of stays) leave();
        resolve();
      };
      const timer = setTimeout(over, this.#leftMs());
      stays.push(() => clearTimeout(timer));
      stays.push(this.#call.onAbandoned(over));
      stays.push(this.#room.onRing(over));
      stays.push(store.onReached(this.#wanted.offset, over));
    });
  }

  #lost(): Refusal {
    const { offset, lineage } = this.#wanted;
    return refusal(
      "API_LINEAGE_LOST",
      `offset ${offset} of lineage ${lineage} is not in this history: the data was restored to an earlier time since, or another node was promoted`,
      { offset: this.#options.store.offset },
    );
  }

  #late(): Refusal {
    const { store, limits, replication } = this.#options;
    const waited = `offset ${this.#wanted.offset} was not there within ${limits.minOffsetWaitMs} ms`;
    const upstream = replication?.facts().upstream;
    if (upstream === undefined) return refusal("API_MIN_OFFSET_TIMEOUT", waited, { offset: store.offset });
    const behind = upstream.connected ? "" : "; the node that it follows is not connected";
    return refusal("API_MIN_OFFSET_TIMEOUT", `${waited}: this replica has ${store.offset}${behind}`, {
      offset: store.offset,
      ...(upstream.lagOperations !== undefined && { lag_operations: upstream.lagOperations }),
      ...(upstream.lagMs !== undefined && { lag_ms: Math.round(upstream.lagMs) }),
    });
  }
}
