/** Ways between machines that change a bit of a piece here and there, which no checksum of TCP has seen. */
import type { Random } from "./fate.js";

/** Where lengths and checksums stand: there a changed bit does most. */
const HEAD_BYTES = 12;

export class Garbling {
  readonly #random: Random;
  /** How often, per piece. */
  readonly #shares = new Map<string, number>();
  /** Pieces in which a bit was changed. */
  pieces = 0;

  constructor(random: Random) {
    this.#random = random;
  }

  /** 0: never again. */
  begin(from: string, to: string, share: number): void {
    this.#shares.set(`${from}>${to}`, share);
  }

  end(): void {
    this.#shares.clear();
  }

  /** The piece as it arrives. */
  passed(from: string, to: string, bytes: Uint8Array): Uint8Array {
    const share = this.#shares.get(`${from}>${to}`) ?? 0;
    if (share === 0 || this.#random() >= share) return bytes;
    this.pieces += 1;
    return this.#withChangedBit(bytes);
  }

  #withChangedBit(bytes: Uint8Array): Uint8Array {
    const random = this.#random;
    const within = random() < 0.5 ? Math.min(HEAD_BYTES, bytes.length) : bytes.length;
    const at = Math.floor(random() * within);
    const changed = Uint8Array.from(bytes);
    changed[at] = (changed[at] ?? 0) ^ (1 << Math.floor(random() * 8));
    return changed;
  }
}
