/**
 * One key as a sequential object, for the linearizability checker: value and revision, with set, get, delete, increment
 * and set-if-revision. Revisions are offsets: whoever changes the key later gets a greater one.
 *
 * What an unanswered call did is known only in part: its revision is some number above the one before, until an answer
 * shows it.
 */
import { type Call, checkLinearizable, type Model } from "./linearizability.js";
import { PromiseBroken } from "./promise-broken.js";

export type KeyInput =
  | { readonly type: "get" }
  | { readonly type: "set"; readonly value: string }
  /** 0 = must not be there. */
  | { readonly type: "setIfRevision"; readonly value: string; readonly revision: number }
  | { readonly type: "increment"; readonly amount: number }
  | { readonly type: "delete" };

export type KeyOutput =
  | { readonly type: "found"; readonly value: string; readonly revision: number }
  | { readonly type: "absent" }
  /** `revision` undefined where the door does not tell it. */
  | { readonly type: "written"; readonly revision: number | undefined }
  | { readonly type: "mismatch" }
  | { readonly type: "incremented"; readonly value: string; readonly revision?: number }
  | { readonly type: "notAnInteger" }
  | { readonly type: "deleted"; readonly there: boolean };

export interface KeyState {
  /** Undefined = not there. */
  readonly value: string | undefined;
  /** Revision of the last change; 0 before the first. */
  readonly revision: number;
  /** False: the revision is some number greater than `revision`. */
  readonly exact: boolean;
}

const INTEGER = /^-?\d+$/;

export const keyModel: Model<KeyState, KeyInput, KeyOutput> = {
  initial: { value: undefined, revision: 0, exact: true },
  fingerprint: (state) => `${state.revision}${state.exact ? "=" : "+"}${state.value ?? ""}`,
  next: (state, input, output) => {
    switch (input.type) {
      case "get":
        return afterGet(state, output);
      case "set":
        if (output !== undefined && output.type !== "written") return [];
        return written(state, input.value, output?.revision);
      case "setIfRevision":
        return afterSetIfRevision(state, input.value, input.revision, output);
      case "increment":
        return afterIncrement(state, input.amount, output);
      case "delete":
        return afterDelete(state, output);
    }
  },
};

function afterGet(state: KeyState, output: KeyOutput | undefined): KeyState[] {
  if (output === undefined) return [state];
  if (output.type === "absent") return state.value === undefined ? [state] : [];
  if (output.type !== "found" || state.value !== output.value) return [];
  return bound(state, output.revision);
}

/** The state, once its revision is known to be this one; none if it cannot be. */
function bound(state: KeyState, revision: number): KeyState[] {
  if (state.exact) return state.revision === revision ? [state] : [];
  return revision > state.revision ? [{ ...state, revision, exact: true }] : [];
}

/** A new value: with its revision if that was told, else with some greater one. */
function written(state: KeyState, value: string | undefined, revision: number | undefined): KeyState[] {
  if (revision === undefined) return [{ value, revision: state.revision, exact: false }];
  return revision > state.revision ? [{ value, revision, exact: true }] : [];
}

function afterSetIfRevision(
  state: KeyState,
  value: string,
  expected: number,
  output: KeyOutput | undefined,
): KeyState[] {
  const matching =
    expected === 0 ? absentOnly(state) : presentOnly(state).flatMap((at) => bound(at, expected));
  const mismatching =
    expected === 0
      ? presentOnly(state)
      : state.value !== undefined && isExactly(state, expected)
        ? []
        : [state];
  if (output === undefined)
    return [...matching.flatMap((at) => written(at, value, undefined)), ...mismatching];
  if (output.type === "mismatch") return mismatching;
  if (output.type !== "written") return [];
  return matching.flatMap((at) => written(at, value, output.revision));
}

const absentOnly = (state: KeyState): KeyState[] => (state.value === undefined ? [state] : []);
const presentOnly = (state: KeyState): KeyState[] => (state.value === undefined ? [] : [state]);
const isExactly = (state: KeyState, revision: number): boolean => state.exact && state.revision === revision;

function afterIncrement(state: KeyState, amount: number, output: KeyOutput | undefined): KeyState[] {
  if (state.value !== undefined && !INTEGER.test(state.value))
    return output === undefined || output.type === "notAnInteger" ? [state] : [];
  const sum = (BigInt(state.value ?? "0") + BigInt(amount)).toString();
  if (output !== undefined && (output.type !== "incremented" || output.value !== sum)) return [];
  return written(state, sum, output?.revision);
}

function afterDelete(state: KeyState, output: KeyOutput | undefined): KeyState[] {
  const there = state.value !== undefined;
  if (output !== undefined && (output.type !== "deleted" || output.there !== there)) return [];
  return there ? written(state, undefined, undefined) : [state];
}

export type KeyCall = Call<KeyInput, KeyOutput> & { readonly key: string };

/** Throws when the history of some key has no order that explains it. */
export function checkKeysLinearizable(history: readonly KeyCall[]): void {
  const byKey = new Map<string, KeyCall[]>();
  for (const call of history) {
    const calls = byKey.get(call.key);
    if (calls === undefined) byKey.set(call.key, [call]);
    else calls.push(call);
  }
  for (const [key, calls] of byKey) {
    const verdict = checkLinearizable(keyModel, calls);
    if (verdict.type === "linearizable") continue;
    if (verdict.type === "undecided") throw new PromiseBroken("linearizable", `${key}: ${verdict.reason}`);
    const lines = (some: readonly Call<KeyInput, KeyOutput>[]): string => some.map(lineOf).join("\n");
    throw new PromiseBroken(
      "linearizable",
      `key ${key}\nin order so far:\n${lines(verdict.furthest.slice(-8))}\nand then none of:\n${lines(verdict.stuck)}`,
    );
  }
}

function lineOf(call: Call<KeyInput, KeyOutput>): string {
  return `  ${call.began}–${call.ended} ${JSON.stringify(call.input)} → ${JSON.stringify(call.output) ?? "unanswered"}`;
}
