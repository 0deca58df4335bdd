/** The linearizability checker, tested on histories whose verdict is known. */
import { describe, expect, test } from "vitest";
import { type KeyInput, type KeyOutput, keyModel } from "../../props/checkers/key-model.js";
import { CALLS_MAX, type Call, checkLinearizable } from "../../props/checkers/linearizability.js";
import { seededRandom } from "../../props/run-settings.js";

type KeyHistory = Call<KeyInput, KeyOutput>[];

const call = (began: number, ended: number, input: KeyInput, output?: KeyOutput): KeyHistory[number] => ({
  began,
  ended,
  input,
  output,
});
const open = Number.POSITIVE_INFINITY;
const get: KeyInput = { type: "get" };
const remove: KeyInput = { type: "delete" };
const increment: KeyInput = { type: "increment", amount: 1 };
const set = (value: string): KeyInput => ({ type: "set", value });
const setIf = (value: string, revision: number): KeyInput => ({ type: "setIfRevision", value, revision });
const found = (value: string, revision: number): KeyOutput => ({ type: "found", value, revision });
const written = (revision?: number): KeyOutput => ({ type: "written", revision });
const incremented = (value: string): KeyOutput => ({ type: "incremented", value });
const absent: KeyOutput = { type: "absent" };
const mismatch: KeyOutput = { type: "mismatch" };
const deleted = (there: boolean): KeyOutput => ({ type: "deleted", there });

const verdictOf = (history: KeyHistory): string => checkLinearizable(keyModel, history).type;

const good: Record<string, KeyHistory> = {
  "nothing happened": [],
  "one after the other": [call(1, 2, set("a"), written(5)), call(3, 4, get, found("a", 5))],
  "a read beside a write sees the old value": [call(1, 4, set("a"), written(5)), call(2, 3, get, absent)],
  "a read beside a write sees the new value": [
    call(1, 4, set("a"), written(5)),
    call(2, 3, get, found("a", 5)),
  ],
  "two increments at once": [
    call(1, 4, increment, incremented("2")),
    call(2, 3, increment, incremented("1")),
  ],
  "an unanswered write that was seen": [call(1, open, set("a")), call(2, 3, get, found("a", 9))],
  "an unanswered write that was never seen": [call(1, open, set("a")), call(2, 3, get, absent)],
  "an unanswered write that shows late": [
    call(1, open, set("a")),
    call(2, 3, get, absent),
    call(4, 5, get, found("a", 7)),
  ],
  "an unanswered increment between two answered ones": [
    call(1, 2, increment, incremented("1")),
    call(3, open, increment),
    call(4, 5, increment, incremented("3")),
  ],
  "an unanswered write that happened before the process ended": [
    call(1, 6, set("a")),
    call(2, 3, get, absent),
    call(4, 5, get, found("a", 9)),
  ],
  "an unanswered write that the end of the process took along": [
    call(1, 2, set("a")),
    call(3, 4, get, absent),
  ],
  "unanswered writes of two lives, of which the second happened": [
    call(1, 3, set("a")),
    call(2, 3, set("b")),
    call(4, 6, set("c")),
    call(7, 8, get, found("c", 5)),
  ],
  "one of two conditional writes wins": [
    call(1, 2, set("a"), written(3)),
    call(3, 6, setIf("b", 3), written(4)),
    call(4, 5, setIf("c", 3), mismatch),
  ],
  "an unanswered conditional write may have won": [
    call(1, 2, set("a"), written(3)),
    call(3, open, setIf("b", 3)),
    call(4, 5, setIf("c", 3), mismatch),
    call(6, 7, get, found("b", 8)),
  ],
  "a delete that found nothing, before the write": [
    call(1, 4, remove, deleted(false)),
    call(2, 3, set("a"), written(1)),
    call(5, 6, get, found("a", 1)),
  ],
  "an increment of text is refused": [
    call(1, 2, set("a"), written(1)),
    call(3, 4, increment, { type: "notAnInteger" }),
  ],
};

