/** Rows with a million keys: how fast they are there again after a start, and what they cost in memory. */
import { connect } from "node:net";
import {
  asIs,
  DEFAULT_IDEMPOTENCY_RULES,
  DEFAULT_QUEUE_RULES,
  DEFAULT_STREAM_RULES,
  kv,
  openStore,
  REMOVED_KEYS_BYTES_MAX,
  type StoreRules,
  TEXT_TYPE,
} from "../../projections/index.js";
import { type Annals, metricsOf, startAnnals } from "./annals.js";
import { openBenchLog } from "./log-rows.js";
import { redisReply, startRedis } from "./peers.js";
import { type Bench, residentBytes, type Started } from "./processes.js";
import { interleave, orAbsent, type Row } from "./row.js";
import { count, ratios, shown, spreadOf } from "./statistics.js";

export const MILLION = 1_000_000;

export const keyOf = (at: number): string => `key:${String(at).padStart(16, "0")}`;

/** 100 characters, different for each key, the same in every run. */
export function textOf(at: number): string {
  let text = "";
  for (let state = (at * 2_654_435_761 + 1) >>> 0; text.length < 100; ) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    text += state.toString(36).padStart(7, "0");
  }
  return text.slice(0, 100);
}

export const RULES: StoreRules = {
  kv: {
    maxMemoryBytes: 4 * 1024 ** 3,
    evictionPolicy: "noeviction",
    allowFlush: false,
    keyBytesMax: 4096,
    valueBytesMax: 8 << 20,
    removedKeysBytesMax: REMOVED_KEYS_BYTES_MAX,
  },
  queue: DEFAULT_QUEUE_RULES,
  stream: DEFAULT_STREAM_RULES,
  idempotency: DEFAULT_IDEMPOTENCY_RULES,
};

/** A data directory with a million records, each one SET, as a server would have written them. */
export async function fillDirectory(
  dataDirectory: string,
  keyAt: (number: number) => string = keyOf,
): Promise<void> {
  const { log } = await openBenchLog(dataDirectory, "never");
  let dead: Error | undefined;
  const store = await openStore({ log, rules: RULES, onDead: (error) => (dead = error) });
  for (let from = 0; from < MILLION; from += 5000) {
    const now = Date.now();
    const sets = Array.from({ length: 5000 }, (_, each) => {
      const [key, value] = [keyAt(from + each), textOf(from + each)];
      const context = { now, random: 0.5, cause: { command: "kv.set" } };
      return store.execute(kv.set, { key, value, contentType: TEXT_TYPE }, context, asIs);
    });
    const refused = (await Promise.all(sets)).find((outcome) => outcome.type === "rejected");
    if (refused !== undefined) throw new Error(`a SET was refused: ${refused.code}`);
    if (dead !== undefined) throw dead;
  }
  await store.close();
  await log.close();
}

/** The same million SETs into redis, pipelined; it keeps them as an append-only file of plain commands. */
export async function fillRedis(redis: Started): Promise<void> {
  const socket = connect(redis.port, "127.0.0.1");
  let answered = 0;
  let wanted = 0;
  let wake: (() => void) | undefined;
  let failure: Error | undefined;
  socket.on("data", (chunk) => {
    for (const byte of chunk) if (byte === 10) answered++;
    if (answered >= wanted) wake?.();
  });
  socket.on("error", (error) => {
    failure = error;
    wake?.();
  });
  for (let from = 0; from < MILLION; from += 5000) {
    let commands = "";
    for (let at = from; at < from + 5000; at++) {
      commands += `*3\r\n$3\r\nSET\r\n$20\r\n${keyOf(at)}\r\n$100\r\n${textOf(at)}\r\n`;
    }
    wanted = from + 5000;
    const done = new Promise<void>((resolve) => {
      wake = resolve;
    });
    socket.write(commands);
    await done;
    if (failure !== undefined) throw failure;
  }
  socket.destroy();
  const size = await redisReply(redis.port, "DBSIZE\r\n", 1);
  if (size !== `:${MILLION}\r\n`) throw new Error(`redis has ${size.trim()} keys instead of ${MILLION}`);
}

async function totalKeys(annals: Annals): Promise<number> {
  const stats = (await (await fetch(`${annals.url}/kv/stats`)).json()) as { total_keys: number };
  return stats.total_keys;
}

/** A million over HTTP, a thousand keys a request, so that the memory that requests need counts too. */
async function fillOverHttp(annals: Annals): Promise<void> {
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < MILLION) {
      const from = next;
      next += 1000;
      const pairs = Array.from({ length: 1000 }, (_, each) => ({
        key: keyOf(from + each),
        value: textOf(from + each),
      }));
      const response = await fetch(`${annals.url}/kv/mset`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ pairs }),
      });
      if (!response.ok) throw new Error(`mset was answered ${response.status}: ${await response.text()}`);
      await response.arrayBuffer();
    }
  };
  await Promise.all([worker(), worker(), worker(), worker()]);
  const keys = await totalKeys(annals);
  if (keys !== MILLION) throw new Error(`${keys} keys instead of ${MILLION}`);
}

