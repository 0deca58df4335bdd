/** What replicas cost and how quick they are: catching up, live lag, the primary's throughput, a full sync, a promotion. */
import { cpSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { freePort } from "../free-port.js";
import { NODE_FLAGS } from "../launch.js";
import { type SetChild, startSetChild, statsOf, untilStats } from "../set-child.js";
import { fillDirectory, fillRedis, keyOf, MILLION, textOf } from "./million-rows.js";
import { programOf, redisReply, startRedis } from "./peers.js";
import { type Bench, processorSeconds, type Started } from "./processes.js";
import { type Finding, interleave, orAbsent, type Row } from "./row.js";
import { count, percentile, ratios, type Spread, shown, spreadOf } from "./statistics.js";
import { type Load, load } from "./wrk.js";

interface Place {
  readonly name: string;
  readonly dataDirectory: string;
  readonly replicationPort: number;
}

async function newPlace(bench: Bench, name: string): Promise<Place> {
  const dataDirectory = `${bench.newDirectory(`replication-${name}`)}/data`;
  return { name, dataDirectory, replicationPort: await freePort() };
}

async function started(
  bench: Bench,
  place: Place,
  follows?: Place,
  waitFor: "listening" | "ready" = "ready",
): Promise<SetChild> {
  const child = await startSetChild({
    ...place,
    ...(follows !== undefined && { follows: follows.replicationPort }),
    waitFor,
    nodeFlags: NODE_FLAGS,
    environment: {
      ANNALS_LIMITS_MIN_OFFSET_WAIT_MS: "600000",
      ANNALS_REPLICATION_HEARTBEAT_INTERVAL_MS: "100",
      ANNALS_REPLICATION_RECONNECT_DELAY_MS: "100",
      ANNALS_PERSISTENCE_SNAPSHOT_INTERVAL_SECS: "0",
      ANNALS_PERSISTENCE_SNAPSHOT_OPERATION_THRESHOLD: "0",
    },
  });
  bench.onClose(() => child.kill("SIGKILL"));
  return child;
}

async function stopped(child: SetChild): Promise<void> {
  child.kill("SIGTERM");
  await child.ended;
}

const write = (child: SetChild, key: string): Promise<Response> =>
  fetch(`${child.url}/kv/${key}`, { method: "PUT", body: "a value" });

/** From the start of the process until it answers a read that asks for all that the primary has, ms. */
async function caughtUp(bench: Bench, place: Place, primary: SetChild): Promise<number> {
  const end = (await statsOf(primary)).master_offset ?? 0;
  const begun = performance.now();
  const replica = await started(bench, place, primary, "listening");
  await untilRead(`${replica.url}/kv/before?min_offset=${end}`);
  const took = performance.now() - begun;
  await stopped(replica);
  return took;
}

/** Asks once more only while the server opens its log: one that is asked every few milliseconds would be busy with the answers. */
async function untilRead(url: string): Promise<void> {
  for (;;) {
    const { status } = await fetch(url);
    if (status === 200) return;
    if (status !== 503) throw new Error(`${url} was answered with ${status}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

const catchUp: Row = {
  name: "replication-catch-up",
  run: async (bench) => {
    const [one, two] = [await newPlace(bench, "primary"), await newPlace(bench, "replica")];
    const small = await started(bench, one);
    await write(small, "before");
    await caughtUp(bench, two, small);
    await stopped(small);
    await fillDirectory(one.dataDirectory);
    const primary = await started(bench, one);
    const again = async (from: Place): Promise<number> => {
      const copy = await newPlace(bench, "copy");
      cpSync(from.dataDirectory, copy.dataDirectory, { recursive: true });
      return await caughtUp(bench, { ...copy, name: from.name }, primary);
    };
    // What the start of a replica takes that lacks nothing; it has to read its own million.
    const values = await interleave(bench.rounds, [
      { name: "behind", measure: () => again(two) },
      { name: "new", measure: async () => await caughtUp(bench, await newPlace(bench, "new"), primary) },
    ]);
    const startMs = small.readyMs;
    const behind = values.get("behind") ?? [];
    const rate = spreadOf(behind.map((ms) => MILLION / (Math.max(1, ms - startMs) / 1000)));
    const full = spreadOf((values.get("new") ?? []).map((ms) => ms - startMs));
    await stopped(primary);
    return [
      {
        what: "a replica catches up 1 M records of 100 B: sent, verified, synced, applied",
        goal: "≥ 400 k records/s",
        measured: `${shown(rate)} records/s; from nothing, by a full sync, ${shown(full, (ms) => ms.toFixed(0))} ms`,
        reached: rate.median >= 400_000,
        numbers: { recordsPerSecond: rate, fullSyncMs: full },
      },
    ];
  },
};

const WRITES_PER_SECOND = 20_000;
const TICK_MS = 5;
/** A server that cannot keep up is not sent more than this: the row then tells the rate that it had. */
const OUTSTANDING_MAX = 2000;

/** So many writes a second, whatever the answers do; counts those that were answered well. */
class PacedLoad {
  readonly #sockets: Socket[] = [];
  #timer: NodeJS.Timeout | undefined;
  answered = 0;

  async start(port: number): Promise<void> {
    for (let each = 0; each < 16; each++) {
      const socket = connect(port, "127.0.0.1").setNoDelay(true);
      socket.on("data", (chunk) => {
        for (let at = chunk.indexOf(" 20"); at >= 0; at = chunk.indexOf(" 20", at + 3))
          if (chunk.toString("latin1", at - 8, at) === "HTTP/1.1") this.answered++;
      });
      await new Promise((resolve, reject) => socket.once("connect", resolve).once("error", reject));
      this.#sockets.push(socket);
    }
    let sent = 0;
    const begun = performance.now();
    this.#timer = setInterval(() => {
      const due = Math.floor(((performance.now() - begun) / 1000) * WRITES_PER_SECOND);
      const texts = this.#sockets.map(() => "");
      for (; sent < due && sent - this.answered < OUTSTANDING_MAX; sent++)
        texts[sent % texts.length] += requestOf(sent);
      for (const [at, text] of texts.entries()) if (text !== "") this.#sockets[at]?.write(text);
    }, TICK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    for (const socket of this.#sockets) socket.destroy();
  }
}

function requestOf(number: number): string {
  const value = textOf(number % 1000);
  return `PUT /kv/${keyOf(number % 100_000)} HTTP/1.1\r\nHost: a\r\nContent-Type: text/plain\r\nContent-Length: ${value.length}\r\n\r\n${value}`;
}

/** From the answer of a write until a read on the replica that asks for it is answered, ms. */
async function lagOf(primary: SetChild, replica: SetChild): Promise<number> {
  const { headers, status } = await write(primary, "lag");
  if (status >= 300) throw new Error(`a write was answered with ${status}`);
  const token = `${headers.get("x-annals-offset")}@${headers.get("x-annals-lineage")}`;
  const begun = performance.now();
  const read = await fetch(`${replica.url}/kv/lag?min_offset=${token}`);
  await read.arrayBuffer();
  if (read.status !== 200) throw new Error(`a read with ${token} was answered with ${read.status}`);
  return performance.now() - begun;
}

const liveLag: Row = {
  name: "replication-lag",
  run: async (bench) => {
    const [one, two] = [await newPlace(bench, "primary"), await newPlace(bench, "replica")];
    const primary = await started(bench, one);
    const replica = await started(bench, two, one);
    const paced = new PacedLoad();
    await paced.start(primary.port);
    const lags: number[] = [];
    const begun = performance.now();
    const seconds = Math.max(3, bench.seconds * bench.rounds);
    const before = paced.answered;
    while (performance.now() - begun < seconds * 1000) {
      lags.push(await lagOf(primary, replica));
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    const rate = (paced.answered - before) / ((performance.now() - begun) / 1000);
    paced.stop();
    await Promise.all([stopped(replica), stopped(primary)]);
    const sorted = lags.sort((a, b) => a - b);
    const [p50, p99] = [percentile(sorted, 0.5), percentile(sorted, 0.99)];
    return [
      {
        what: `live lag at ${count(WRITES_PER_SECOND)} writes/s: from a write's answer to a read of it on the replica, the read included`,
        goal: "p50 ≤ 5 ms, p99 ≤ 50 ms",
        measured: `p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms at ${count(rate)} writes/s (${lags.length} samples)`,
        reached: rate < 0.9 * WRITES_PER_SECOND ? undefined : p50 <= 5 && p99 <= 50,
        numbers: { p50Ms: p50, p99Ms: p99, writesPerSecond: rate },
      },
    ];
  },
};

