// A history of commits, each an atomic batch with an event and the running totals of its files: a backup in the middle while more
// comes, then the past at three commits, held against totals that are computed here, straight from the file. ANNALS_COMMITS_FILE
// names another history than the sample, plain or as .gz.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ROOM } from "../../ops/demo/commit-batch.js";
import { type Commit, commitKey, commitOf, FILE_PREFIX, RunningTotals } from "../../ops/demo/commits.js";
import { StoreClient } from "../../ops/demo/store-client.js";
import { runAnnals } from "../support/annals-command.js";
import { type RunningServer, startServer } from "../support/server-process.js";

const sample = fileURLToPath(new URL("../../ops/demo/sample-commits.ndjson", import.meta.url));
const file = process.env["ANNALS_COMMITS_FILE"] ?? sample;
const text = file.endsWith(".gz")
  ? gunzipSync(readFileSync(file)).toString("utf8")
  : readFileSync(file, "utf8");
const commits: Commit[] = text
  .trim()
  .split("\n")
  .map((line, i) => commitOf(line, i + 1));

const root = mkdtempSync(join(tmpdir(), "annals-restore-commits-"));
const repository = join(root, "repository");
let server: RunningServer;
/** Offset of each commit's record. */
const offsets: number[] = [];

/** A commit with the time that it was made, which is not the time at which it was stored. */
const eventOf = ({ sha, time }: Commit): unknown => ({ sha, time });

async function store(part: readonly Commit[], totals: RunningTotals): Promise<void> {
  for (const commit of part) {
    const event = { room: ROOM, event: "commit", data: eventOf(commit), expected_offset: offsets.length };
    const answer = await fetch(`http://127.0.0.1:${server.port}/batch`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({
        operations: [
          { command: "stream.publish", payload: event },
          { command: "kv.mset", payload: { pairs: totals.pairsOf(commit) } },
        ],
      }),
    });
    expect(answer.status).toBe(200);
    offsets.push(Number(answer.headers.get("x-annals-offset")));
  }
}

beforeAll(async () => {
  server = await startServer({ dataDirectory: join(root, "data") });
  await new StoreClient(`http://127.0.0.1:${server.port}`).createRoom(ROOM);
  const totals = new RunningTotals();
  const middle = Math.floor(commits.length / 2);
  await store(commits.slice(0, middle), totals);
  const [backup] = await Promise.all([
    runAnnals(["backup", repository, "--data-dir", join(root, "data")]),
    store(commits.slice(middle), totals),
  ]);
  expect(backup.code).toBe(0);
}, 600_000);
afterAll(async () => {
  await server.kill();
  rmSync(root, { recursive: true });
});

/** What must be there after the first `count` commits: by this file's own arithmetic. */
function expectedAfter(count: number): Map<string, unknown> {
  const expected = new Map<string, unknown>();
  const sums = new Map<string, { commits: number; added: number; deleted: number }>();
  for (const commit of commits.slice(0, count)) {
    expected.set(commitKey(commit.sha), commit);
    for (const { path, added, deleted } of commit.files) {
      const sum = sums.get(path) ?? { commits: 0, added: 0, deleted: 0 };
      sum.commits += 1;
      sum.added += added ?? 0;
      sum.deleted += deleted ?? 0;
      sums.set(path, sum);
    }
  }
  for (const [path, sum] of sums) expected.set(`${FILE_PREFIX}${path}`, sum);
  return expected;
}

async function served(url: string): Promise<Map<string, unknown>> {
  const found = new Map<string, unknown>();
  for (let cursor: string | null = ""; cursor !== null; ) {
    const query: string = cursor === "" ? "" : `&cursor=${encodeURIComponent(cursor)}`;
    const page = JSON.parse(await (await fetch(`${url}/kv/scan?limit=1000${query}`)).text());
    const answer = await fetch(`${url}/kv/mget`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ keys: page.keys }),
    });
    const { values } = JSON.parse(await answer.text());
    page.keys.forEach((key: string, i: number) => void found.set(key, values[i]));
    cursor = page.cursor;
  }
  return found;
}

it.each([0.1, 0.25, 0.45])(
  "the past at %d of the history has the totals that the file adds up to",
  async (share) => {
    const count = Math.max(1, Math.floor(commits.length * share));
    const target = join(root, `at-${count}`);
    const result = await runAnnals([
      "restore",
      "--from",
      repository,
      "--to-offset",
      `${offsets[count - 1]}`,
      "--data-dir",
      target,
      "--json",
    ]);
    expect(result.code, result.stderr).toBe(0);
    const restored = await startServer({ dataDirectory: target });
    try {
      const url = `http://127.0.0.1:${restored.port}`;
      expect(await served(url)).toEqual(expectedAfter(count));
      const events = await new StoreClient(url).eventsFrom(ROOM, Math.max(0, count - 1));
      const last = commits[count - 1];
      const told = events.events.map(({ data }) => JSON.parse(Buffer.from(data).toString("utf8")));
      expect(told).toEqual([last && eventOf(last)]);
      expect(events.next_offset).toBe(count);
    } finally {
      await restored.kill();
    }
  },
  300_000,
);