const bad: Record<string, KeyHistory> = {
  "a stale read": [
    call(1, 2, set("a"), written(1)),
    call(3, 4, set("b"), written(2)),
    call(5, 6, get, found("a", 1)),
  ],
  "a lost update": [call(1, 2, set("a"), written(1)), call(3, 4, get, absent)],
  "two increments told the same sum": [
    call(1, 3, increment, incremented("1")),
    call(2, 4, increment, incremented("1")),
  ],
  "an increment that counted twice": [
    call(1, 2, increment, incremented("1")),
    call(3, 4, get, found("2", 1)),
  ],
  "two conditional writes on one revision": [
    call(1, 2, set("a"), written(3)),
    call(3, 6, setIf("b", 3), written(4)),
    call(4, 5, setIf("c", 3), written(5)),
  ],
  "a refused conditional write whose revision was right": [
    call(1, 2, set("a"), written(3)),
    call(3, 4, setIf("b", 3), mismatch),
  ],
  "a value that nobody wrote": [call(1, 2, get, found("x", 1))],
  "a value seen and then taken back": [
    call(1, open, set("a")),
    call(2, 3, get, found("a", 1)),
    call(4, 5, get, absent),
  ],
  "an unanswered write that happens after the process ended": [
    call(1, 2, set("a")),
    call(3, 4, get, absent),
    call(5, 6, get, found("a", 7)),
  ],
  "an unanswered write of the life before, over one of the next": [
    call(1, 3, set("a")),
    call(4, 5, set("b"), written(5)),
    call(6, 7, get, found("a", 6)),
  ],
  "two reads in a row that go back in time": [
    call(1, 10, set("a"), written(1)),
    call(2, 3, get, found("a", 1)),
    call(4, 5, get, absent),
  ],
  "a revision that went down": [call(1, 2, set("a"), written(5)), call(3, 4, set("b"), written(4))],
  "a read with another write's revision": [call(1, 2, set("a"), written(5)), call(3, 4, get, found("a", 6))],
  "a delete that both callers were told": [
    call(1, 2, set("a"), written(1)),
    call(3, 6, remove, deleted(true)),
    call(4, 5, remove, deleted(true)),
  ],
  "an unanswered write that began after the read that shows it": [
    call(1, 2, get, found("a", 1)),
    call(3, open, set("a")),
  ],
};

describe("linearizability checker", () => {
  for (const [name, history] of Object.entries(good))
    test(`accepts ${name}`, () => expect(verdictOf(history)).toBe("linearizable"));
  for (const [name, history] of Object.entries(bad))
    test(`refuses ${name}`, () => expect(verdictOf(history)).toBe("broken"));

  test("names the calls of which one had to come next", () => {
    const verdict = checkLinearizable(keyModel, bad["a stale read"] ?? []);
    expect(verdict.type === "broken" ? [verdict.furthest.length, verdict.stuck.length] : []).toEqual([2, 1]);
  });

  test("does not decide past its limits", () => {
    const endless = Array.from({ length: CALLS_MAX + 1 }, (_, at) => call(2 * at, 2 * at + 1, get, absent));
    expect(verdictOf(endless)).toBe("undecided");
  });

  test("accepts what a sequential key gave to overlapping callers, and refuses it with one answer changed", () => {
    let refused = 0;
    for (let seed = 1; seed <= 150; seed += 1) {
      const random = seededRandom(seed);
      const history = overlappingHistory(random, 60, 8);
      expect(verdictOf(history), `seed ${seed}`).toBe("linearizable");
      const reads = history.filter((one) => one.output?.type === "found");
      const spoiled = reads[Math.floor(random() * reads.length)];
      if (spoiled === undefined) continue;
      const changed = history.map((one) => (one === spoiled ? { ...one, output: found("never", 1) } : one));
      expect(verdictOf(changed), `seed ${seed}`).toBe("broken");
      refused += 1;
    }
    expect(refused).toBeGreaterThan(100);
  });

  test("decides 2,000 calls of 12 clients with 40 of them unanswered", () => {
    expect(verdictOf(overlappingHistory(seededRandom(5), 2000, 12, 0.02))).toBe("linearizable");
  });
});

/** A history that is linearizable by construction: each call happens at one moment, its begin and end lie around it. */
function overlappingHistory(
  random: () => number,
  calls: number,
  clients: number,
  unanswered = 0.05,
): KeyHistory {
  const history: KeyHistory = [];
  const freeFrom = new Array<number>(clients).fill(0);
  let value: string | undefined;
  let revision = 0;
  for (let moment = 1; moment <= calls; moment += 1) {
    const client = Math.floor(random() * clients);
    if ((freeFrom[client] ?? 0) >= moment) continue;
    const began = Math.max(freeFrom[client] ?? 0, moment - random() * clients);
    const ended = moment + random() * clients;
    freeFrom[client] = ended;
    const draw = random();
    let input: KeyInput = get;
    let output: KeyOutput = value === undefined ? absent : found(value, revision);
    if (draw < 0.3) {
      revision += 1;
      value = String(moment);
      [input, output] = [set(value), written(revision)];
    } else if (draw < 0.5) {
      revision += 1;
      value = String(BigInt(value ?? "0") + 1n);
      [input, output] = [increment, incremented(value)];
    } else if (draw < 0.6) {
      const there = value !== undefined;
      if (there) revision += 1;
      value = undefined;
      [input, output] = [remove, deleted(there)];
    } else if (draw < 0.7) {
      const expected = value === undefined ? 0 : revision;
      revision += 1;
      value = String(moment);
      [input, output] = [setIf(value, expected), written(revision)];
    }
    history.push(random() < unanswered ? call(began, open, input) : call(began, ended, input, output));
  }
  return history;
}
