/** The real server with an archive, on our own bucket service and in a directory: the thread, the settings, kill -9 and a clean stop. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { checkSegment, type LogRecord } from "../../log/index.js";
import { loadArchive } from "../../ops/backup/archive-chain.js";
import { ARCHIVE_HEAD, LOCK_OBJECT } from "../../ops/backup/layout.js";
import { segmentsOf } from "../../ops/backup/manifest.js";
import type { ObjectStore } from "../../ops/backup/object-store.js";
import { openObjectStore } from "../../ops/backup/open-object-store.js";
import { verifyBackups } from "../../ops/backup/verify.js";
import { seed, seededRandom } from "../../props/run-settings.js";
import { AnnalsCommand, runAnnals } from "../support/annals-command.js";
import { HttpClient } from "../support/http-client.js";
import { S3Server } from "../support/s3-server.js";

let bucket: S3Server;
let root: string;
const running: AnnalsCommand[] = [];
beforeAll(async () => {
  bucket = await S3Server.start();
  root = await mkdtemp(join(tmpdir(), "annals-archive-"));
});
afterEach(async () => {
  bucket.fault = () => undefined;
  for (const server of running.splice(0)) await server.end();
});
afterAll(async () => {
  await bucket.close();
  await rm(root, { recursive: true });
});

function serve(data: string, url: string, environment: Record<string, string> = {}): AnnalsCommand {
  const server = new AnnalsCommand(["serve", "--port", "0", "--data-dir", join(root, data)], {
    environment: {
      ...bucket.environment,
      ANNALS_ARCHIVE_URL: url,
      ANNALS_ARCHIVE_INTERVAL_SECS: "1",
      ANNALS_LOG_SEGMENT_BYTES: "65536",
      // A stop has an eighth of it to archive what is left: enough of a busy machine, too.
      ANNALS_SHUTDOWN_TIMEOUT_MS: "120000",
      ...environment,
    },
  });
  running.push(server);
  return server;
}

const clientOf = async (server: AnnalsCommand): Promise<HttpClient> => new HttpClient(await server.port(), 8);

async function sample(client: HttpClient, name: string): Promise<number | undefined> {
  const { text } = await client.send("GET", "/metrics");
  const found = new RegExp(`^annals_${name} (\\S+)$`, "m").exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  for (let round = 0; round < 2000; round++) {
    if (await holds()) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what} did not happen`);
}

/** Offsets of the answers. */
async function write(client: HttpClient, count: number): Promise<number[]> {
  const answers = await Promise.all(
    Array.from({ length: count }, (_, i) => client.put(`key-${i % 50}`, `${"x".repeat(500)}${i}`)),
  );
  return answers.map(({ headers }) => Number(headers["x-annals-offset"]));
}

async function recordsOf(store: ObjectStore): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  const archive = await loadArchive(store);
  for (const { name } of archive === undefined ? [] : segmentsOf(archive.manifest))
    await checkSegment(name, store.get(name), (batch) => records.push(...batch));
  return records;
}

async function expectWhole(url: string): Promise<LogRecord[]> {
  const store = await openObjectStore(url, bucket.environment);
  expect((await verifyBackups(store, { which: "all" })).findings).toEqual([]);
  const records = await recordsOf(store);
  expect(records.map(({ offset }) => offset)).toEqual(records.map((_, i) => i + 1));
  return records;
}

