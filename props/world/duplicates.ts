/**
 * What a network delivers more than once. TCP never doubles the bytes of a connection, but a connection may straggle, so that its peer has
 * given it up and has another one; a box in between may hold the beginning of a connection and play it again, to either side; and whoever
 * is in between for evil may put a frame into the stream a second time.
 */
import type { SentFrames } from "./sent-frames.js";

export type DuplicateHow = "straggle" | "replay" | "answer" | "repeat";

export interface DuplicateCounts {
  /** Frames that came a second time in their stream. */
  repeated: number;
  /** Connections that were opened with what an older one had begun with, and those that were answered so. */
  replayed: number;
  answered: number;
  /** Ways of connections that were held while others went on. */
  straggled: number;
}

/** A connection as it began: what each side has said. */
export interface Begun {
  readonly from: string;
  readonly to: string;
  readonly port: number;
  readonly dialler: SentFrames;
  readonly acceptor: SentFrames;
}

const KEPT = 200;

export class Duplicates {
  readonly counts: DuplicateCounts = { repeated: 0, replayed: 0, answered: 0, straggled: 0 };
  readonly #begun: Begun[] = [];
  /** How often a frame comes again, by the way that it goes. */
  readonly #repeating = new Map<string, number>();
  /** Of the next connection that is dialled there: by what it is answered. */
  readonly #answers = new Map<string, Begun>();

  begun(begun: Begun): void {
    this.#begun.push(begun);
    if (this.#begun.length > KEPT) this.#begun.shift();
  }

  /** One of those that were dialled there. */
  oneOf(from: string, to: string, share: number): Begun | undefined {
    const found = this.#begun.filter((begun) => begun.from === from && begun.to === to);
    return found[Math.floor(share * found.length)];
  }

  repeat(from: string, to: string, share: number): void {
    if (share > 0) this.#repeating.set(`${from}>${to}`, share);
    else this.#repeating.delete(`${from}>${to}`);
  }

  repeats(from: string, to: string): number {
    return this.#repeating.get(`${from}>${to}`) ?? 0;
  }

  answerNext(begun: Begun): void {
    this.#answers.set(`${begun.from}>${begun.to}`, begun);
  }

  takeAnswer(from: string, to: string): Begun | undefined {
    const way = `${from}>${to}`;
    const found = this.#answers.get(way);
    this.#answers.delete(way);
    return found;
  }

  end(): void {
    this.#repeating.clear();
    this.#answers.clear();
  }
}
