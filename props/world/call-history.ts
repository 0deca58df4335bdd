/** What concurrent callers did and heard: their calls on one line of moments, across restarts, for the linearizability checkers. */
import type { Call } from "../checkers/linearizability.js";

type Open<Call> = { -readonly [Name in keyof Call]: Call[Name] };

/** `Facts`: what is known of a call beside its input. */
export abstract class CallHistory<Input, Output, Facts extends object = object> {
  readonly calls: (Open<Call<Input, Output>> & Facts)[] = [];
  #moment = 0;

  protected opened(input: Input, facts: Facts): Open<Call<Input, Output>> & Facts {
    const call = { ...facts, input, output: undefined, began: this.#next(), ended: Number.POSITIVE_INFINITY };
    this.calls.push(call);
    return call;
  }

  answered(call: Open<Call<Input, Output>> & Facts, output: Output): void {
    call.output = output;
    call.ended = this.#next();
  }

  /** It was not even heard of, or told that nothing happened. */
  drop(call: Open<Call<Input, Output>> & Facts): void {
    this.calls.splice(this.calls.indexOf(call), 1);
  }

  /** The process is no more: what it left unanswered has happened by now, or never will. Gives back how many such calls there are. */
  processEnded(): number {
    const now = this.#next();
    const open = this.calls.filter(({ ended }) => ended === Number.POSITIVE_INFINITY);
    for (const call of open) call.ended = now;
    return open.length;
  }

  /** Without the reads that nobody heard: they say nothing. */
  get telling(): readonly (Call<Input, Output> & Facts)[] {
    return this.calls.filter(({ input, output }) => output !== undefined || !this.isRead(input));
  }

  protected abstract isRead(input: Input): boolean;

  #next(): number {
    this.#moment += 1;
    return this.#moment;
  }
}