const replay: Row = {
  name: "replay",
  run: async (bench) => {
    const dataDirectory = bench.newDirectory("replay");
    await fillDirectory(dataDirectory);
    const redisDirectory = bench.newDirectory("redis-aof");
    const absent = await orAbsent(async () => {
      const redis = await startRedis(bench, "no", redisDirectory);
      await fillRedis(redis);
      await redis.stop();
    });
    const empty = bench.newDirectory("replay-empty");
    const folded: number[] = [];
    const start = async (directory: string, warmUp: boolean): Promise<number> => {
      const annals = await startAnnals(bench, { fsyncMode: "always", dataDirectory: directory });
      const keys = await totalKeys(annals);
      if (directory === dataDirectory && keys !== MILLION) throw new Error(`${keys} keys after the replay`);
      const seconds = Object.values(await metricsOf(annals, /replay\w*_seconds$/)).at(0);
      if (!warmUp && directory === dataDirectory && seconds !== undefined) folded.push(MILLION / seconds);
      await annals.stop();
      return annals.readyMs;
    };
    const contestants = [
      { name: "annals", measure: (warmUp: boolean) => start(dataDirectory, warmUp) },
      { name: "empty", measure: (warmUp: boolean) => start(empty, warmUp) },
    ];
    const restartRedis = async (): Promise<number> => {
      const redis = await startRedis(bench, "no", redisDirectory);
      await redis.stop();
      return redis.readyMs;
    };
    if (typeof absent !== "string") contestants.push({ name: "redis", measure: restartRedis });
    const values = await interleave(bench.rounds, contestants);
    const ours = values.get("annals") ?? [];
    const bare = values.get("empty") ?? [];
    const beyondEmpty = spreadOf(ours.map((ms, round) => MILLION / ((ms - (bare[round] ?? 0)) / 1000)));
    const ready = spreadOf(ours);
    const reported = folded.length === 0 ? undefined : spreadOf(folded);
    const what = "replay of 1 M kv records at start";
    const rate = {
      what,
      goal: "≥ 500 k events/s",
      measured: `${shown(beyondEmpty)} events/s (start beyond that of an empty directory)${reported === undefined ? "" : `; ${shown(reported)}/s by its own metric`}`,
      reached: beyondEmpty.median >= 500_000,
      numbers: {
        eventsPerSecond: beyondEmpty,
        readyMs: ready,
        emptyReadyMs: spreadOf(bare),
        ...(reported && { reported }),
      },
    };
    return [rate, besideRedis(what, ours, values.get("redis") ?? String(absent))];
  },
};

const wholeMs = (value: number): string => value.toFixed(0);

function besideRedis(what: string, ours: readonly number[], theirs: readonly number[] | string) {
  const goal = "≤ 1.6 × redis-server with the same AOF";
  const ready = spreadOf(ours);
  if (typeof theirs === "string") {
    return {
      what,
      goal,
      measured: `ready after ${shown(ready, wholeMs)} ms; ${theirs}`,
      reached: undefined,
      numbers: { readyMs: ready },
    };
  }
  const [ratio, redis] = [ratios(ours, theirs), spreadOf(theirs)];
  return {
    what,
    goal,
    measured: `${shown(ratio, (value) => value.toFixed(2))} × : ready after ${shown(ready, wholeMs)} ms beside ${shown(redis, wholeMs)} ms`,
    reached: ratio.median <= 1.6,
    numbers: { ratio, readyMs: ready, redisReadyMs: redis },
  };
}

const SETTLE_MS = 3000;
const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, SETTLE_MS));

async function annalsMemory(bench: Bench): Promise<{ loaded: number; restarted: number }> {
  const bare = await startAnnals(bench, { fsyncMode: "always" });
  await settle();
  const emptyBytes = residentBytes(bare.pid);
  await fillOverHttp(bare);
  await settle();
  const loaded = (residentBytes(bare.pid) - emptyBytes) / MILLION;
  await bare.stop();
  const again = await startAnnals(bench, { fsyncMode: "always", dataDirectory: bare.dataDirectory });
  await settle();
  const restarted = (residentBytes(again.pid) - emptyBytes) / MILLION;
  await again.stop();
  return { loaded, restarted };
}

async function redisMemory(bench: Bench): Promise<number> {
  const redis = await startRedis(bench, "no");
  const emptyBytes = residentBytes(redis.pid);
  await fillRedis(redis);
  await settle();
  const perKey = (residentBytes(redis.pid) - emptyBytes) / MILLION;
  await redis.stop();
  return perKey;
}

const memory: Row = {
  name: "memory",
  run: async (bench) => {
    const { loaded, restarted } = await annalsMemory(bench);
    const redis = await orAbsent(() => redisMemory(bench));
    const peer = typeof redis === "string" ? redis : `redis ${count(redis)} B`;
    return [
      {
        what: "resident memory, 1 M keys (20 B key, 100 B value)",
        goal: "≤ 400 B a key",
        measured: `${count(loaded)} B a key after loading, ${count(restarted)} B after a restart; ${peer}`,
        reached: Math.max(loaded, restarted) <= 400,
        numbers: { loadedBytesPerKey: loaded, restartedBytesPerKey: restarted, redis },
      },
    ];
  },
};

export const MILLION_ROWS: readonly Row[] = [replay, memory];
