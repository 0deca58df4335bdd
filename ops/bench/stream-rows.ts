/** Rows about streams, over the Durable Streams protocol: ours beside its public reference server. */

import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { freePort } from "../free-port.js";
import { startAnnals } from "./annals.js";
import { compared, contestant, WARM_UP_SECONDS } from "./http-rows.js";
import { PeerAbsent } from "./peers.js";
import { answers, type Bench, type Started } from "./processes.js";
import { type Contestant, type Finding, interleave, orAbsent, type Row } from "./row.js";
import { count, type Spread, shown, spreadOf } from "./statistics.js";
import { load } from "./wrk.js";

const CONNECTIONS = 64;
const BYTES = "application/octet-stream";
const REFERENCE_PACKAGE = "@durable-streams/server";

async function createStream(port: number, name: string, contentType: string): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${port}/v1/stream/${name}`, {
    method: "PUT",
    headers: { "content-type": contentType },
  });
  if (!response.ok) throw new Error(`the stream was refused: ${response.status} ${await response.text()}`);
  await response.arrayBuffer();
}

/** The public reference server, file-backed, in a process of its own; it syncs three times for each append. */
async function startReference(bench: Bench): Promise<Started> {
  let packagePath: string;
  try {
    packagePath = createRequire(import.meta.url).resolve(REFERENCE_PACKAGE);
  } catch {
    throw new PeerAbsent(REFERENCE_PACKAGE);
  }
  const directory = bench.newDirectory("reference");
  const port = await freePort();
  const script = fileURLToPath(new URL("durable-peer.js", import.meta.url));
  const args = [script, packagePath, directory, String(port)];
  const ready = (at: number): Promise<boolean> =>
    answers(at, "/v1/stream/ready", { method: "PUT", headers: { "content-type": BYTES } });
  return bench.start({ name: "reference", command: process.execPath, args, port, directory, ready });
}

const append: Row = {
  name: "stream-append",
  run: async (bench) => {
    const annals = await startAnnals(bench, { fsyncMode: "always" });
    const reference = await orAbsent(() => startReference(bench));
    await createStream(annals.port, "bench", BYTES);
    const contestants: Contestant[] = [
      contestant(bench, "annals", annals.port, "durableAppend", CONNECTIONS),
    ];
    if (typeof reference !== "string") {
      await createStream(reference.port, "bench", BYTES);
      contestants.push(contestant(bench, "reference", reference.port, "durableAppend", CONNECTIONS));
    }
    const values = await interleave(bench.rounds, contestants);
    await annals.stop();
    if (typeof reference !== "string") await reference.stop();
    return [
      compared(
        "/v1/stream appends to one stream, 64 connections, 100 B",
        "the public reference server",
        20,
        values.get("annals") ?? [],
        values.get("reference") ?? String(reference),
      ),
    ];
  },
};

const BATCH = 100;

const batches: Row = {
  name: "stream-batches",
  run: async (bench) => {
    const annals = await startAnnals(bench, { fsyncMode: "always" });
    await createStream(annals.port, "batches", "application/json");
    const measure = async (warmUp: boolean): Promise<number> =>
      BATCH *
      (await load(bench, annals.port, "durableBatch", 16, warmUp ? WARM_UP_SECONDS : bench.seconds))
        .requestsPerSecond;
    const rates = spreadOf(
      (await interleave(bench.rounds, [{ name: "annals", measure }])).get("annals") ?? [],
    );
    await annals.stop();
    return [
      {
        what: "durable stream append, batches of 100 × 100 B over /v1/stream",
        goal: "≥ 300 k events/s",
        measured: `${shown(rates)} events/s`,
        reached: rates.median >= 300_000,
        numbers: { eventsPerSecond: rates },
      },
    ];
  },
};

const EVENTS = 1_000_000;
/** Of an answer: 98 characters, their quotes and the comma or bracket behind. */
const EVENT_BYTES = 101;
/** How long single events are appended before they are read. */
const SINGLES_SECONDS = 10;

/** Reads a stream from its start to its end; returns how many bytes came. */
async function catchUp(url: string): Promise<number> {
  let offset = "-1";
  let bytes = 0;
  for (;;) {
    const response = await fetch(`${url}?offset=${offset}`);
    if (!response.ok) throw new Error(`the read was answered ${response.status}`);
    bytes += (await response.arrayBuffer()).byteLength;
    const next = response.headers.get("stream-next-offset");
    if (response.headers.get("stream-up-to-date") === "true") return bytes;
    if (next === null || next === offset) throw new Error("the read does not go on");
    offset = next;
  }
}

const read: Row = {
  name: "stream-read",
  run: async (bench) => {
    const annals = await startAnnals(bench, { fsyncMode: "always" });
    const url = `${annals.url}/v1/stream/events`;
    await createStream(annals.port, "events", "application/json");
    const body = JSON.stringify(Array.from({ length: 1000 }, () => "x".repeat(98)));
    for (let at = 0; at < EVENTS; at += 1000) {
      const response = await fetch(url, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
      });
      if (!response.ok) throw new Error(`an append was answered ${response.status}`);
    }
    const found = await readRates(bench, url, EVENTS);
    await annals.stop();
    return [caughtUp("1 M events of 100 B, 1,000 a record", found)];
  },
};

/** Every event a record of its own, as they come from many small writers: what costs a reader most. */
const readSingles: Row = {
  name: "stream-read-singles",
  run: async (bench) => {
    const annals = await startAnnals(bench, { fsyncMode: "always" });
    const url = `${annals.url}/v1/stream/singles`;
    await createStream(annals.port, "singles", "application/json");
    await load(bench, annals.port, "durableEvent", CONNECTIONS, SINGLES_SECONDS);
    const events = Math.floor((await catchUp(url)) / EVENT_BYTES);
    const found = await readRates(bench, url, events);
    await annals.stop();
    return [caughtUp(`${count(events)} events of 100 B, each a record`, found)];
  },
};

/** Events a second of one reader, from the stream's start to its end. */
async function readRates(bench: Bench, url: string, events: number): Promise<Spread> {
  const measure = async (): Promise<number> => {
    const started = performance.now();
    const bytes = await catchUp(url);
    const rate = events / ((performance.now() - started) / 1000);
    if (bytes < events * EVENT_BYTES) throw new Error(`${bytes} bytes are not ${events} events`);
    return rate;
  };
  const rates = await interleave(bench.rounds, [{ name: "annals", measure }]);
  return spreadOf(rates.get("annals") ?? []);
}

function caughtUp(what: string, rates: Spread): Finding {
  return {
    what: `catch-up read of ${what} over /v1/stream, one reader`,
    goal: "≥ 300 k events/s",
    measured: `${shown(rates)} events/s`,
    reached: rates.median >= 300_000,
    numbers: { eventsPerSecond: rates },
  };
}

export const STREAM_ROWS: readonly Row[] = [append, batches, read, readSingles];
