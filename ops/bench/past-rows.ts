/** What looking back costs: one key as it was, a million records after the nearest state that there is. */
import { firstAndAgain } from "./first-and-again.js";
import { fillDirectory, keyOf, MILLION, textOf } from "./million-rows.js";
import type { Row } from "./row.js";
import { shown } from "./statistics.js";

/** Offset 1 is the log's own, so this is the second last record, and its key has this number. */
const AT = MILLION;
const NUMBER = AT - 2;

/** Ms until the answer is there. */
async function timeOf(url: string): Promise<number> {
  const begun = performance.now();
  const response = await fetch(`${url}/kv/get/${keyOf(NUMBER)}?at=${AT}`);
  const value = await response.json();
  const ms = performance.now() - begun;
  if (value !== textOf(NUMBER)) throw new Error(`${response.status}: not the value that was there`);
  return ms;
}

const look: Row = {
  name: "past",
  run: async (bench) => {
    const dataDirectory = bench.newDirectory("past");
    await fillDirectory(dataDirectory);
    const { first, later } = await firstAndAgain(bench, dataDirectory, timeOf);
    const ms = (value: number): string => value.toFixed(value < 10 ? 1 : 0);
    return [
      {
        what: "?at= of one key, 1 M records after the nearest state: first time",
        goal: "≤ 3 s",
        measured: `${shown(first, ms)} ms, the start of the thread included`,
        reached: first.median <= 3000,
        numbers: { firstMs: first },
      },
      {
        what: "?at= of one key: again",
        goal: "≤ 50 ms",
        measured: `${shown(later, ms)} ms`,
        reached: later.median <= 50,
        numbers: { againMs: later },
      },
    ];
  },
};

export const PAST_ROWS: readonly Row[] = [look];
