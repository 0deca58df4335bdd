/** Words about what strangers do: of each kind one in a while, however often it happens, so that nobody fills a log from outside. */
const EVERY_MS = 10_000;
/** Kinds are codes, so there are few; whoever has more of them is told less. */
const KINDS_MAX = 64;

export class Seldom {
  readonly #stopwatch: () => number;
  readonly #told = new Map<string, { at: number; untold: number }>();

  constructor(stopwatch: () => number) {
    this.#stopwatch = stopwatch;
  }

  /** Calls `tell`, with how many of this kind were passed over since the last one, or passes this one over. */
  tell(kind: string, tell: (untold: number) => void): void {
    const now = this.#stopwatch();
    const before = this.#told.get(kind);
    if (before === undefined ? this.#told.size >= KINDS_MAX : now - before.at < EVERY_MS) {
      if (before !== undefined) before.untold += 1;
      return;
    }
    this.#told.set(kind, { at: now, untold: 0 });
    tell(before?.untold ?? 0);
  }
}
