import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FastifyInstance } from "fastify";
import { describe, expect, it } from "vitest";
import { buildServer } from "../../api/index.js";
import { LogError, type OpenedLog, offset, realFileSystem } from "../../log/index.js";
import { loadConfig } from "../../ops/config/load.js";
import { createLogger } from "../../ops/logging.js";
import { type Ending, type Rooms, ServerProcess } from "../../ops/server-process.js";
import { type OpenedStore, type OpenStoreOptions, openStore } from "../../projections/index.js";
import { errorCodeOf, HttpClient } from "../support/http-client.js";
import { MemoryLog } from "../support/memory-log.js";

interface World {
  readonly environment?: Record<string, string>;
  readonly openStore?: (options: OpenStoreOptions) => Promise<OpenedStore>;
  readonly log?: MemoryLog;
}

class CountedLog extends MemoryLog {
  closed = 0;
  override async close(): Promise<void> {
    this.closed++;
    await super.close();
  }
}

/** A server whose log is in memory; `port` is known as soon as it listens, which is before it is ready. */
class Running {
  readonly log: MemoryLog;
  readonly server: ServerProcess;
  readonly ended: Promise<Ending>;
  readonly lines: string[] = [];
  listening = 0;
  #app: FastifyInstance | undefined;

  constructor(world: World = {}) {
    this.log = world.log ?? new CountedLog();
    const loaded = loadConfig({
      environment: { ANNALS_SHUTDOWN_DRAIN_DELAY_MS: "0", ...world.environment },
      flags: { port: "0", "data-dir": join(tmpdir(), "annals-no-such-directory") },
    });
    if (!loaded.ok) throw new Error(JSON.stringify(loaded.mistakes));
    const opened: OpenedLog = {
      log: this.log,
      segments: undefined,
      usage: () => ({ segments: 1, bytes: 0 }),
      firstWithin: () => this.log.firstOffset,
      identity: { clusterId: "c".repeat(32), nodeId: "d".repeat(32) },
      formatVersion: 3,
      recovery: {
        created: true,
        clean: true,
        tornBytes: 0,
        tornFile: undefined,
        firstOffset: offset(1),
        endOffset: this.log.endOffset,
        durationMs: 1,
      },
    };
    const rooms: Rooms = {
      files: realFileSystem,
      openLog: async () => opened,
      openStore: world.openStore ?? openStore,
      buildServer: (options) => {
        this.#app = buildServer(options);
        return this.#app;
      },
    };
    const sink = { write: (line: string) => void this.lines.push(line) };
    this.server = new ServerProcess(
      rooms,
      loaded.config,
      createLogger({ level: "info", format: "json" }, sink),
    );
    this.ended = this.server.run(() => {
      this.listening++;
    });
  }

  async client(): Promise<HttpClient> {
    for (;;) {
      const address = this.#app?.server.address();
      if (typeof address === "object" && address !== null) return new HttpClient(address.port, 2);
      await turn();
    }
  }

  async ready(): Promise<HttpClient> {
    while (this.listening === 0) await turn();
    return this.client();
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 5));

describe("while the log is replayed", () => {
  it("probes and metrics answer, data does not, and the line `listening` has not come", async () => {
    let finish: () => void = () => undefined;
    const gate = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const running = new Running({
      openStore: async (options) => {
        options.onProgress?.({ step: "log", done: 5, total: 20 });
        await gate;
        return openStore(options);
      },
    });
    const client = await running.client();
    expect((await client.send("GET", "/livez")).status).toBe(200);
    const readiness = await client.send("GET", "/readyz?verbose");
    expect(readiness.status).toBe(503);
    expect(readiness.text).toContain("offset 5 of 20 (25 %)");
    for (const answer of [await client.put("a", "b"), await client.get("a")]) {
      expect(answer.status).toBe(503);
      expect(errorCodeOf(answer)).toBe("LOG_REPLAYING");
    }
    const during = (await client.send("GET", "/metrics")).text;
    expect(during).toContain("annals_ready 0");
    expect(during).not.toMatch(/^annals_kv_keys_total/m);
    expect(running.listening).toBe(0);

    finish();
    await running.ready();
    expect((await client.send("GET", "/readyz")).status).toBe(200);
    expect((await client.put("a", "b")).status).toBe(201);
    expect((await client.send("GET", "/metrics")).text).toContain("annals_ready 1");
    client.close();
    await running.server.stop("test");
    expect(await running.ended).toEqual({ type: "stopped" });
  });

  it("an order to stop ends it, and the log is closed once", async () => {
    const log = new CountedLog();
    const running = new Running({
      log,
      // As a real replay: closing the log ends the reading.
      openStore: async () => {
        while (log.closed === 0) await turn();
        throw new LogError("LOG_CLOSED", "the log was closed");
      },
    });
    const client = await running.client();
    await running.server.stop("test");
    expect(await running.ended).toEqual({ type: "stopped" });
    expect(log.closed).toBe(1);
    client.close();
  });

  it("damage ends the start, and the files are left as they are", async () => {
    const log = new CountedLog();
    const corrupt = new LogError("LOG_CORRUPT", "damaged");
    const running = new Running({ log, openStore: () => Promise.reject(corrupt) });
    expect(await running.ended).toEqual({ type: "not-started", error: corrupt });
    expect(log.closed).toBe(0);
    expect(running.listening).toBe(0);
  });
});

