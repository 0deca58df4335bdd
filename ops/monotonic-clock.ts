/**
 * The clock of this process: wall time that never runs backward and never stands still. A clock that is set back (NTP, an
 * operator) must not make an expired key live again, nor write a record that is older than the one before it; and the
 * deadlines of queue messages must go on passing. So while this clock is ahead of the wall it runs at half speed, until
 * the wall has caught up.
 */
const SPEED_WHILE_AHEAD = 0.5;

export class MonotonicClock {
  readonly #wall: () => number;
  readonly #stopwatch: () => number;
  #last = 0;
  /** Where this clock and the stopwatch stood when the wall was first seen behind. */
  #ahead: { readonly from: number; readonly tick: number } | undefined;

  /** `wall` in ms since 1970, `stopwatch` in ms by a steady clock. */
  constructor(wall: () => number, stopwatch: () => number) {
    this.#wall = wall;
    this.#stopwatch = stopwatch;
  }

  /** Ms since 1970, whole. */
  readonly now = (): number => {
    const wall = this.#wall();
    if (wall >= this.#last) {
      this.#ahead = undefined;
      this.#last = wall;
      return wall;
    }
    const tick = this.#stopwatch();
    this.#ahead ??= { from: this.#last, tick };
    this.#last = Math.floor(this.#ahead.from + (tick - this.#ahead.tick) * SPEED_WHILE_AHEAD);
    return this.#last;
  };

  /** Nothing from now on is earlier than `timestamp`: the last record's, whatever the wall clock says after a restart. */
  raise(timestamp: number): void {
    if (timestamp <= this.#last) return;
    this.#last = timestamp;
    this.#ahead = undefined;
  }
}
