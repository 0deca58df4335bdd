/** The answers that a store still knows, as a plain list: what a request with a key must be answered. */

export interface Kept<Answer> {
  readonly key: string;
  /** What makes one request another. */
  readonly identity: string;
  readonly answer: Answer;
  /** From this time on the key is a new one. */
  readonly expiresAt: number;
}

export class KeptAnswers<Answer> {
  windowMs: number;
  readonly answersMax: number;
  /** Oldest first. */
  #list: Kept<Answer>[] = [];

  constructor(windowMs: number, answersMax: number) {
    this.windowMs = windowMs;
    this.answersMax = answersMax;
  }

  find(key: string, now: number): Kept<Answer> | undefined {
    return this.#list.find((kept) => kept.key === key && now < kept.expiresAt);
  }

  keep(key: string, identity: string, answer: Answer, now: number): Kept<Answer> {
    const kept = { key, identity, answer, expiresAt: now + this.windowMs };
    this.#list = [...this.#list.filter((other) => other.key !== key), kept];
    while (this.#list.length > this.answersMax) this.#list.shift();
    return kept;
  }
}
