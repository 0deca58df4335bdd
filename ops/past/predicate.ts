/**
 * The little language of `annals bisect`: one question about the state, true or false.
 *
 *   kv.exists:KEY                     the key is there                  queue.exists:NAME    stream.exists:NAME (a room)
 *   kv.equals:KEY=VALUE               its value is this text            kv.length:KEY>N      its value's bytes
 *   queue.depth:NAME>N                ready messages; also queue.delayed, queue.in_flight, queue.dead
 *   stream.length:NAME>=N             events ever published to the room
 *   count.keys>N                      also count.queues, count.streams
 *   !…                                the opposite
 *
 * Numbers are compared with = != < <= > >=. A NAME or KEY that has one of `= < > ! "` in it is written as a JSON string. What is
 * not there has no number: every comparison with it is false.
 */
import { ROOM_PREFIX } from "../../api/index.js";
import { type Context, type Fold, kv, queue, stream, textOf } from "../../projections/index.js";

export interface Predicate {
  readonly text: string;
  /** Judged at the fold's own clock: expiry between two records is nobody's record. */
  holds(fold: Fold): boolean;
}

type Numeric = (fold: Fold, name: string) => number | undefined;
type Judge = (fold: Fold) => boolean;

/** @throws RangeError, saying what was expected. */
export function parsePredicate(text: string): Predicate {
  const isNegated = text.startsWith("!");
  const judge = parseQuestion(isNegated ? text.slice(1).trimStart() : text);
  return { text, holds: isNegated ? (fold) => !judge(fold) : judge };
}

function parseQuestion(text: string): Judge {
  const [, subject, named] = /^([a-z]+\.[a-z_]+)(:?)/.exec(text) ?? [];
  if (subject === undefined) throw notUnderstood(text);
  const rest = text.slice(subject.length + (named?.length ?? 0));
  if (named === "") return countJudge(subject, rest, text);
  const { name, after } = takeName(rest, text);
  const isThere = existence[subject];
  if (isThere !== undefined) {
    if (after !== "") throw notUnderstood(text);
    return (fold) => isThere(fold, name);
  }
  if (subject === "kv.equals") {
    if (!after.startsWith("=")) throw notUnderstood(text);
    const value = after.slice(1);
    return (fold) => textAt(fold, name) === value;
  }
  const number = numbers[subject];
  if (number === undefined) throw notUnderstood(text);
  return compared((fold) => number(fold, name), after, text);
}

function countJudge(subject: string, rest: string, text: string): Judge {
  const count = counts[subject];
  if (count === undefined) throw notUnderstood(text);
  return compared(count, rest, text);
}

/** A JSON string, or everything up to the first sign of a comparison. */
function takeName(text: string, whole: string): { name: string; after: string } {
  if (!text.startsWith('"')) {
    const [name = ""] = /^[^=<>!"]*/.exec(text) ?? [];
    if (name === "") throw notUnderstood(whole);
    return { name, after: text.slice(name.length) };
  }
  const [quoted] = /^"(?:[^"\\]|\\.)*"/.exec(text) ?? [];
  if (quoted === undefined) throw notUnderstood(whole);
  try {
    return { name: String(JSON.parse(quoted)), after: text.slice(quoted.length) };
  } catch {
    throw notUnderstood(whole);
  }
}

function compared(number: (fold: Fold) => number | undefined, rest: string, text: string): Judge {
  const [, comparison, wanted] = /^\s*(!=|<=|>=|=|<|>)\s*(-?\d{1,15})$/.exec(rest) ?? [];
  const compare = comparisons[comparison ?? ""];
  if (compare === undefined || wanted === undefined) throw notUnderstood(text);
  return (fold) => {
    const found = number(fold);
    return found !== undefined && compare(found, Number(wanted));
  };
}

const comparisons: Readonly<Record<string, (found: number, wanted: number) => boolean>> = {
  "=": (found, wanted) => found === wanted,
  "!=": (found, wanted) => found !== wanted,
  "<": (found, wanted) => found < wanted,
  "<=": (found, wanted) => found <= wanted,
  ">": (found, wanted) => found > wanted,
  ">=": (found, wanted) => found >= wanted,
};

const existence: Readonly<Record<string, (fold: Fold, name: string) => boolean>> = {
  "kv.exists": (fold, key) => {
    const found = kv.exists(fold.view, { key }, contextOf(fold));
    return found.type === "seen" && found.answer.exists;
  },
  "queue.exists": (fold, name) => fold.view.queue.queue(name) !== undefined,
  "stream.exists": (fold, room) => lengthOf(fold, room) !== undefined,
};

const numbers: Readonly<Record<string, Numeric>> = {
  "kv.length": (fold, key) => {
    const found = kv.get(fold.view, { key }, contextOf(fold));
    return found.type === "seen" ? found.answer?.bytes.length : undefined;
  },
  "queue.depth": (fold, name) => queueStats(fold, name)?.waiting,
  "queue.delayed": (fold, name) => queueStats(fold, name)?.delayed,
  "queue.in_flight": (fold, name) => queueStats(fold, name)?.inFlight,
  "queue.dead": (fold, name) => queueStats(fold, name)?.dead,
  "stream.length": lengthOf,
};

const counts: Readonly<Record<string, (fold: Fold) => number>> = {
  "count.keys": (fold) => {
    const found = kv.size(fold.view, {}, contextOf(fold));
    return found.type === "seen" ? found.answer.size : 0;
  },
  "count.queues": (fold) => fold.queue.queueCount,
  "count.streams": (fold) => fold.stream.streams.size,
};

function textAt(fold: Fold, key: string): string | undefined {
  const found = kv.get(fold.view, { key }, contextOf(fold));
  return found.type === "seen" && found.answer !== undefined ? textOf(found.answer.bytes) : undefined;
}

function queueStats(fold: Fold, name: string) {
  const found = queue.stats(fold.view, { queue: name }, contextOf(fold));
  return found.type === "seen" ? found.answer : undefined;
}

function lengthOf(fold: Fold, room: string): number | undefined {
  const found = stream.stats(fold.view, { name: ROOM_PREFIX + room }, contextOf(fold));
  return found.type === "seen" ? found.answer.facts.end : undefined;
}

function contextOf(fold: Fold): Context {
  return { now: fold.clock, random: 0, cause: { command: "bisect" } };
}

function notUnderstood(text: string): RangeError {
  return new RangeError(
    `${JSON.stringify(text)} is no predicate; expected kv.exists:KEY, kv.equals:KEY=VALUE, kv.length:KEY>N, queue.exists:NAME, queue.depth:NAME>N (or delayed, in_flight, dead), stream.exists:NAME, stream.length:NAME>=N, count.keys>N (or queues, streams), or one of them behind !`,
  );
}
