/**
 * Which answers deserve a line in the log: failures and slow ones. Under overload those come by the thousand, and a log
 * that writes them all makes the overload worse: of each second only the first few are written, with a count of the rest.
 */
import type { ApiLogger } from "../options.js";

const LINES_PER_SECOND = 10;

export interface AnswerFacts {
  readonly requestId: string;
  readonly method: string;
  readonly route: string;
  readonly status: number;
  readonly durationMs: number;
}

export class AnswerLog {
  readonly #logger: ApiLogger;
  #second = 0;
  #lines = 0;
  #suppressed = 0;

  constructor(logger: ApiLogger) {
    this.#logger = logger;
  }

  /** `atMs` is the stopwatch's. */
  note(message: string, facts: AnswerFacts, atMs: number): void {
    const second = Math.floor(atMs / 1_000);
    if (second !== this.#second) {
      this.#second = second;
      this.#lines = 0;
    }
    this.#lines += 1;
    if (this.#lines > LINES_PER_SECOND) {
      this.#suppressed += 1;
      return;
    }
    const suppressed = this.#suppressed;
    this.#suppressed = 0;
    this.#logger.warn(suppressed === 0 ? { ...facts } : { ...facts, suppressed }, message);
  }
}