describe("the archive of a server", () => {
  test("follows the log, and a clean stop leaves nothing behind", async () => {
    const url = bucket.url("follows");
    const server = serve("follows", url);
    const client = await clientOf(server);
    const offsets = await write(client, 400);
    await until(
      "archiving",
      async () => (await sample(client, "archive_last_offset")) === Math.max(...offsets),
    );
    expect(await sample(client, "archive_lag_records")).toBe(0);
    expect(
      await sample(client, 'archive_uploads_total{kind="segment"}'.replace(/[{}]/g, "\\$&")),
    ).toBeGreaterThan(2);
    expect((await client.send("GET", "/readyz?verbose")).text).toMatch(
      /archive.*up to offset \d+, 0 records/,
    );
    const [last] = await write(client, 1);
    server.signal("SIGTERM");
    expect((await server.ended).code).toBe(0);
    const records = await expectWhole(url);
    expect(records.at(-1)?.offset).toBeGreaterThanOrEqual(last ?? Number.NaN);
    expect(bucket.badSignatures).toEqual([]);
  });

  test("survives kill -9 at any moment, with a service that fails", async () => {
    const random = seededRandom(seed);
    const url = bucket.url("killed");
    let archived = 0;
    for (let life = 0; life < 3 || (archived === 0 && life === 3); life++) {
      bucket.fault = () =>
        random() < 0.15
          ? [
              { type: "reset" as const },
              { type: "lose-answer" as const },
              { type: "refuse" as const, status: 503, code: "SlowDown" },
            ][Math.floor(random() * 3)]
          : undefined;
      const server = serve("killed", url);
      const client = await clientOf(server);
      await write(client, 300);
      // If none was long enough to archive something, the last one is.
      if (life === 3)
        await until("archiving", async () => ((await sample(client, "archive_last_offset")) ?? 0) > 0);
      setTimeout(() => server.signal("SIGKILL"), random() * 900);
      await Promise.all([server.ended, write(client, 300).catch(() => undefined)]);
      bucket.fault = () => undefined;
      if ((await loadArchive(await openObjectStore(url, bucket.environment))) === undefined) continue;
      const records = await expectWhole(url);
      expect(records.length).toBeGreaterThanOrEqual(archived);
      archived = records.length;
    }
    const server = serve("killed", url);
    const client = await clientOf(server);
    const [last = Number.NaN] = await write(client, 1);
    await until("archiving", async () => ((await sample(client, "archive_last_offset")) ?? 0) >= last);
    expect((await expectWhole(url)).length).toBeGreaterThanOrEqual(last);
    expect(archived).toBeGreaterThan(0);
    expect(
      bucket.overwritten.filter((key) => !key.endsWith(ARCHIVE_HEAD) && !key.endsWith(LOCK_OBJECT)),
    ).toEqual([]);
  });

  test("of another cluster is refused and left as it is, and the server serves", async () => {
    const url = `file://${join(root, "repository")}`;
    const first = serve("one", url);
    await write(await clientOf(first), 20);
    first.signal("SIGTERM");
    expect((await first.ended).code).toBe(0);
    const before = await expectWhole(url);

    const second = serve("two", url);
    const client = await clientOf(second);
    await write(client, 20);
    await until("refusal", async () => (await sample(client, "archive_refused")) === 1);
    const { status, text } = await client.send("GET", "/readyz?verbose");
    expect([status, text]).toEqual([200, expect.stringMatching(/archive.*refused: .*cluster/)]);
    expect(await sample(client, "archive_lag_records")).toBe(undefined);
    second.signal("SIGTERM");
    expect((await second.ended).code).toBe(0);
    expect((await expectWhole(url)).length).toBe(before.length);
  });

  test("takes over what a backup has sent to the same directory, also while nothing is written", async () => {
    const repository = join(root, "shared");
    const before = serve("shared", "");
    await write(await clientOf(before), 200);
    before.signal("SIGTERM");
    await before.ended;
    // The snapshot that a start would make first is made now: then the archive finds everything there.
    const data = join(root, "shared");
    expect((await runAnnals(["snapshot", data])).code).toBe(0);
    const backup = await runAnnals(["backup", `${repository}-repository`, "--data-dir", data, "--json"]);
    const { lastOffset } = JSON.parse(backup.stdout);

    const server = serve("shared", `${repository}-repository`);
    const client = await clientOf(server);
    await until("archiving", async () => (await sample(client, "archive_last_offset")) === lastOffset);
    expect(await sample(client, "archive_errors_total")).toBe(0);
    expect(await sample(client, 'archive_uploads_total\\{kind="segment"\\}')).toBe(0);
    server.signal("SIGTERM");
    expect((await server.ended).code).toBe(0);
    await expectWhole(`file://${repository}-repository`);
  });

  test("holds the log until it has it, and reaches further back when the log lets go", async () => {
    const url = bucket.url("holds");
    bucket.fault = () => ({ type: "reset" });
    const server = serve("holds", url, { ANNALS_LOG_RETENTION_BYTES: "65536" });
    const client = await clientOf(server);
    const snapshot = async (): Promise<void> => {
      await write(client, 200);
      expect((await client.send("POST", "/snapshot")).status).toBe(200);
    };
    const held = 'retention_holder_offset\\{holder="archive"\\}';
    for (let i = 0; i < 3; i++) await snapshot();
    await until("retention", async () => (await sample(client, held)) !== undefined);
    expect(await sample(client, held)).toBe(1);
    expect(await sample(client, "log_first_offset")).toBe(1);
    bucket.fault = () => undefined;
    await until("archiving", async () => (await sample(client, "archive_lag_records")) === 0);
    await snapshot();
    await until("retention", async () => ((await sample(client, "log_first_offset")) ?? 0) > 1);
    server.signal("SIGTERM");
    expect((await server.ended).code).toBe(0);
    expect((await expectWhole(url)).length).toBeGreaterThan(800);
    const archive = await loadArchive(await openObjectStore(url, bucket.environment));
    expect(archive?.manifest.snapshot?.offset).toBeGreaterThan(100);
  });

  test("is checked by the command line, and shows lag while the service is away", async () => {
    const url = bucket.url("away");
    bucket.fault = () => ({ type: "reset" });
    const server = serve("away", url);
    const client = await clientOf(server);
    await write(client, 30);
    await until("lag", async () => ((await sample(client, "archive_lag_seconds")) ?? 0) > 0.5);
    expect(await sample(client, "archive_lag_bytes")).toBeGreaterThan(30 * 500);
    bucket.fault = () => undefined;
    await until("catching up", async () => (await sample(client, "archive_lag_records")) === 0);
    const { code, stdout } = await runAnnals(["backup", "verify", url, "archive", "--json"], {
      environment: bucket.environment,
    });
    expect([code, JSON.parse(stdout)]).toEqual([0, expect.objectContaining({ whole: true, backups: 0 })]);
    const listed = await runAnnals(["backup", "list", url], { environment: bucket.environment });
    expect(listed.stdout).toMatch(/: no backup\narchive {2}offsets 1 to \d+ /);
  });
});
