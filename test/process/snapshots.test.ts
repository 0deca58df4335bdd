/** Snapshots and retention of the real process: made under load, killed, without room, without their thread, without what they need. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { describe, expect, onTestFinished, test } from "vitest";
import { openLog, realFileSystem } from "../../log/index.js";
import { loadConfig } from "../../ops/config/load.js";
import { LiveSettings, logSettings } from "../../ops/config/rooms.js";
import { House } from "../../ops/state/house.js";
import type { WorkerThread } from "../../ops/state/state-worker.js";
import { openStore } from "../../projections/index.js";
import { seed, seededRandom } from "../../props/run-settings.js";
import { runAnnals } from "../support/annals-command.js";
import { errorCodeOf, HttpClient } from "../support/http-client.js";
import { KillCycles } from "../support/kill-cycles.js";
import { realDirectory } from "../support/real-directory.js";
import { type RunningServer, startServer } from "../support/server-process.js";

const UPKEEP = { ANNALS_LOG_RETENTION_BYTES: "4096", ANNALS_LOG_SEGMENT_BYTES: "4096" };

async function put(client: HttpClient, from: number, count: number, size = 100): Promise<void> {
  await Promise.all(
    Array.from({ length: count }, async (_, at) => {
      const answer = await client.put(`k${from + at}`, `${from + at} ${"x".repeat(size)}`);
      expect(answer.status).toBeLessThan(300);
    }),
  );
}

async function persistence(client: HttpClient): Promise<Record<string, number>> {
  const { text } = await client.send("GET", "/info");
  const { persistence: section, log } = JSON.parse(text);
  return { ...section, ...log };
}

/** Makes snapshots until the beginning of the log is gone. */
async function retire(server: RunningServer): Promise<void> {
  const client = new HttpClient(server.port, 8);
  for (let round = 0; (await persistence(client))["first_offset"] === 1; round += 1) {
    expect(round).toBeLessThan(50);
    await put(client, round * 20, 20, 300);
    expect((await client.post("/snapshot", {})).status).toBe(200);
  }
  client.close();
}

describe("a snapshot of a running server", () => {
  test("is there when it was answered, and the next start replays the rest only", async () => {
    const options = { dataDirectory: await realDirectory() };
    let server = await startServer(options);
    let client = new HttpClient(server.port, 8);
    await put(client, 0, 100);
    const [answer] = await Promise.all([client.post("/snapshot", {}), put(client, 100, 200)]);
    const made = JSON.parse(answer.text);
    expect(made).toMatchObject({ success: true, name: expect.stringMatching(/^snapshot_\d+_\d+\.snap$/) });
    expect(made.offset).toBeGreaterThan(100);
    const listed = JSON.parse((await client.send("GET", "/snapshots")).text);
    expect(listed).toMatchObject({ count: 1, snapshots: [{ name: made.name, sha256: made.sha256 }] });
    await server.kill();

    server = await startServer(options);
    client = new HttpClient(server.port, 8);
    const facts = await persistence(client);
    expect(facts["start_snapshot_offset"]).toBe(made.offset);
    expect(facts["start_replayed_records"]).toBe((facts["end_offset"] ?? 0) - made.offset);
    expect(server.output).toContain(`"snapshot":"${made.name}"`);
    for (const at of [0, 99, 100, 299]) expect((await client.get(`k${at}`)).text).toMatch(`${at} `);
    await server.kill("SIGTERM");
  });

  test("is made by itself after so many records", async () => {
    const environment = { ANNALS_PERSISTENCE_SNAPSHOT_OPERATION_THRESHOLD: "50" };
    const server = await startServer({ dataDirectory: await realDirectory(), environment });
    const client = new HttpClient(server.port, 8);
    await put(client, 0, 60);
    await expect
      .poll(async () => (await persistence(client))["last_snapshot_offset"])
      .toBeGreaterThanOrEqual(50);
    await server.kill("SIGTERM");
  });

  test("5 kills while snapshots are made and the log before them goes lose nothing", async () => {
    const cycles = new KillCycles(await realDirectory(), seededRandom(seed), "always", true);
    const report = await cycles.run(5);
    expect(report.snapshots).toBeGreaterThanOrEqual(3);
    expect(report.begunWithSnapshot).toBeGreaterThanOrEqual(3);
    expect(report.retired).toBe(true);
  });
});

describe("what is missing", () => {
  test("a start whose log has no beginning and whose snapshots are gone is refused with exit code 3", async () => {
    const dataDirectory = await realDirectory();
    const server = await startServer({ dataDirectory, environment: UPKEEP });
    await retire(server);
    expect((await server.kill("SIGTERM")).code).toBe(0);
    rmSync(join(dataDirectory, "snapshots"), { recursive: true });
    const { code, stderr } = await runAnnals(["serve", "--data-dir", dataDirectory, "--port", "0"]);
    expect([code, stderr]).toEqual([3, expect.stringContaining("SNAPSHOT_MISSING")]);
  });

  test("a damaged newest snapshot is passed over for the one before", async () => {
    const dataDirectory = await realDirectory();
    let server = await startServer({ dataDirectory, environment: UPKEEP });
    await retire(server);
    await server.kill("SIGTERM");
    const names = readdirSync(join(dataDirectory, "snapshots")).sort((a, b) => offsetOf(a) - offsetOf(b));
    expect(names.length).toBeGreaterThanOrEqual(2);
    const newest = names.at(-1) ?? "";
    writeFileSync(join(dataDirectory, "snapshots", newest), "not a snapshot");
    server = await startServer({ dataDirectory, environment: UPKEEP });
    expect(server.output).toContain("a snapshot was passed over");
    const client = new HttpClient(server.port, 1);
    expect((await persistence(client))["start_snapshot_offset"]).toBe(offsetOf(names.at(-2) ?? ""));
    expect((await client.get("k0")).status).toBe(200);
    await server.kill("SIGTERM");
  });
});

