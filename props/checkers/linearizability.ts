/**
 * Linearizability of one object's history: is there one order of its calls, each at some moment between its begin and its
 * end, in which every answer is what a sequential object would have given? (Wing & Gong 1993; the memo on (calls done,
 * state) is Lowe's, 2017.) A history of many keys is linearizable when each key's is, so callers split by key first.
 *
 * - A call without an answer (crash, timeout) stays open: it may happen at any later moment or, what is the same, after
 *   everything else. A call that was refused without telling of state never happened: leave it out.
 * - A model may have several next states, for what an unanswered call may have done.
 * - Limits: CALLS_MAX calls, STEPS_MAX steps of the search; past them the verdict is "undecided", which a test must treat
 *   as a failure. Histories of ≤ 12 clients with a few open calls need little more than one step a call.
 */

export const CALLS_MAX = 4_000;
export const STEPS_MAX = 2_000_000;

export interface Call<Input, Output> {
  readonly input: Input;
  /** Undefined when the caller never heard. */
  readonly output: Output | undefined;
  /** Moments on one line: any clock that gives each begin and end a number of its own. */
  readonly began: number;
  /** Infinity when unanswered. */
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
  readonly #seen = new Set<string>();
  #answeredLeft: number;
  #furthest: number[] = [];
  #stuck: number[] = [];
  #steps = 0;

  constructor(model: Model<State, Input, Output>, history: readonly Call<Input, Output>[]) {
    this.#model = model;
    this.#calls = history.toSorted((a, b) => a.began - b.began);
    this.#done = new Uint8Array(history.length);
    this.#answeredLeft = history.filter((call) => call.output !== undefined).length;
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

  /** What may come next: every call that began before the first end of those still to do; the earliest end first. */
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

  #candidates(): number[] {
    const candidates: number[] = [];
    let firstEnd = Number.POSITIVE_INFINITY;
    for (let index = 0; index < this.#calls.length; index += 1) {
      if (this.#done[index] === 1) continue;
      const call = this.#call(index);
      if (call.began > firstEnd) break;
      candidates.push(index);
      firstEnd = Math.min(firstEnd, call.ended);
    }
    return candidates
      .filter((index) => this.#call(index).began <= firstEnd)
      .sort((a, b) => this.#call(a).ended - this.#call(b).ended || a - b);
  }

  #do(call: number): void {
    this.#done[call] = 1;
    this.#order.push(call);
    if (this.#call(call).output !== undefined) this.#answeredLeft -= 1;
  }

  #undo(): void {
    const call = this.#order.pop();
    if (call === undefined) return;
    this.#done[call] = 0;
    if (this.#call(call).output !== undefined) this.#answeredLeft += 1;
  }

  /** The done set as text: how many are done without a gap, then the rest up to the last that is done. */
  #isNew(state: State): boolean {
    const first = this.#done.indexOf(0);
    const last = this.#done.lastIndexOf(1);
    const rest = first === -1 || last < first ? "" : this.#done.subarray(first, last + 1).join("");
    const key = `${first}/${rest}/${this.#model.fingerprint(state)}`;
    if (this.#seen.has(key)) return false;
    this.#seen.add(key);
    return true;
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
