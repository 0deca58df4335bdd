/**
 * Who waits for something to change: listeners by topic, `queue:<name>` or `stream:<name>`. The store rings a topic when the
 * record that touched it is committed, so what a listener then asks for may leave at once.
 *
 * A ring says "ask again", nothing more: it may come for nothing, and several changes may be one ring. Whoever waits listens
 * first and asks after that, or a change between the two would be missed.
 */
export class Wakes {
  readonly #listeners = new Map<string, Set<() => void>>();

  /** Calls `listener` at each ring until the function that this returns is called. A listener must not throw. */
  on(topic: string, listener: () => void): () => void {
    const listeners = this.#listeners.get(topic) ?? new Set();
    this.#listeners.set(topic, listeners);
    // A listener of its own for each call, so that one function may listen twice.
    const entry = (): void => listener();
    listeners.add(entry);
    return () => {
      listeners.delete(entry);
      if (listeners.size === 0 && this.#listeners.get(topic) === listeners) this.#listeners.delete(topic);
    };
  }

  /** False when a projection need not say what it touched. */
  get areHeard(): boolean {
    return this.#listeners.size > 0;
  }

  isHeard(topic: string): boolean {
    return this.#listeners.has(topic);
  }

  /** For a state that takes another's place: whatever was waited for may be there. */
  ringAll(): void {
    for (const topic of [...this.#listeners.keys()]) this.ring(topic);
  }

  ring(topic: string): void {
    const listeners = this.#listeners.get(topic);
    if (listeners === undefined) return;
    // A copy: who listens while it rings waits for the next.
    for (const listener of [...listeners]) listener();
  }
}

/** The topics that the records of one turn touched, until they are committed. */
export class TouchedTopics {
  readonly #wakes: Wakes;
  readonly #topics = new Set<string>();

  constructor(wakes: Wakes) {
    this.#wakes = wakes;
  }

  /** Called by `evolve`, with the parts of a topic, so that nobody pays for one that nobody hears. */
  touch(kind: "queue" | "stream", name: string): void {
    if (!this.#wakes.areHeard) return;
    const topic = `${kind}:${name}`;
    if (this.#wakes.isHeard(topic)) this.#topics.add(topic);
  }

  /** What was touched since the last call. */
  take(): readonly string[] {
    if (this.#topics.size === 0) return NONE;
    const topics = [...this.#topics];
    this.#topics.clear();
    return topics;
  }
}

const NONE: readonly string[] = [];