const offsetOf = (name: string): number => Number(/_(\d+)\.snap$/.exec(name)?.[1]);

describe("offline", () => {
  test("annals snapshot makes one that the next start begins with, and keeps away from a running server", async () => {
    const dataDirectory = await realDirectory();
    let server = await startServer({ dataDirectory });
    await put(new HttpClient(server.port, 8), 0, 20);
    const refused = await runAnnals(["snapshot", dataDirectory]);
    expect([refused.code, refused.stderr]).toEqual([5, expect.stringContaining("POST /snapshot")]);
    await server.kill();
    const made = await runAnnals(["snapshot", dataDirectory, "--json"]);
    expect(made.code).toBe(0);
    const { offset } = JSON.parse(made.stdout);
    server = await startServer({ dataDirectory });
    const client = new HttpClient(server.port, 1);
    expect((await persistence(client))["start_snapshot_offset"]).toBe(offset);
    await server.kill("SIGTERM");
  });
});

describe("without room", () => {
  const trial = mkdtempSync(join(tmpdir(), "annals-mount-"));
  const mounts = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "none", trial]).status === 0;
  if (mounts) spawnSync("umount", [trial]);
  rmSync(trial, { recursive: true });

  test.for([
    ["the reserve is reached", 4 * 1024 * 1024],
    ["not a byte is left", 0],
  ] as const)("%s: 507, nothing half made stays, the server goes on", async ([, reserve], context) => {
    context.skip(!mounts, "mounting a tmpfs needs root");
    const directory = await realDirectory();
    expect(spawnSync("mount", ["-t", "tmpfs", "-o", "size=16m", "none", directory]).status).toBe(0);
    onTestFinished(() => void spawnSync("umount", ["--lazy", directory]));
    const environment = { ANNALS_LOG_RESERVE_BYTES: String(reserve), ANNALS_LOG_SEGMENT_BYTES: "1048576" };
    const server = await startServer({ dataDirectory: join(directory, "data"), environment });
    onTestFinished(async () => void (await server.kill()));
    const client = new HttpClient(server.port, 4);
    for (let at = 0; at < 20; at += 1) await put(client, at, 1, 20_000);
    const { bavail, bsize } = await statfs(directory);
    const left = Math.max(0, reserve - 65_536);
    writeFileSync(join(directory, "ballast"), Buffer.alloc(bavail * bsize - left));
    const refused = await client.post("/snapshot", {});
    expect([refused.status, errorCodeOf(refused)]).toEqual([507, "LOG_DISK_FULL"]);
    const snapshots = join(directory, "data", "snapshots");
    expect(existsSync(snapshots) ? readdirSync(snapshots) : []).toEqual([]);
    expect((await client.get("k3")).status).toBe(200);
    expect((await persistence(client))["snapshots_failed"]).toBe(1);
    rmSync(join(directory, "ballast"));
    expect((await client.post("/snapshot", {})).status).toBe(200);
  });
});

describe("a thread that dies", () => {
  test("fails the snapshot with a code, and the next one is made by another thread", async () => {
    const dataDirectory = await realDirectory();
    mkdirSync(dataDirectory, { recursive: true });
    const loaded = loadConfig({ environment: {}, flags: { "data-dir": dataDirectory } });
    if (!loaded.ok) throw new Error(JSON.stringify(loaded.mistakes));
    const { values } = loaded.config;
    const opened = await openLog({
      ...logSettings(values),
      dataDirectory,
      files: realFileSystem,
      now: Date.now,
      randomBytes: (count) => Buffer.alloc(count, 7),
      holder: "a test",
    });
    const store = await openStore({
      log: opened.log,
      rules: new LiveSettings(values).rules,
      onDead: (error) => {
        throw error;
      },
    });
    const real = new URL("../../dist/ops/state/worker.js", import.meta.url);
    const threads: (() => WorkerThread)[] = [
      () => new Worker("setTimeout(() => { throw new Error('out of luck'); }, 20)", { eval: true }),
      () => new Worker("setTimeout(() => process.exit(9), 20)", { eval: true }),
      () => new Worker(real, { workerData: { niceness: 0 } }),
    ];
    const said: unknown[] = [];
    const house = new House({
      files: realFileSystem,
      dataDirectory,
      opened,
      values: () => values,
      now: Date.now,
      stopwatch: () => performance.now(),
      logger: { info: () => undefined, warn: () => undefined, error: (facts: unknown) => said.push(facts) },
      startThread: () => (threads.shift() ?? (() => new Worker(real)))(),
    });
    await house.begin(store);
    for (const _ of [1, 2])
      expect(await house.make()).toMatchObject({ type: "refused", code: "API_SNAPSHOT_FAILED" });
    expect(await house.make()).toMatchObject({ type: "snapshot", facts: { offset: opened.log.endOffset } });
    expect(house.figures).toMatchObject({ made: 1, failed: 2 });
    expect(said.length).toBeGreaterThanOrEqual(4);
    await house.close();
    await store.close();
    await opened.log.close();
  });
});
