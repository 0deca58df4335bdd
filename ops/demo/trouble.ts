/** What happens to the replicas of the demo's set while it works, one thing after the other, drawn from a seed. */
import { setTimeout as sleep } from "node:timers/promises";
import type { DemoNode, DemoSet } from "./demo-set.js";
import type { Draw } from "./moments.js";

/** What befalls a replica for a while; where it is alone with it, another one confirms meanwhile, else writes wait. */
const FAULTS: Readonly<Record<string, (set: DemoSet, node: DemoNode, ms: number) => Promise<void>>> = {
  killed: (set, node, ms) => set.kill(node, ms),
  stopped: (set, node, ms) => set.stop(node, ms),
  "cut off alone": (set, node, ms) => set.cutOff([node], ms),
  "cut off together": (set, _, ms) => set.cutOff(set.replicas, ms),
};

export class Trouble {
  /** How often each fault befell the set. */
  readonly counts: Record<string, number> = Object.fromEntries(Object.keys(FAULTS).map((how) => [how, 0]));
  readonly #set: DemoSet;
  readonly #draw: Draw;
  /** Each fault once, in the order in which they come. */
  #deck: string[] = [];
  #isOver = false;
  #wantsEach = false;
  #running: Promise<void> = Promise.resolve();

  constructor(set: DemoSet, draw: Draw) {
    this.#set = set;
    this.#draw = draw;
  }

  begin(): void {
    this.#isOver = false;
    this.#running = this.#run();
    // Whoever ends it hears of its failure.
    this.#running.catch(() => undefined);
  }

  /** Resolves when all replicas are well; with `each` not before every fault there is has befallen the set. */
  async end({ each = false } = {}): Promise<void> {
    this.#wantsEach = each;
    this.#isOver = true;
    await this.#running;
  }

  get #isDue(): boolean {
    return !this.#isOver || (this.#wantsEach && Object.values(this.counts).includes(0));
  }

  async #run(): Promise<void> {
    do {
      const { replicas } = this.#set;
      const node = replicas[this.#draw(replicas.length)];
      const how = this.#next();
      const fault = FAULTS[how];
      if (node === undefined || fault === undefined) return;
      this.counts[how] = (this.counts[how] ?? 0) + 1;
      await fault(this.#set, node, 200 + this.#draw(600));
      await sleep(this.#draw(300));
    } while (this.#isDue);
  }

  #next(): string {
    if (this.#deck.length === 0) this.#deck = Object.keys(FAULTS);
    return this.#deck.splice(this.#draw(this.#deck.length), 1)[0] ?? "";
  }
}
