/** Rows about queues and batches: ours over HTTP beside beanstalkd, NATS JetStream and our own SET. */
import { type Annals, startAnnals } from "./annals.js";
import { compared, contestant, WARM_UP_SECONDS } from "./http-rows.js";
import { lineLoad } from "./line-load.js";
import { residentBytes } from "./processes.js";
import {
  beanstalkPut,
  beanstalkReserveDelete,
  natsPublisher,
  startBeanstalkd,
  startNats,
} from "./queue-peers.js";
import { type Contestant, interleave, orAbsent, type Row } from "./row.js";
import { count } from "./statistics.js";
import { load } from "./wrk.js";

const CONNECTIONS = 64;
const MILLION = 1_000_000;
const DEPTH_MAX = 100_000_000;
const PUBLISH = "durable queue publish over HTTP, 64 connections, 100 B";

async function post(annals: Annals, path: string, body: unknown): Promise<unknown> {
  const response = await fetch(`${annals.url}${path}`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (!response.ok) throw new Error(`${path} was answered ${response.status}: ${await response.text()}`);
  return response.json();
}

async function createQueue(annals: Annals): Promise<void> {
  await post(annals, "/queue/bench", { max_depth: DEPTH_MAX, ack_deadline_secs: 3600 });
}

/** Puts messages of 100 bytes into the queue, 1,000 a request. */
async function fillQueue(annals: Annals, messages: number): Promise<void> {
  const batch = { messages: Array.from({ length: 1000 }, () => ({ payload: "x".repeat(100) })) };
  for (let at = 0; at < messages; at += 1000) await post(annals, "/queue/bench/publish/batch", batch);
}

async function ackedOf(annals: Annals): Promise<number> {
  const stats = (await (await fetch(`${annals.url}/queue/bench/stats`)).json()) as { acked: number };
  return stats.acked;
}

function seconds(run: number, warmUp: boolean): number {
  return warmUp ? WARM_UP_SECONDS : run;
}

const publish: Row = {
  name: "queue-publish",
  run: async (bench) => {
    const annals = await startAnnals(bench, { fsyncMode: "always" });
    await createQueue(annals);
    const beanstalkd = await orAbsent(() => startBeanstalkd(bench));
    const nats = await orAbsent(async () => {
      const server = await startNats(bench);
      return { server, publisher: await natsPublisher(server.port) };
    });
    const contestants: Contestant[] = [
      contestant(bench, "annals", annals.port, "annalsPublish", CONNECTIONS),
    ];
    if (typeof beanstalkd !== "string") {
      contestants.push({
        name: "beanstalkd",
        measure: (warmUp) =>
          lineLoad(beanstalkd.port, CONNECTIONS, seconds(bench.seconds, warmUp), beanstalkPut),
      });
    }
    if (typeof nats !== "string") {
      contestants.push({
        name: "nats",
        measure: (warmUp) => nats.publisher.publish(seconds(bench.seconds, warmUp)),
      });
    }
    const values = await interleave(bench.rounds, contestants);
    const ours = values.get("annals") ?? [];
    const findings = [
      compared(PUBLISH, "beanstalkd -f 0 put", 4, ours, values.get("beanstalkd") ?? String(beanstalkd)),
      compared(
        PUBLISH,
        "NATS JetStream acked publish (its Node client, 64 outstanding, not synced)",
        1,
        ours,
        values.get("nats") ?? String(nats),
      ),
    ];
    await annals.stop();
    if (typeof beanstalkd !== "string") await beanstalkd.stop();
    if (typeof nats !== "string") {
      await nats.publisher.close();
      await nats.server.stop();
    }
    return findings;
  },
};

const work: Row = {
  name: "queue-work",
  run: async (bench) => {
    const annals = await startAnnals(bench, { fsyncMode: "always" });
    await createQueue(annals);
    const beanstalkd = await orAbsent(() => startBeanstalkd(bench));
    const contestants: Contestant[] = [
      {
        name: "annals",
        measure: async (warmUp) => {
          const lasts = seconds(bench.seconds, warmUp);
          await fillQueue(annals, lasts * 30_000);
          const before = await ackedOf(annals);
          await load(bench, annals.port, "annalsWork", CONNECTIONS, lasts);
          return ((await ackedOf(annals)) - before) / lasts;
        },
      },
    ];
    if (typeof beanstalkd !== "string") {
      contestants.push({
        name: "beanstalkd",
        measure: async (warmUp) => {
          const lasts = seconds(bench.seconds, warmUp);
          // It puts about as fast as it reserves and deletes, so this leaves enough to work on.
          await lineLoad(beanstalkd.port, CONNECTIONS, lasts + 1, beanstalkPut);
          return lineLoad(beanstalkd.port, CONNECTIONS, lasts, beanstalkReserveDelete);
        },
      });
    }
    const values = await interleave(bench.rounds, contestants);
    await annals.stop();
    if (typeof beanstalkd !== "string") await beanstalkd.stop();
    return [
      compared(
        "durable consume + ack over HTTP, 64 connections",
        "beanstalkd -f 0 reserve + delete",
        2,
        values.get("annals") ?? [],
        values.get("beanstalkd") ?? String(beanstalkd),
      ),
    ];
  },
};

const waiting: Row = {
  name: "queue-memory",
  run: async (bench) => {
    const annals = await startAnnals(bench, { fsyncMode: "always" });
    await createQueue(annals);
    const before = residentBytes(annals.pid);
    await fillQueue(annals, MILLION);
    await new Promise((resolve) => setTimeout(resolve, 3000));
    const each = (residentBytes(annals.pid) - before) / MILLION;
    await annals.stop();
    return [
      {
        what: "resident memory, 1 M waiting messages of 100 B",
        goal: "≤ 600 B a message",
        measured: `${count(each)} B a message`,
        reached: each <= 600,
        numbers: { bytesPerMessage: each },
      },
    ];
  },
};

const batch: Row = {
  name: "batch",
  run: async (bench) => {
    const annals = await startAnnals(bench, { fsyncMode: "always" });
    await createQueue(annals);
    await post(annals, "/stream/bench", {});
    const values = await interleave(bench.rounds, [
      contestant(bench, "batch", annals.port, "annalsBatch", CONNECTIONS),
      contestant(bench, "set", annals.port, "annalsSet", CONNECTIONS),
    ]);
    await annals.stop();
    return [
      compared(
        "atomic batch of 4 operations over HTTP, 64 connections",
        "one durable SET",
        0.7,
        values.get("batch") ?? [],
        values.get("set") ?? [],
      ),
    ];
  },
};

export const QUEUE_ROWS: readonly Row[] = [publish, work, waiting, batch];
