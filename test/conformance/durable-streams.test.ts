// The public conformance suite of the Durable Streams protocol, against the real server as a process of its own. Its version
// is pinned, so what "passes whole" means is pinned too. Left out by us, and switched off here: subscriptions, which the
// protocol calls optional (ops/docs/durable-streams.md says why).
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runConformanceTests } from "@durable-streams/server-conformance-tests";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type RunningServer, startServer } from "../support/server-process.js";
import { STOOD_STILL, Stalls } from "../support/stalls.js";

/** What version 0.3.6 has without its tests of subscriptions. */
const TESTS = 332;
/** The suite waits for several empty long-polls, each with a limit of 5 s. */
const LONG_POLL_MS = 500;
/**
 * Its tests of times (a ttl of 2 s, renewed after 1.5 s, read after 3 s) hold only while an answer takes less than half a second. One that
 * fails is run again if a durable write took longer than `STALL_MS` in the `STALL_SEEN_MS` before, and only then: what fails on a machine that
 * keeps up has failed.
 */
const STALL_MS = 300;
const STALL_SEEN_MS = 10_000;
const REPEATS = 3;

const dataDirectory = mkdtempSync(join(tmpdir(), "annals-conformance-"));
/** The suite reads it when a test runs. */
const target = { baseUrl: "", longPollTimeoutMs: LONG_POLL_MS };
let server: RunningServer | undefined;
let stalls: Stalls | undefined;
const ran = new Set<string>();

const put = async (url: string) => (await fetch(url, { method: "PUT", body: "beat" })).arrayBuffer();

beforeAll(async () => {
  server = await startServer({
    dataDirectory,
    environment: {
      ANNALS_LIMITS_LONG_POLL_TIMEOUT_MS: String(LONG_POLL_MS),
      // One of its tests asks what a browser on another origin asks.
      ANNALS_SERVER_CORS_ORIGINS: "*",
    },
  });
  target.baseUrl = `http://127.0.0.1:${server.port}`;
  // Test, server and disk are all in the way of a durable write.
  stalls = new Stalls(() => put(`${target.baseUrl}/kv/heartbeat`), STALL_MS);
});

afterAll(async () => {
  await stalls?.stop();
  await server?.kill();
  rmSync(dataDirectory, { recursive: true, force: true });
});

beforeEach(({ task }) => {
  ran.add(task.id);
});

// Told by an error of its own: a condition that is a function is taken off the test before it runs (vitest 4.1).
afterEach(({ task }) => {
  if (task.result?.state === "fail" && stalls?.seenWithin(STALL_SEEN_MS) === true)
    throw new Error(STOOD_STILL);
});
describe("the public suite", { retry: { count: REPEATS, condition: new RegExp(STOOD_STILL) } }, () => {
  runConformanceTests(target);
});

it("the suite ran whole, and the server is still there", async () => {
  expect(ran.size - 1).toBe(TESTS);
  const answer = await fetch(`${target.baseUrl}/readyz`);
  expect(answer.status).toBe(200);
});