/** Processor time that each of the processes took for a write, in every round, µs. */
class Spending {
  readonly #perWrite = new Map<SetChild, number[]>();

  /** While `writes` of a primary run, and until its replicas have all of them. Resolves with what `writes` does. */
  async during(primary: SetChild, replicas: readonly SetChild[], writes: () => Promise<Load>): Promise<Load> {
    const all = [primary, ...replicas];
    const before = all.map(({ pid }) => processorSeconds(pid));
    const done = await writes();
    const end = (await statsOf(primary)).master_offset ?? 0;
    for (const each of replicas)
      await untilStats(each, "has all", ({ replica_offset: at }) => (at ?? 0) >= end);
    for (const [at, child] of all.entries()) {
      const spent = processorSeconds(child.pid) - (before[at] ?? 0);
      this.#perWrite.set(child, [...(this.#perWrite.get(child) ?? []), (spent / done.requests) * 1e6]);
    }
    return done;
  }

  of(child: SetChild): Spread {
    return spreadOf(this.#perWrite.get(child) ?? []);
  }
}

const cost: Row = {
  name: "replication-cost",
  run: async (bench) => {
    const alone = await started(bench, await newPlace(bench, "alone"));
    const one = await newPlace(bench, "primary");
    const primary = await started(bench, one);
    const [first, second] = [
      await started(bench, await newPlace(bench, "replica-1"), one),
      await started(bench, await newPlace(bench, "replica-2"), one),
    ];
    const spending = new Spending();
    const measure = async (child: SetChild, replicas: SetChild[], warmUp: boolean): Promise<number> => {
      const writes = (seconds: number) => load(bench, child.port, "annalsPut", 64, seconds);
      if (warmUp) return (await writes(1)).requestsPerSecond;
      return (await spending.during(child, replicas, () => writes(bench.seconds))).requestsPerSecond;
    };
    const values = await interleave(bench.rounds, [
      { name: "alone", measure: (warmUp) => measure(alone, [], warmUp) },
      { name: "with two", measure: (warmUp) => measure(primary, [first, second], warmUp) },
    ]);
    const [without, withTwo] = [values.get("alone") ?? [], values.get("with two") ?? []];
    await Promise.all([first, second, primary, alone].map(stopped));
    const left = ratios(withTwo, without);
    return [
      {
        what: "durable PUT, 64 connections: with two replicas on the same machine",
        goal: "≤ 35 % less",
        measured: `${shown(spreadOf(withTwo))} requests/s, alone ${shown(spreadOf(without))}: ${((1 - left.median) * 100).toFixed(0)} % less`,
        reached: left.median >= 0.65,
        numbers: { ratio: left, withTwo: spreadOf(withTwo), alone: spreadOf(without) },
      },
      processorTime(
        spending.of(alone),
        spending.of(primary),
        [first, second].map((child) => spending.of(child)),
      ),
    ];
  },
};

/** What replicas cost where each has a machine of its own is the primary's difference, and nothing else. */
function processorTime(alone: Spread, primary: Spread, replicas: readonly Spread[]): Finding {
  const us = (spread: Spread): string => `${shown(spread, (value) => value.toFixed(1))} µs`;
  return {
    what: "processor time of each of these writes, user and system, all threads",
    goal: "reported",
    measured: `alone ${us(alone)}; primary of two ${us(primary)}, its replicas ${replicas.map(us).join(" and ")}`,
    reached: undefined,
    numbers: {
      aloneUs: alone,
      primaryUs: primary,
      ...Object.fromEntries(replicas.map((spread, at) => [`replica${at + 1}Us`, spread])),
    },
  };
}

/** From the start of an empty redis until it has the primary's million keys, ms. */
async function redisSync(bench: Bench, primary: Started): Promise<number> {
  const directory = bench.newDirectory("redis-replica");
  const port = await freePort();
  const settings = { "--port": port, "--bind": "127.0.0.1", "--dir": directory, "--save": "" };
  const common = Object.entries({ ...settings, "--repl-diskless-sync-delay": 0 })
    .flat()
    .map(String);
  const args = [...common, "--replicaof", `127.0.0.1 ${primary.port}`];
  const begun = performance.now();
  const ready = async (): Promise<boolean> => {
    const size = await redisReply(port, "DBSIZE\r\n", 1).catch(() => "");
    return size === `:${MILLION}\r\n`;
  };
  const replica = await bench.start({
    name: "redis replica",
    port,
    directory,
    command: programOf("redis-server"),
    args,
    ready,
  });
  const took = performance.now() - begun;
  await replica.stop("SIGKILL");
  return took;
}

const fullSync: Row = {
  name: "replication-full-sync",
  run: async (bench) => {
    const one = await newPlace(bench, "primary");
    await fillDirectory(one.dataDirectory);
    const primary = await started(bench, one);
    const redis = await orAbsent(async () => {
      const filled = await startRedis(bench, "everysec");
      await fillRedis(filled);
      return filled;
    });
    const ours = async (): Promise<number> => await caughtUp(bench, await newPlace(bench, "new"), primary);
    const values = await interleave(bench.rounds, [
      { name: "annals", measure: ours },
      ...(typeof redis === "string" ? [] : [{ name: "redis", measure: () => redisSync(bench, redis) }]),
    ]);
    await stopped(primary);
    const annals = spreadOf(values.get("annals") ?? []);
    const finding: Finding = {
      what: "full sync of 1 M keys: from the start of an empty process until all can be read",
      goal: "≤ 1.5 × redis",
      measured: `${shown(annals, (ms) => ms.toFixed(0))} ms; ${typeof redis === "string" ? redis : ""}`,
      reached: undefined,
      numbers: { annalsMs: annals },
    };
    const theirs = values.get("redis");
    if (theirs === undefined) return [finding];
    const ratio = ratios(values.get("annals") ?? [], theirs);
    return [
      {
        ...finding,
        measured: `${shown(annals, (ms) => ms.toFixed(0))} ms, redis ${shown(spreadOf(theirs), (ms) => ms.toFixed(0))} ms: ${ratio.median.toFixed(2)} ×`,
        reached: ratio.median <= 1.5,
        numbers: { annalsMs: annals, redisMs: spreadOf(theirs), ratio },
      },
    ];
  },
};

/** The primary is killed, a replica promoted: ms until it has answered a write. */
async function failOver(bench: Bench): Promise<number> {
  const [one, two, three] = await Promise.all(["one", "two", "three"].map((name) => newPlace(bench, name)));
  if (one === undefined || two === undefined || three === undefined) throw new Error("no places");
  const primary = await started(bench, one);
  const replicas = [await started(bench, two, one), await started(bench, three, one)];
  for (const replica of replicas) await untilStats(replica, "is listed", ({ listed }) => listed === true);
  await write(primary, "before");
  const [next] = replicas;
  if (next === undefined) throw new Error("no replica");
  const end = (await statsOf(primary)).master_offset ?? 0;
  for (const each of replicas)
    await untilStats(each, "has all", ({ replica_offset: at }) => (at ?? 0) >= end);
  primary.kill("SIGKILL");
  await primary.ended;
  const begun = performance.now();
  const promoted = await fetch(`${next.url}/api/replication/promote`, { method: "POST" });
  if (!promoted.ok) throw new Error(`the promotion was refused: ${await promoted.text()}`);
  while (!(await write(next, "after")).ok) await new Promise((resolve) => setTimeout(resolve, 5));
  const took = performance.now() - begun;
  for (const replica of replicas) replica.kill("SIGKILL");
  return took;
}

const promotion: Row = {
  name: "replication-promotion",
  run: async (bench) => {
    const values = await interleave(bench.rounds, [{ name: "promotion", measure: () => failOver(bench) }]);
    const ms = spreadOf(values.get("promotion") ?? []);
    return [
      {
        what: "promotion of one of two replicas after kill -9 of the primary, to the first answered write",
        goal: "≤ 2 s",
        measured: `${shown(ms, (each) => each.toFixed(0))} ms`,
        reached: ms.max <= 2000,
        numbers: { ms },
      },
    ];
  },
};

const SWITCHOVER_WRITERS = 16;
const AROUND_MS = 500;

/** Under writes the lead goes from one node to another: the longest time without an answered write, and answered writes that are gone. */
async function switchOver(bench: Bench): Promise<{ readonly pausedMs: number; readonly lost: number }> {
  const [one, two, three] = [
    await newPlace(bench, "one"),
    await newPlace(bench, "two"),
    await newPlace(bench, "three"),
  ];
  const primary = await started(bench, one);
  const [next, other] = [await started(bench, two, one), await started(bench, three, one)];
  for (const replica of [next, other])
    await untilStats(replica, "is listed", ({ listed }) => listed === true);
  const answered: string[] = [];
  let [leader, isOver, last, pausedMs] = [primary, false, performance.now(), 0];
  const writer = async (number: number): Promise<void> => {
    for (let at = 0; !isOver; at += 1) {
      const key = `${number}-${at}`;
      const response = await write(leader, key);
      await response.arrayBuffer();
      if (response.headers.get("x-annals-primary") === next.url) leader = next;
      if (!response.ok) continue;
      answered.push(key);
      const now = performance.now();
      pausedMs = Math.max(pausedMs, now - last);
      last = now;
    }
  };
  const writers = Array.from({ length: SWITCHOVER_WRITERS }, (_, number) => writer(number));
  await new Promise((resolve) => setTimeout(resolve, AROUND_MS));
  const body = JSON.stringify({ to: two.name });
  const headers = { "content-type": "application/json" };
  const moved = await fetch(`${primary.url}/api/replication/switchover`, { method: "POST", headers, body });
  if (!moved.ok) throw new Error(`the switchover was refused: ${await moved.text()}`);
  await new Promise((resolve) => setTimeout(resolve, AROUND_MS));
  isOver = true;
  await Promise.all(writers);
  let lost = 0;
  for (const key of answered) if (!(await fetch(`${next.url}/kv/${key}`)).ok) lost += 1;
  await Promise.all([primary, next, other].map(stopped));
  return { pausedMs, lost };
}

const switchover: Row = {
  name: "replication-switchover",
  run: async (bench) => {
    let lost = 0;
    const measure = async (): Promise<number> => {
      const found = await switchOver(bench);
      lost += found.lost;
      return found.pausedMs;
    };
    const values = await interleave(bench.rounds, [{ name: "switchover", measure }]);
    const ms = spreadOf(values.get("switchover") ?? []);
    return [
      {
        what: `switchover with ${SWITCHOVER_WRITERS} writers and three nodes: writes paused`,
        goal: "≤ 3 s, no answered write lost",
        measured: `${shown(ms, (each) => each.toFixed(0))} ms at the longest, ${lost} lost`,
        reached: ms.max <= 3000 && lost === 0,
        numbers: { pausedMs: ms, lost },
      },
    ];
  },
};

export const REPLICATION_ROWS: readonly Row[] = [catchUp, liveLag, cost, fullSync, promotion, switchover];
