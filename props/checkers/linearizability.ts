/**
 * Linearizability of one object's history: is there one order of its calls, each at some moment between its begin and its
 * end, in which every answer is what a sequential object would have given? (Wing & Gong 1993; the memo on (calls done,
 * state) is Lowe's, 2017.) A history of many keys is linearizable when each key's is, so callers split by key first.
 *
 * - A call without an answer (crash, timeout) may have happened at some moment until its end, or never. Its end is that of the process that
 *   it was made of, as what a crash left undone cannot happen in the next life; Infinity when nobody knows. A call that was refused without
 *   telling of state never happened: leave it out.
 * - A model may have several next states, for what an unanswered call may have done.
 * - Having used fewer unanswered calls is never worse: the memo holds, per (answered calls done, state), the sets of
 *   unanswered calls that were used and could still have been, and a superset of one of them is not searched again. Without this, forty
 *   unanswered calls among 1,400 took 900,000 steps.
 * - Limits: CALLS_MAX calls, STEPS_MAX steps of the search; past them the verdict is "undecided", which a test must treat
 *   as a failure.
 */

export const CALLS_MAX = 4_000;
export const STEPS_MAX = 2_000_000;

export interface Call<Input, Output> {
  readonly input: Input;
  /** Undefined when the caller never heard. */
  readonly output: Output | undefined;
  /** Moments on one line: any clock that gives each begin and end a number of its own. */
  readonly began: number;
  /** When unanswered: the last moment at which it may have happened, or Infinity. */
  readonly ended: number;
}

export interface Model<State, Input, Output> {
  readonly initial: State;
  /** Every state that the object may be in after the call gave this output; none if it could not have. */
  next(state: State, input: Input, output: Output | undefined): readonly State[];
  /** Equal texts for equal states. */
  fingerprint(state: State): string;
}

export type Verdict<Input, Output> =
  | { readonly type: "linearizable" }
  /** `furthest`: the longest order that worked; `stuck`: the calls of which one had to come next. */
  | {
      readonly type: "broken";
      readonly furthest: readonly Call<Input, Output>[];
      readonly stuck: readonly Call<Input, Output>[];
    }
  | { readonly type: "undecided"; readonly reason: string };

interface Choice<State> {
  readonly call: number;
  readonly state: State;
}

interface Level<State> {
  readonly choices: readonly Choice<State>[];
  tried: number;
}

export function checkLinearizable<State, Input, Output>(
  model: Model<State, Input, Output>,
  history: readonly Call<Input, Output>[],
): Verdict<Input, Output> {
  if (history.length > CALLS_MAX)
    return { type: "undecided", reason: `${history.length} calls, more than ${CALLS_MAX}` };
  return new Search(model, history).run();
}

class Search<State, Input, Output> {
  readonly #model: Model<State, Input, Output>;
  readonly #calls: readonly Call<Input, Output>[];
  readonly #done: Uint8Array;
  readonly #order: number[] = [];
  /** By answered calls done and state: the sets of unanswered calls used, one bit each. */
  readonly #seen = new Map<string, bigint[]>();
  readonly #openBits = new Map<number, bigint>();
  /** By answered calls that have come, the last: the unanswered that may still come after it. */
  readonly #stillOpen = new Map<number, bigint>();
  /** 1 for each answered call that is done. */
  readonly #answeredDone: Uint8Array;
  #openUsed = 0n;
  #answeredLeft: number;
  #furthest: number[] = [];
  #stuck: number[] = [];
  #steps = 0;

