/**
 * The changes of a node's role, one at a time. A second one is refused and does not wait its turn: it was asked of a role
 * that the first one is about to change.
 */
import * as refusals from "./refusals.js";

export class RoleChanges {
  readonly #over: () => void;
  #underWay: string | undefined = "is not started yet";
  #running: Promise<unknown> = Promise.resolve();
  #isEnded = false;

  /** `over` is called after each of them. None is taken before `begin`. */
  constructor(over: () => void) {
    this.#over = over;
  }

  begin(): void {
    this.#underWay = undefined;
  }

  /** What the node is doing to its role, for words; undefined when it may be changed. */
  get underWay(): string | undefined {
    return this.#underWay;
  }

  get isEnded(): boolean {
    return this.#isEnded;
  }

  /** @throws ReplicationError REPLICATION_STOPPING after `end`, REPLICATION_CHANGING while another one is under way; what `change` throws. */
  async run<T>(what: string, change: () => Promise<T>): Promise<T> {
    if (this.#isEnded) throw refusals.stopping();
    if (this.#underWay !== undefined) throw refusals.changing(this.#underWay);
    this.#underWay = what;
    try {
      const changed = change();
      this.#running = changed.catch(() => undefined);
      return await changed;
    } finally {
      this.#underWay = undefined;
      this.#over();
    }
  }

  /** Takes no further one. */
  end(): void {
    this.#isEnded = true;
  }

  /** Resolves when the last one is over. Never rejects. */
  async settled(): Promise<void> {
    await this.#running;
  }
}
