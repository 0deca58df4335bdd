/** Rows measured over HTTP with wrk: ours beside webdis + redis and beside etcd, in the same rounds. */
import { type Annals, type AnnalsOptions, metricsOf, startAnnals } from "./annals.js";
import { type RedisSync, startEtcd, startWebdis } from "./peers.js";
import type { Bench } from "./processes.js";
import { type Contestant, type Finding, interleave, orAbsent, type Row } from "./row.js";
import { count, ratios, type Spread, shown, spreadOf } from "./statistics.js";
import { KEYS, load, type RequestName } from "./wrk.js";

/** Until V8 has compiled the hot path: a server that has run for a second is measured half in its interpreter. */
export const WARM_UP_SECONDS = 5;

interface Duel {
  readonly name: string;
  readonly what: string;
  readonly annals: AnnalsOptions;
  readonly request: RequestName;
  readonly connections: number;
  readonly webdis: { readonly sync: RedisSync; readonly request: RequestName; readonly ratio: number };
  /** Also beside etcd's HTTP gateway, at this ratio. */
  readonly etcdRatio?: number;
  /** Put every key there first. */
  readonly filled?: boolean;
}

export function contestant(
  bench: Bench,
  name: string,
  port: number,
  request: RequestName,
  connections: number,
): Contestant {
  return {
    name,
    measure: async (warmUp) =>
      (await load(bench, port, request, connections, warmUp ? WARM_UP_SECONDS : bench.seconds))
        .requestsPerSecond,
  };
}

const percent = (value: number): string => value.toFixed(2);

export function compared(
  what: string,
  peer: string,
  goal: number,
  ours: readonly number[],
  theirs: readonly number[] | string,
): Finding {
  const rate = spreadOf(ours);
  const numbers: Record<string, number | string | Spread> = { requestsPerSecond: rate };
  if (typeof theirs === "string") {
    return {
      what,
      goal: `≥ ${goal} × ${peer}`,
      measured: `${shown(rate)}/s; ${theirs}`,
      reached: undefined,
      numbers,
    };
  }
  const ratio = ratios(ours, theirs);
  const peerRate = spreadOf(theirs);
  return {
    what,
    goal: `≥ ${goal} × ${peer}`,
    measured: `${shown(ratio, percent)} × : ${shown(rate)}/s beside ${shown(peerRate)}/s`,
    reached: ratio.median >= goal,
    numbers: { ...numbers, peerRequestsPerSecond: peerRate, ratio, peer },
  };
}

function duel(spec: Duel): Row {
  const { connections, webdis } = spec;
  const peer = `webdis + redis ${webdis.sync}`;
  return {
    name: spec.name,
    run: async (bench) => {
      const annals = await startAnnals(bench, spec.annals);
      const pair = await orAbsent(() => startWebdis(bench, webdis.sync));
      const etcd = spec.etcdRatio === undefined ? "not asked" : await orAbsent(() => startEtcd(bench));
      if (spec.filled === true) {
        await load(bench, annals.port, "annalsMset", 4, 2);
        if (typeof pair !== "string") await load(bench, pair.webdis.port, "webdisSet", 64, 5);
      }
      const contestants = [contestant(bench, "annals", annals.port, spec.request, connections)];
      if (typeof pair !== "string") {
        contestants.push(contestant(bench, "webdis", pair.webdis.port, webdis.request, connections));
      }
      if (typeof etcd !== "string")
        contestants.push(contestant(bench, "etcd", etcd.port, "etcdPut", connections));
      const values = await interleave(bench.rounds, contestants);
      const ours = values.get("annals") ?? [];
      const absent = (started: unknown): string => (typeof started === "string" ? started : "");
      const findings = [compared(spec.what, peer, webdis.ratio, ours, values.get("webdis") ?? absent(pair))];
      if (spec.etcdRatio !== undefined) {
        const theirs = values.get("etcd") ?? absent(etcd);
        findings.push(compared(spec.what, "etcd's HTTP gateway", spec.etcdRatio, ours, theirs));
      }
      await annals.stop();
      if (typeof pair !== "string") await pair.stop();
      if (typeof etcd !== "string") await etcd.stop();
      return findings;
    },
  };
}

