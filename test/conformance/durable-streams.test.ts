// The public conformance suite of the Durable Streams protocol, against the real server as a process of its own. Its version
// is pinned, so what "passes whole" means is pinned too. Left out by us, and switched off here: subscriptions, which the
// protocol calls optional (ops/docs/durable-streams.md says why).
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runConformanceTests } from "@durable-streams/server-conformance-tests";
import { afterAll, beforeAll, beforeEach, expect, it } from "vitest";
import { type RunningServer, startServer } from "../support/server-process.js";

/** What version 0.3.6 has without its tests of subscriptions. */
const TESTS = 332;
/** The suite waits for several empty long-polls, each with a limit of 5 s. */
const LONG_POLL_MS = 500;

const dataDirectory = mkdtempSync(join(tmpdir(), "annals-conformance-"));
/** The suite reads it when a test runs. */
const target = { baseUrl: "", longPollTimeoutMs: LONG_POLL_MS };
let server: RunningServer | undefined;
let ran = 0;

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
});

afterAll(async () => {
  await server?.kill();
  rmSync(dataDirectory, { recursive: true, force: true });
});

beforeEach(() => {
  ran += 1;
});

runConformanceTests(target);

it("the suite ran whole, and the server is still there", async () => {
  expect(ran - 1).toBe(TESTS);
  const answer = await fetch(`${target.baseUrl}/readyz`);
  expect(answer.status).toBe(200);
});
