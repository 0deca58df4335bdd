// The main job on real input: a commit history goes through a server that is killed on the way, as key-values, as a stream
// and as jobs for consumers that are killed too. What a fresh start then serves, and what the log holds, is compared with
// what this file computes straight from the input, by code of its own.
import { fork, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { seed } from "../props/run-settings.js";
import { type RunningServer, startServer } from "./support/server-process.js";

const root = fileURLToPath(new URL("../", import.meta.url));
const full = join(root, "../shared/data/etcd-commits.ndjson.gz");
const input = existsSync(full) ? full : join(root, "ops/demo/sample-commits.ndjson");
/** The sample is short, so it is cut off more often to be as hard. */
const kills = existsSync(full) ? 3 : 8;
/** Commits; `npm run demo` takes all of them. */
const limit = 2000;
const consumerKills = 12;
const TIMEOUT_MS = 240_000;

interface Line {
  sha: string;
  files: { path: string; added: number | null; deleted: number | null }[];
}

function linesOf(path: string): string[] {
  const bytes = readFileSync(path);
  const text = (path.endsWith(".gz") ? gunzipSync(bytes) : bytes).toString("utf8");
  return text.split("\n").filter((line) => line !== "");
}

interface DumpedEvent {
  type: string;
  [field: string]: unknown;
}

const directory = mkdtempSync(join(tmpdir(), "annals-demo-test-"));
const lines = linesOf(input).slice(0, limit);
const commits = lines.map((line) => JSON.parse(line) as Line);
const jobs = commits.flatMap(({ sha, files }) => files.map((file, index) => ({ sha, index, ...file })));
let records: DumpedEvent[][] = [];
let log: DumpedEvent[] = [];
let summary: Record<string, unknown>;
let server: RunningServer;

beforeAll(async () => {
  const args = [
    "--input",
    input,
    "--limit",
    String(limit),
    "--directory",
    directory,
    "--seed",
    String(seed),
    "--kills",
    String(kills),
    "--consumer-kills",
    String(consumerKills),
    "--json",
  ];
  const demo = spawnSync(process.execPath, [join(root, "dist/ops/demo/demo.js"), ...args], {
    encoding: "utf8",
  });
  expect(demo.status, `seed ${seed}\n${demo.stderr}`).toBe(0);
  summary = JSON.parse(demo.stdout) as Record<string, unknown>;
  const dump = spawnSync(process.execPath, [join(root, "dist/ops/cli/annals.js"), "dump", directory], {
    encoding: "utf8",
    maxBuffer: 1 << 30,
  });
  expect(dump.status, dump.stderr).toBe(0);
  records = dump.stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => (JSON.parse(line) as { events: DumpedEvent[] }).events);
  log = records.flat();
  server = await startServer({ dataDirectory: directory });
}, TIMEOUT_MS);

afterAll(async () => {
  await server?.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});