describe("when the log fails", () => {
  it("readiness ends at once, writes get 503, reads drain, and the log is not touched again", async () => {
    const log = new CountedLog();
    const running = new Running({ log, environment: { ANNALS_SHUTDOWN_FAILED_DRAIN_MS: "3000" } });
    const client = await running.ready();
    await client.put("a", "b");
    log.fail();
    expect((await client.send("GET", "/readyz")).status).toBe(503);
    const write = await client.put("c", "d");
    expect(write.status).toBe(503);
    expect(errorCodeOf(write)).toBe("LOG_FAILED");
    expect((await client.get("a")).text).toBe("b");
    expect((await client.send("GET", "/metrics")).text).toContain("annals_log_write_errors_total 1");
    const ending = await running.ended;
    expect(ending.type).toBe("storage-failed");
    expect(log.closed).toBe(0);
    await expect(client.get("a")).rejects.toThrow();
    client.close();
  });

  it.each([
    ["told to who closes it", () => Promise.reject(new LogError("LOG_FAILED", "its end could not be cut"))],
    ["told to who watches it only", () => Promise.resolve()],
  ])("a failure on the way down decides the ending: %s", async (_how, closed) => {
    const log = new CountedLog();
    log.close = () => {
      log.fail();
      return closed();
    };
    const running = new Running({ log, environment: { ANNALS_SHUTDOWN_FAILED_DRAIN_MS: "60000" } });
    await running.ready();
    await running.server.stop("test");
    expect((await running.ended).type).toBe("storage-failed");
  });
});

describe("when a projection dies", () => {
  it("the server ends without answering reads from a state that nobody can trust", async () => {
    let die: (error: Error) => void = () => undefined;
    const running = new Running({
      openStore: (options) => {
        die = options.onDead;
        return openStore(options);
      },
    });
    await running.ready();
    const broken = new Error("broken");
    die(broken);
    expect(await running.ended).toEqual({ type: "storage-failed", error: broken });
  });
});

describe("when the log does not close in time", () => {
  it("the ending is late, not stopped", async () => {
    const log = new CountedLog();
    log.close = () => new Promise(() => undefined);
    const running = new Running({ log, environment: { ANNALS_SHUTDOWN_TIMEOUT_MS: "200" } });
    await running.ready();
    void running.server.stop("test");
    expect(await running.ended).toEqual({ type: "late", timeoutMs: 200 });
  });
});

describe("expired keys", () => {
  it("are reclaimed by the timer, without a record", async () => {
    const log = new CountedLog();
    let reclaimed = 0;
    const running = new Running({
      log,
      environment: { ANNALS_KV_STORE_TTL_CLEANUP_INTERVAL_MS: "10" },
      openStore: async (options) => {
        const store = await openStore(options);
        const reclaim = store.reclaimExpired.bind(store);
        return Object.assign(store, {
          reclaimExpired: (now: number, budget: number) => {
            const count = reclaim(now, budget);
            reclaimed += count;
            return count;
          },
        });
      },
    });
    const client = await running.ready();
    await client.post("/kv/set", { key: "brief", value: 1, expiry: { type: "milliseconds", value: 5 } });
    const { endOffset } = log;
    while (reclaimed === 0) await turn();
    expect(log.endOffset).toBe(endOffset);
    client.close();
    await running.server.stop("test");
    await running.ended;
  });
});
