/** What the history of one key costs in a log of ten million records: its own records are read, whatever lies between. */
import type { LogReader, LogRecord } from "../../log/index.js";
import { asIs, kv, openStore, TEXT_TYPE } from "../../projections/index.js";
import { firstAndAgain } from "./first-and-again.js";
import { openBenchLog } from "./log-rows.js";
import { keyOf, MILLION, RULES, textOf } from "./million-rows.js";
import type { Row } from "./row.js";
import { shown } from "./statistics.js";

const KEY = "lived";
const REVISIONS = 100;
const RECORDS = 10 * MILLION;
/** Records that wait for the disk at once. */
const OUTSTANDING = 10_000;

/** Each revision of the key is followed by as many records that set another, all of them appended as they are. */
async function fill(dataDirectory: string): Promise<void> {
  const { log } = await openBenchLog(dataDirectory, "never");
  let dead: Error | undefined;
  const store = await openStore({ log, rules: RULES, onDead: (error) => (dead = error) });
  const set = async (key: string, each: number): Promise<void> => {
    const context = { now: Date.now(), random: 0.5, cause: { command: "kv.set" } };
    const input = { key, value: textOf(each), contentType: TEXT_TYPE };
    const outcome = await store.execute(kv.set, input, context, asIs);
    if (outcome.type === "rejected") throw new Error(`a SET was refused: ${outcome.code}`);
  };
  await set(keyOf(0), 0);
  const other = await newestOf(log);
  for (let revision = 1; revision <= REVISIONS; revision++) {
    await set(KEY, revision);
    for (let each = 1; each < RECORDS / REVISIONS; each++) {
      log.append({ ...other, timestamp: Date.now() });
      if (each % OUTSTANDING === 0) await log.whenCommitted(log.endOffset);
    }
  }
  await log.whenCommitted(log.endOffset);
  if (dead !== undefined) throw dead;
  await store.close();
  await log.close();
}

async function newestOf(log: LogReader): Promise<LogRecord> {
  for await (const [record] of log.read(log.endOffset)) if (record !== undefined) return record;
  throw new Error("the log does not give back what was appended");
}

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
    await fill(dataDirectory);
    const { first, later } = await firstAndAgain(bench, dataDirectory, timeOf);
    const ms = (value: number): string => value.toFixed(1);
    return [
      {
        what: "history of a key with 100 revisions, 10 M records: again",
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
