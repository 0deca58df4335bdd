/**
 * How much may be on its way to one replica: bytes that were sent and not yet taken in. Whoever sends makes pieces that are no larger, where
 * that can be, and waits here for room, so that a slow replica costs one piece that waits, and nothing more.
 */
import { ReplicationError } from "./errors.js";

export class Window {
  readonly bytesMax: number;
  #sentBytes = 0;
  #takenBytes = 0;
  #wake: (() => void) | undefined;

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get sentBytes(): number {
    return this.#sentBytes;
  }

  get inFlightBytes(): number {
    return this.#sentBytes - this.#takenBytes;
  }

  /** What is larger than the window goes alone, or it could never be sent. */
  hasRoomFor(bytes: number): boolean {
    return this.inFlightBytes === 0 || this.inFlightBytes + bytes <= this.bytesMax;
  }

  sent(bytes: number): void {
    this.#sentBytes += bytes;
  }

  /** @throws ReplicationError REPLICATION_MESSAGE_BAD when that is less than before, or more than was sent. */
  taken(bytes: number): void {
    if (bytes < this.#takenBytes || bytes > this.#sentBytes)
      throw new ReplicationError("REPLICATION_MESSAGE_BAD", "an ack of bytes that were not sent", {
        expected: `${this.#takenBytes} to ${this.#sentBytes}`,
        found: bytes,
      });
    this.#takenBytes = bytes;
    this.ring();
  }

  /** Something changed: whoever waits looks again. */
  ring(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }

  /** Resolves at the next ring. One may wait. */
  change(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
