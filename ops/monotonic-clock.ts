/**
 * The clock of this process: wall time that never runs backward. A clock that is set back (NTP, an operator) must not
 * make an expired key live again, nor write a record that is older than the one before it.
 */
export class MonotonicClock {
  readonly #wall: () => number;
  #last = 0;

  constructor(wall: () => number) {
    this.#wall = wall;
  }

  /** Ms since 1970. */
  readonly now = (): number => {
    const wall = this.#wall();
    if (wall > this.#last) this.#last = wall;
    return this.#last;
  };

  /** Nothing from now on is earlier than `timestamp`: the last record's, whatever the wall clock says after a restart. */
  raise(timestamp: number): void {
    if (timestamp > this.#last) this.#last = timestamp;
  }
}
