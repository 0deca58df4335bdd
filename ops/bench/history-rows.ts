/** What the history of one key costs in a log of a million records: its own records are read, whatever lies between. */
import { firstAndAgain } from "./first-and-again.js";
import { fillDirectory, keyOf, MILLION } from "./million-rows.js";
import type { Row } from "./row.js";
import { shown } from "./statistics.js";

const KEY = "lived";
const REVISIONS = 100;

/** Ms until the answer is there. */
async function timeOf(url: string): Promise<number> {
  const begun = performance.now();
  const response = await fetch(`${url}/kv/${KEY}/history?limit=${REVISIONS}`);
  const text = await response.text();
  const ms = performance.now() - begun;
  const { revisions, complete } = JSON.parse(text);
  if (revisions?.length !== REVISIONS || complete !== true)
    throw new Error(`${response.status}: ${text.slice(0, 200)}`);
  return ms;
}

const history: Row = {
  name: "history",
  run: async (bench) => {
    const dataDirectory = bench.newDirectory("history");
    const apart = MILLION / REVISIONS;
    await fillDirectory(dataDirectory, (number) => (number % apart === 0 ? KEY : keyOf(number)));
    const { first, later } = await firstAndAgain(bench, dataDirectory, timeOf);
    const ms = (value: number): string => value.toFixed(1);
    return [
      {
        what: "history of a key with 100 revisions, 1 M records: again",
        goal: "≤ 20 ms",
        measured: `${shown(later, ms)} ms`,
        reached: later.median <= 20,
        numbers: { againMs: later },
      },
      {
        what: "history of a key: the first request of a server",
        goal: "–",
        measured: `${shown(first, ms)} ms`,
        reached: undefined,
        numbers: { firstMs: first },
      },
    ];
  },
};

export const HISTORY_ROWS: readonly Row[] = [history];
