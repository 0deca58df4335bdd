/**
 * Waits until a log has the offset that a read asks for. On a node that follows another, what is asked for may be of a leadership that
 * this node has not heard of yet: that is waited for, too. Where nothing comes from elsewhere it is refused at once.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { type Refusal, refusal } from "./errors.js";
import { type MinOffset, standingOf } from "./lineage.js";
import type { ApiOptions } from "./options.js";

/** Nothing tells when another leadership begins, and few ask across one. */
const LOOK_AGAIN_MS = 20;

export class Reaching {
  readonly #options: ApiOptions;
  readonly #wanted: MinOffset;
  readonly #endsAt: number;

  constructor(options: ApiOptions, wanted: MinOffset) {
    this.#options = options;
    this.#wanted = wanted;
    this.#endsAt = options.stopwatch() + options.limits.minOffsetWaitMs;
  }

  /** Undefined: it is there. */
  async refusal(): Promise<Refusal | undefined> {
    for (;;) {
      const standing = this.#standing();
      const isBehind = this.#options.replication?.isBehind === true;
      if (standing === "lost" || (standing === "unknown" && !isBehind)) return this.#lost();
      if (standing === "ours") {
        if (!(await this.#isReached())) return this.#late();
        // A new epoch may have begun below it meanwhile.
        if (this.#standing() === "ours") return undefined;
      } else {
        if (this.#leftMs() <= 0) return this.#late();
        await sleep(Math.min(LOOK_AGAIN_MS, this.#leftMs()));
      }
    }
  }

  #standing(): ReturnType<typeof standingOf> {
    const { offset, lineage } = this.#wanted;
    return lineage === undefined ? "ours" : standingOf(this.#options.log.epochs, offset, lineage);
  }

  #leftMs(): number {
    return this.#endsAt - this.#options.stopwatch();
  }

  #isReached(): Promise<boolean> {
    return new Promise((resolve) => {
      let timer: NodeJS.Timeout | undefined;
      const cancel = this.#options.store.onReached(this.#wanted.offset, () => {
        clearTimeout(timer);
        resolve(true);
      });
      timer = setTimeout(() => {
        cancel();
        resolve(false);
      }, this.#leftMs());
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
