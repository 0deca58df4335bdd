/**
 * The disk refuses writes or syncs under the real process (errors injected into its system calls by strace): the log is
 * dead from then on, says so, and the process ends with a code of its own; what was answered is there after the restart.
 *
 * strace counts injections per thread, so the pool has one thread; io_uring would go around the injection, so it is off.
 */
import { spawnSync } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { errorCodeOf, HttpClient } from "../support/http-client.js";
import { type RunningServer, startServer } from "../support/server-process.js";

const WRITERS = 4;
const EXIT_STORAGE_FAILED = 4;

interface Case {
  readonly name: string;
  readonly mode: "always" | "periodic";
  readonly systemCalls: string;
  /** From the n-th call on. */
  readonly when: number;
  /** Only calls on the segment that the log begins with. */
  readonly onSegment: boolean;
  readonly environment?: Readonly<Record<string, string>>;
}

const cases: readonly Case[] = [
  {
    name: "always: a synced write of records fails",
    mode: "always",
    systemCalls: "pwrite64",
    when: 40,
    onSegment: true,
  },
  {
    name: "always: a sync fails while a segment is rolled",
    mode: "always",
    systemCalls: "fdatasync,fsync",
    when: 25,
    onSegment: false,
    environment: { ANNALS_LOG_SEGMENT_BYTES: "16384" },
  },
  {
    name: "periodic: the timer's sync fails",
    mode: "periodic",
    systemCalls: "fdatasync",
    when: 6,
    onSegment: true,
    environment: { ANNALS_PERSISTENCE_WAL_FSYNC_INTERVAL_MS: "20" },
  },
];

/** Why strace cannot inject here, or undefined. */
function missing(): string | undefined {
  const trial = spawnSync("strace", ["-qq", "-e", "inject=fsync:error=EIO", "true"], { encoding: "utf8" });
  if (trial.error !== undefined) return "strace is not installed";
  return trial.status === 0 ? undefined : `strace cannot trace here: ${trial.stderr.trim()}`;
}
const reason = missing();

describe("a failing disk under the real process", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "annals-sync-"));
  });
  afterEach(() => rm(directory, { recursive: true }));

  for (const one of cases)
    test(`${one.name}: 503 LOG_FAILED, not ready, exit 4, nothing answered is lost`, async (context) => {
      context.skip(reason !== undefined, reason);
      const environment = {
        ANNALS_PERSISTENCE_WAL_FSYNC_MODE: one.mode,
        ANNALS_SHUTDOWN_FAILED_DRAIN_MS: "3000",
        UV_THREADPOOL_SIZE: "1",
        ...one.environment,
      };
      const dataDirectory = join(directory, "data");
      const first = await startServer({ dataDirectory, environment });
      await writeBefore(first);
      await first.kill("SIGTERM");

      const trace = join(directory, "trace");
      const wrapper = straceOf(one, trace, join(dataDirectory, "log", `${"1".padStart(20, "0")}.log`));
      const server = await startServer({ dataDirectory, environment, wrapper });
      const seen = await writeUntilItEnds(server);
      expect((await server.exited).code, server.output).toBe(EXIT_STORAGE_FAILED);

      const injected = (await readFile(trace, "utf8")).split("(INJECTED)").length - 1;
      expect(injected, "the fault fired").toBeGreaterThan(0);
      expect(seen.answered.size, "writes before it").toBeGreaterThan(0);
      expect(seen.codes, "how writes were refused").toContain("LOG_FAILED");
      expect([...seen.statusesAfter]).toEqual([503]);
      expect([...seen.readinessAfter], "readiness once a failure was told").toEqual([503]);
      expect(seen.readsAfter, "reads during the drain").toBeGreaterThan(0);

      const after = await startServer({ dataDirectory, environment });
      await expectAll(after, seen.answered);
      await after.kill("SIGTERM");
    });
});

function straceOf(one: Case, trace: string, segment: string): string[] {
  const only = one.onSegment ? ["-P", segment] : [];
  const inject = `inject=${one.systemCalls}:error=EIO:when=${one.when}+`;
  return ["strace", "-f", "-qq", "-o", trace, ...only, "-e", `trace=${one.systemCalls}`, "-e", inject];
}

async function writeBefore(server: RunningServer): Promise<void> {
  const client = new HttpClient(server.port, 1);
  expect((await client.put("before", "1")).status).toBe(201);
  client.close();
}

interface Seen {
  readonly answered: Map<string, string>;
  readonly codes: Set<string>;
  /** Statuses of writes that began after the first failure was told. */
  readonly statusesAfter: Set<number>;
  readonly readinessAfter: Set<number>;
  readsAfter: number;
}

async function writeUntilItEnds(server: RunningServer): Promise<Seen> {
  const client = new HttpClient(server.port, WRITERS + 2);
  const seen: Seen = {
    answered: new Map(),
    codes: new Set(),
    statusesAfter: new Set(),
    readinessAfter: new Set(),
    readsAfter: 0,
  };
  let failedAt = Number.POSITIVE_INFINITY;

  const write = async (writer: number): Promise<void> => {
    for (let serial = 1; server.running; serial += 1) {
      const began = performance.now();
      const key = `w${writer}-${serial}`;
      const value = `${serial} ${"x".repeat(300)}`;
      const answer = await client.put(key, value).catch(() => undefined);
      if (answer === undefined) return;
      if (began > failedAt) seen.statusesAfter.add(answer.status);
      if (answer.status < 300) {
        seen.answered.set(key, value);
        continue;
      }
      failedAt = Math.min(failedAt, performance.now());
      seen.codes.add(errorCodeOf(answer) ?? answer.text);
      await pause(20);
    }
  };
  const watch = async (): Promise<void> => {
    while (server.running) {
      const began = performance.now();
      const ready = await client.send("GET", "/readyz").catch(() => undefined);
      if (began > failedAt && ready !== undefined) seen.readinessAfter.add(ready.status);
      const read = await client.get("before").catch(() => undefined);
      if (performance.now() > failedAt && read?.status === 200 && read.text === "1") seen.readsAfter += 1;
      await pause(20);
    }
  };
  await Promise.all([...Array.from({ length: WRITERS }, (_, writer) => write(writer)), watch()]);
  client.close();
  return seen;
}

async function expectAll(server: RunningServer, answered: ReadonlyMap<string, string>): Promise<void> {
  const client = new HttpClient(server.port, 8);
  for (const [key, value] of answered) expect((await client.get(key)).text, key).toBe(value);
  expect((await client.put("after", "works")).status).toBe(201);
  client.close();
}

function pause(durationMs: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, durationMs));
}