async function get(path: string, body?: unknown): Promise<Record<string, unknown>> {
  const post = {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await fetch(`http://127.0.0.1:${server.port}${path}`, body === undefined ? {} : post);
  expect(response.status).toBe(200);
  return (await response.json()) as Record<string, unknown>;
}

const dumped = (type: string): DumpedEvent[] => log.filter((event) => event.type === type);

/** Every key with the prefix, with its value. */
async function served(prefix: string): Promise<Map<string, unknown>> {
  const all = new Map<string, unknown>();
  let cursor: unknown = "";
  while (cursor !== null) {
    const after = cursor === "" ? "" : `&cursor=${encodeURIComponent(String(cursor))}`;
    const page = await get(`/kv/scan?prefix=${encodeURIComponent(prefix)}&limit=500${after}`);
    const keys = page["keys"] as string[];
    const { values } = (await get("/kv/mget", { keys })) as { values: unknown[] };
    for (const [at, key] of keys.entries()) {
      expect(all.has(key), `${key} is listed twice`).toBe(false);
      all.set(key, values[at]);
    }
    cursor = page["cursor"];
  }
  return all;
}

describe("the demo", () => {
  it(
    "serves every commit as it stands in the file, after kills and a restart",
    async () => {
      const expected = new Map(
        lines.map((line) => [`commit:${(JSON.parse(line) as Line).sha}`, JSON.parse(line)]),
      );
      expect(await served("commit:")).toEqual(expected);
      expect(expected.size).toBe(lines.length);
    },
    TIMEOUT_MS,
  );

  it(
    "serves the totals of every file that the history adds up to",
    async () => {
      const expected = new Map<string, { commits: number; added: number; deleted: number }>();
      for (const line of lines) {
        for (const { path, added, deleted } of (JSON.parse(line) as Line).files) {
          const totals = expected.get(`file:${path}`) ?? { commits: 0, added: 0, deleted: 0 };
          totals.commits += 1;
          totals.added += added ?? 0;
          totals.deleted += deleted ?? 0;
          expected.set(`file:${path}`, totals);
        }
      }
      expect(await served("file:")).toEqual(expected);
    },
    TIMEOUT_MS,
  );

  it("wrote each commit once, by the log", async () => {
    const keys = dumped("kv.set").map(({ key }) => String(key));
    expect(keys.filter((key) => key.startsWith("commit:")).sort()).toEqual(
      commits.map(({ sha }) => `commit:${sha}`).sort(),
    );
    const info = await get("/info");
    expect(info["log"]).toMatchObject({ first_offset: 1, epoch: 1, torn_bytes: 0 });
  });

  it("wrote each commit whole: its event, its key, its files' totals and its jobs are in one record", () => {
    const bySha = new Map(commits.map((commit) => [commit.sha, commit]));
    let [found, shared] = [0, 0];
    for (const events of records) {
      const some = (type: string): DumpedEvent[] => events.filter((event) => event.type === type);
      const keys = some("kv.set").map(({ key }) => String(key));
      const shas = keys.filter((key) => key.startsWith("commit:")).map((key) => key.slice("commit:".length));
      const files = shas.flatMap((sha) => bySha.get(sha)?.files.map(({ path }) => path) ?? []);
      const told = some("stream.appended").flatMap(({ messages }) => messages as { bytes: string }[]);
      expect(told.map(({ bytes }) => (JSON.parse(bytes) as Line).sha)).toEqual(shas);
      const totals = keys.filter((key) => key.startsWith("file:")).map((key) => key.slice("file:".length));
      expect(totals.sort()).toEqual([...files].sort());
      const queued = some("queue.published").map(
        ({ payload }) => (JSON.parse(String(payload)) as { path: string }).path,
      );
      expect(queued.sort()).toEqual([...files].sort());
      found += shas.length;
      if (shas.length > 1) shared += 1;
    }
    expect(found).toBe(commits.length);
    expect(shared).toBeGreaterThan(0);
  });

  it(
    "serves the history as a stream, dense and in order",
    async () => {
      const read: unknown[] = [];
      for (let next = 0; ; ) {
        const page = await get(`/stream/commits/consume/test?from_offset=${next}&limit=1000`);
        const events = page["events"] as { offset: number; event: string; data: number[] }[];
        if (events.length === 0) break;
        for (const { offset, event, data } of events) {
          expect([offset, event]).toEqual([read.length, "commit"]);
          read.push(JSON.parse(Buffer.from(data).toString("utf8")));
        }
        next = page["next_offset"] as number;
      }
      expect(read).toEqual(commits);
    },
    TIMEOUT_MS,
  );

  it("published every file of every commit as a job, once, and had each acknowledged once", async () => {
    const published = dumped("queue.published");
    const told = published.map(({ payload }) => {
      const { sha, index, path, added, deleted } = JSON.parse(String(payload)) as Record<string, unknown>;
      return JSON.stringify([sha, index, path, added, deleted]);
    });
    expect(told.sort()).toEqual(
      jobs.map(({ sha, index, ...file }) => JSON.stringify([sha, index, ...Object.values(file)])).sort(),
    );
    expect(
      dumped("queue.acked")
        .map(({ messageId }) => String(messageId))
        .sort(),
    ).toEqual(published.map(({ messageId }) => String(messageId)).sort());
    expect(await get("/queue/jobs/stats")).toMatchObject({
      depth: 0,
      delayed: 0,
      in_flight: 0,
      dlq_count: 0,
      dead_lettered: 0,
      purged: 0,
      expired: 0,
      published: jobs.length,
      acked: jobs.length,
      consumed: dumped("queue.delivered").length,
    });
  });

  it(
    "had every job done",
    async () => {
      const expected = new Map(jobs.map(({ sha, index, ...file }) => [`done:${sha}:${index}`, file]));
      expect(await served("done:")).toEqual(expected);
    },
    TIMEOUT_MS,
  );

  it("was interesting, and its summary says what happened", () => {
    const paths = jobs.map(({ path }) => path);
    expect(summary).toMatchObject({
      restarts: kills,
      consumersKilled: consumerKills,
      commits: lines.length,
      fileChanges: paths.length,
      distinctFiles: new Set(paths).size,
      deliveries: dumped("queue.delivered").length,
      seed,
    });
    expect(summary["unanswered"]).toBeGreaterThan(0);
    // Consumers died with jobs in their hands.
    expect(summary["timedOut"]).toBeGreaterThan(0);
    const counts = new Map<string, number>();
    for (const path of paths) counts.set(path, (counts.get(path) ?? 0) + 1);
    const top = [...counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, 10);
    const told = summary["mostChanged"] as { path: string; commits: number }[];
    expect(told.map(({ path, commits }) => [path, commits])).toEqual(top);
  });
});

describe("a consumer of the demo", () => {
  it.each([0, 25, 100])("ends when its parent lets go of it %i ms after it was started", async (after) => {
    const nowhere = "http://127.0.0.1:1";
    const consumer = fork(join(root, "dist/ops/demo/consumer.js"), ["consumer-1", nowhere], { execArgv: [] });
    onTestFinished(() => void consumer.kill("SIGKILL"));
    const end = once(consumer, "exit");
    await sleep(after);
    consumer.disconnect();
    expect(await end).toEqual([0, null]);
  });

  it("asks again whoever refuses as a node of a set, and ends at any other refusal", async () => {
    const asked: unknown[] = [];
    const server = createServer(({ headers }, answer) => {
      const isFirst = asked.push(headers["x-annals-acks"]) === 1;
      const code = isFirst ? "REPLICATION_FENCED" : "QUEUE_NOT_FOUND";
      answer.writeHead(isFirst ? 503 : 404).end(JSON.stringify({ error: "no", error_code: code }));
    }).listen(0, "127.0.0.1");
    onTestFinished(() => void server.close());
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const args = ["consumer-1", `http://127.0.0.1:${port}`, "1"];
    const consumer = fork(join(root, "dist/ops/demo/consumer.js"), args, { execArgv: [], silent: true });
    onTestFinished(() => void consumer.kill("SIGKILL"));
    expect(await once(consumer, "exit")).toEqual([1, null]);
    expect(asked).toEqual(["1", "1"]);
  });
});