  constructor(model: Model<State, Input, Output>, history: readonly Call<Input, Output>[]) {
    this.#model = model;
    this.#calls = history.toSorted((a, b) => a.began - b.began);
    this.#done = new Uint8Array(history.length);
    this.#answeredDone = new Uint8Array(history.length);
    this.#calls.forEach((call, index) => {
      if (call.output === undefined) this.#openBits.set(index, 1n << BigInt(this.#openBits.size));
    });
    this.#answeredLeft = history.length - this.#openBits.size;
  }

  run(): Verdict<Input, Output> {
    const levels: Level<State>[] = [{ choices: this.#choices(this.#model.initial), tried: 0 }];
    while (this.#answeredLeft > 0) {
      const level = levels.at(-1);
      if (level === undefined) return this.#broken();
      const choice = level.choices[level.tried];
      level.tried += 1;
      if (choice === undefined) {
        levels.pop();
        this.#undo();
        continue;
      }
      this.#steps += 1;
      if (this.#steps > STEPS_MAX) return { type: "undecided", reason: `more than ${STEPS_MAX} steps` };
      this.#do(choice.call);
      if (this.#isNew(choice.state)) levels.push({ choices: this.#choices(choice.state), tried: 0 });
      else this.#undo();
    }
    return { type: "linearizable" };
  }

  /** What may come next: see `#candidates`. */
  #choices(state: State): Choice<State>[] {
    const candidates = this.#candidates();
    const choices: Choice<State>[] = [];
    for (const call of candidates) {
      const { input, output } = this.#call(call);
      for (const next of this.#model.next(state, input, output)) choices.push({ call, state: next });
    }
    if (choices.length === 0 && this.#order.length >= this.#furthest.length) {
      this.#furthest = [...this.#order];
      this.#stuck = candidates;
    }
    return choices;
  }

  /** Every call that began before the first end of those that have to come; the earliest end first, the unanswered last. */
  #candidates(): number[] {
    const candidates: number[] = [];
    const lastBegan = this.#calls[this.#done.lastIndexOf(1)]?.began ?? Number.NEGATIVE_INFINITY;
    let firstEnd = Number.POSITIVE_INFINITY;
    for (let index = 0; index < this.#calls.length; index += 1) {
      if (this.#done[index] === 1) continue;
      const { began, ended } = this.#call(index);
      if (began > firstEnd) break;
      const isOpen = this.#openBits.has(index);
      if (isOpen && ended < lastBegan) continue;
      candidates.push(index);
      if (!isOpen) firstEnd = Math.min(firstEnd, ended);
    }
    const rank = (index: number): number =>
      this.#openBits.has(index) ? Number.POSITIVE_INFINITY : this.#call(index).ended;
    return candidates
      .filter((index) => this.#call(index).began <= firstEnd)
      .sort((a, b) => (rank(a) === rank(b) ? a - b : rank(a) - rank(b)));
  }

  #do(call: number): void {
    this.#order.push(call);
    this.#mark(call, 1);
  }

  #undo(): void {
    const call = this.#order.pop();
    if (call !== undefined) this.#mark(call, 0);
  }

  #mark(call: number, done: 0 | 1): void {
    this.#done[call] = done;
    const openBit = this.#openBits.get(call);
    if (openBit !== undefined) this.#openUsed ^= openBit;
    else {
      this.#answeredDone[call] = done;
      this.#answeredLeft += done === 1 ? -1 : 1;
    }
  }

  #isNew(state: State): boolean {
    const key = `${this.#answeredKey()}/${this.#model.fingerprint(state)}`;
    const openUsed = this.#openUsed & this.#mayStillCome();
    const used = this.#seen.get(key);
    if (used === undefined) {
      this.#seen.set(key, [openUsed]);
      return true;
    }
    if (used.some((earlier) => (earlier & openUsed) === earlier)) return false;
    used.push(openUsed);
    return true;
  }

  /** The unanswered calls that did not end before an answered one began that has come. */
  #mayStillCome(): bigint {
    const last = this.#answeredDone.lastIndexOf(1);
    const known = this.#stillOpen.get(last);
    if (known !== undefined) return known;
    const began = this.#calls[last]?.began ?? Number.NEGATIVE_INFINITY;
    let open = 0n;
    for (const [index, bit] of this.#openBits) if (this.#call(index).ended >= began) open |= bit;
    this.#stillOpen.set(last, open);
    return open;
  }

  /** The answered calls that are done, as text: how many are left, and which of the window in which some are and some are not. */
  #answeredKey(): string {
    const last = this.#answeredDone.lastIndexOf(1);
    let first = 0;
    while (first < last && (this.#answeredDone[first] === 1 || this.#openBits.has(first))) first += 1;
    return `${this.#answeredLeft}/${first}/${this.#answeredDone.subarray(first, last + 1).join("")}`;
  }

  #call(index: number): Call<Input, Output> {
    const call = this.#calls[index];
    if (call === undefined) throw new RangeError(`no call ${index}`);
    return call;
  }

  #broken(): Verdict<Input, Output> {
    const callsOf = (indexes: readonly number[]): Call<Input, Output>[] =>
      indexes.map((at) => this.#call(at));
    return { type: "broken", furthest: callsOf(this.#furthest), stuck: callsOf(this.#stuck) };
  }
}
