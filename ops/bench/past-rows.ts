/** What looking back costs: one key as it was, a million records after the nearest state that there is. */
import { startAnnals } from "./annals.js";
import { fillDirectory, keyOf, MILLION, textOf } from "./million-rows.js";
import { interleave, type Row } from "./row.js";
import { shown, spreadOf } from "./statistics.js";

const AGAIN = 20;

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
    const again: number[] = [];
    const measure = async (warmUp: boolean): Promise<number> => {
      // A server that was just started keeps nothing: neither the thread nor a state.
      const annals = await startAnnals(bench, { fsyncMode: "always", dataDirectory });
      const first = await timeOf(annals.url);
      for (let each = 0; each < AGAIN; each++) {
        const ms = await timeOf(annals.url);
        if (!warmUp) again.push(ms);
      }
      await annals.stop();
      return first;
    };
    const values = await interleave(bench.rounds, [{ name: "annals", measure }]);
    const [first, later] = [spreadOf(values.get("annals") ?? []), spreadOf(again)];
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
