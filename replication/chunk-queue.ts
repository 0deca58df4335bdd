/** The bytes of a snapshot between the link, which gets them piece by piece, and whoever writes them: one piece waits, no more. */

interface Waiting {
  readonly bytes: Uint8Array;
  taken(): void;
  refused(error: unknown): void;
}

export class ChunkQueue implements AsyncIterable<Uint8Array> {
  #waiting: Waiting | undefined;
  /** Until it is taken, or refused. */
  #put: Waiting | undefined;
  #refusal: { readonly error: unknown } | undefined;
  #ended: "whole" | Error | undefined;
  #wake: (() => void) | undefined;

  /** Resolves when the reader is done with it and wants more; rejects when that reads no more. One at a time. */
  put(bytes: Uint8Array): Promise<void> {
    if (this.#refusal !== undefined) return Promise.reject(this.#refusal.error);
    return new Promise((taken, refused) => {
      this.#waiting = { bytes, taken, refused };
      this.#put = this.#waiting;
      this.#ring();
    });
  }

  /** The reader has failed: whoever puts a piece, now or later, gets its error. */
  refuse(error: unknown): void {
    this.#refusal ??= { error };
    this.#put?.refused(error);
  }

  /** There is no more. */
  end(): void {
    this.#ended ??= "whole";
    this.#ring();
  }

  /** There will be no more, and what came is not all: the reader gets the error. */
  fail(error: Error): void {
    this.#ended ??= error;
    this.#ring();
  }

  async *[Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    for (;;) {
      const waiting = this.#waiting;
      this.#waiting = undefined;
      if (this.#ended instanceof Error) throw this.#ended;
      if (waiting !== undefined) {
        yield waiting.bytes;
        waiting.taken();
      } else if (this.#ended !== undefined) return;
      else
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
    }
  }

  #ring(): void {
    const wake = this.#wake;
    this.#wake = undefined;
    wake?.();
  }
}