const setAlways = { annals: { fsyncMode: "always" }, request: "annalsSet" } as const;
const webdisAlways = { sync: "always", request: "webdisSet", ratio: 0.8 } as const;

const durableMset: Row = {
  name: "durable-mset",
  run: async (bench) => {
    const annals = await startAnnals(bench, { fsyncMode: "always" });
    const measure = async (warmUp: boolean): Promise<number> =>
      100 *
      (await load(bench, annals.port, "annalsMset", 16, warmUp ? WARM_UP_SECONDS : bench.seconds))
        .requestsPerSecond;
    const keys = spreadOf(
      (await interleave(bench.rounds, [{ name: "annals", measure }])).get("annals") ?? [],
    );
    await annals.stop();
    return [
      {
        what: "durable MSET of 100 keys a request, 16 connections",
        goal: "≥ 250 k keys/s",
        measured: `${shown(keys)} keys/s`,
        reached: keys.median >= 250_000,
        numbers: { keysPerSecond: keys },
      },
    ];
  },
};

/** Readers are few, so that what they wait for is the server and not their own queue. */
const READERS = 4;
const CAUSES =
  /(event_?loop_lag|gc_duration_seconds_(sum|count)|sync_duration_seconds_(sum|count)|batch_records_(sum|count))/;

const readersAmongWriters: Row = {
  name: "get-p99",
  run: async (bench) => {
    const annals = await startAnnals(bench, { fsyncMode: "always" });
    await load(bench, annals.port, "annalsMset", 4, 2);
    const p99: number[] = [];
    const p50: number[] = [];
    const writes: number[] = [];
    for (let round = 0; round < bench.rounds; round++) {
      const writing = load(bench, annals.port, "annalsSet", 64, bench.seconds + 2);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      const reads = await load(bench, annals.port, "annalsGet", READERS, bench.seconds);
      p99.push(reads.p99Ms);
      p50.push(reads.p50Ms);
      writes.push((await writing).requestsPerSecond);
    }
    const hints = await causes(annals);
    await annals.stop();
    const [high, middle, rate] = [spreadOf(p99), spreadOf(p50), spreadOf(writes)];
    return [
      {
        what: `p99 of a GET (${READERS} connections) while 64 writers run`,
        goal: "reported; its cause if above 15 ms",
        measured: `${shown(high, ms)} ms, p50 ${shown(middle, ms)} ms, beside ${shown(rate)} writes/s; ${hints}`,
        reached: undefined,
        numbers: { p99Ms: high, p50Ms: middle, writesPerSecond: rate, hints },
      },
    ];
  },
};

const ms = (value: number): string => value.toFixed(2);

async function causes(annals: Annals): Promise<string> {
  const samples = Object.entries(await metricsOf(annals, CAUSES));
  return samples.map(([series, value]) => `${series}=${Number(value.toPrecision(3))}`).join(" ");
}

export const HTTP_ROWS: readonly Row[] = [
  duel({
    ...setAlways,
    name: "durable-set-c64",
    what: "durable SET, `always`, 64 connections, 100 B",
    connections: 64,
    webdis: webdisAlways,
    etcdRatio: 3,
  }),
  duel({
    ...setAlways,
    name: "durable-set-c16",
    what: "durable SET, `always`, 16 connections, 100 B",
    connections: 16,
    webdis: webdisAlways,
  }),
  duel({
    name: "periodic-set-c64",
    what: "SET, `periodic` 10 ms, 64 connections, 100 B",
    annals: { fsyncMode: "periodic", fsyncIntervalMs: 10 },
    request: "annalsSet",
    connections: 64,
    webdis: { sync: "everysec", request: "webdisSet", ratio: 0.5 },
  }),
  durableMset,
  duel({
    name: "get-c64",
    what: `GET, 64 connections, ${count(KEYS)} keys`,
    annals: { fsyncMode: "always" },
    request: "annalsGet",
    connections: 64,
    webdis: { sync: "always", request: "webdisGet", ratio: 0.75 },
    filled: true,
  }),
  readersAmongWriters,
];
