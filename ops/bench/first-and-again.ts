/** What a request costs a server that was just started, which keeps nothing yet, and what the same costs after that. */
import { startAnnals } from "./annals.js";
import type { Bench } from "./processes.js";
import { interleave } from "./row.js";
import { type Spread, spreadOf } from "./statistics.js";

const AGAIN = 20;

/** `timeOf` asks the server at `url` and tells the ms until the answer is there. */
export async function firstAndAgain(
  bench: Bench,
  dataDirectory: string,
  timeOf: (url: string) => Promise<number>,
): Promise<{ readonly first: Spread; readonly later: Spread }> {
  const again: number[] = [];
  const measure = async (warmUp: boolean): Promise<number> => {
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
  return { first: spreadOf(values.get("annals") ?? []), later: spreadOf(again) };
}
