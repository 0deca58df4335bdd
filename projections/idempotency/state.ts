/**
 * The answers that are kept, oldest first, and how they follow from the records. Bounded by count, by bytes and by the time
 * that each event names: past a bound the oldest is forgotten, and its key may be used again.
 */
import { createHash } from "node:crypto";
import type { Offset } from "../../log/index.js";
import type { GiveWay } from "../give-way.js";
import { OldestFirst } from "../oldest-first.js";
import type { ProjectedRecord, Projection } from "../projector.js";
import { isAnsweredKind, readAnswered } from "./codec.js";
import type { IdempotencyRules, IdempotencyView, KeptAnswer, RequestAnswered } from "./contract.js";

/** What an entry takes beside its texts, about. */
const ENTRY_BYTES = 250;

type IdempotencyRecord = ProjectedRecord<RequestAnswered>;

export class IdempotencyState implements IdempotencyView {
  readonly #rules: IdempotencyRules;
  /** In the order of the log. */
  readonly #answers = new OldestFirst<KeptAnswer>();
  #bytes = 0;

  /** `rules` may change while the state lives; nothing of them is kept. */
  constructor(rules: IdempotencyRules) {
    this.#rules = rules;
  }

  get size(): number {
    return this.#answers.size;
  }

  /** What the kept answers take, about. */
  get bytes(): number {
    return this.#bytes;
  }

  get(key: string, now: number): KeptAnswer | undefined {
    const kept = this.#answers.get(key);
    return kept === undefined || kept.expiresAt <= now ? undefined : kept;
  }

  /** Called by `evolve` alone. */
  put(event: RequestAnswered, at: Offset, timestamp: number): void {
    const { key, fingerprint, expiresAt, status, revision, body } = event;
    this.#forget(key);
    // The bound may have been larger when it was decided. It pushes none of the others out.
    if (answerBytes(key, body) > this.#rules.bytesMax) return;
    this.#answers.set(key, { fingerprint, expiresAt, status, revision, body, offset: at });
    this.#bytes += answerBytes(key, body);
    const { answersMax, bytesMax } = this.#rules;
    for (let { oldest } = this.#answers; oldest !== undefined; oldest = this.#answers.oldest) {
      const [longestKept, { expiresAt: until }] = oldest;
      const isOver = this.#answers.size > answersMax || this.#bytes > bytesMax;
      if (!isOver && until > timestamp) break;
      this.#forget(longestKept);
    }
  }

  /** Oldest first. */
  answers(): IterableIterator<[string, KeptAnswer]> {
    return this.#answers[Symbol.iterator]();
  }

  /** Adds an answer of a snapshot, the newest so far. */
  restore(key: string, kept: KeptAnswer): void {
    this.#answers.set(key, kept);
    this.#bytes += answerBytes(key, kept.body);
  }

  /** Canonical SHA-256 of the answers that are kept at `at`. */
  digest(at: number, giveWay: GiveWay): string {
    const hash = createHash("sha256");
    for (const [key, kept] of this.#answers) {
      if (kept.expiresAt <= at) continue;
      const { fingerprint, expiresAt, status, revision, body, offset: record } = kept;
      hash.update(JSON.stringify([key, expiresAt, status, revision, body, record])).update(fingerprint);
      giveWay();
    }
    return hash.digest("hex");
  }

  #forget(key: string): void {
    const kept = this.#answers.get(key);
    if (kept === undefined) return;
    this.#answers.delete(key);
    this.#bytes -= answerBytes(key, kept.body);
  }
}

/** What an answer takes of the bound. */
export const answerBytes = (key: string, body: string): number =>
  ENTRY_BYTES + 2 * (key.length + body.length);

export const idempotencyProjection: Projection<IdempotencyState, RequestAnswered> = {
  owns: isAnsweredKind,
  read: readAnswered,
  evolve,
};

function evolve(state: IdempotencyState, record: IdempotencyRecord): IdempotencyState {
  for (const event of record.changes) state.put(event, record.offset, record.timestamp);
  return state;
}
