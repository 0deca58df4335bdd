/**
 * The disk fills up under the real process (a small tmpfs): writes are refused, reads go on, and writes resume by
 * themselves when there is space again; nothing answered is lost.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { appendFile, mkdtemp, rm, statfs } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { type Answer, errorCodeOf, HttpClient } from "../support/http-client.js";
import { type RunningServer, startServer } from "../support/server-process.js";

const MIB = 1024 * 1024;
const DISK_MIB = 24;

/** Why no file system can be mounted here, or undefined. */
function missing(): string | undefined {
  const directory = mkdtempSync(join(tmpdir(), "annals-mount-"));
  const trial = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1m", "none", directory], { encoding: "utf8" });
  if (trial.status === 0) spawnSync("umount", [directory]);
  rmSync(directory, { recursive: true });
  return trial.status === 0 ? undefined : "mounting a tmpfs needs root";
}
const reason = missing();

const cases = [
  { name: "the reserve is reached", reserveBytes: 6 * MIB },
  { name: "not a byte is left", reserveBytes: 0 },
] as const;

describe("a full disk under the real process", () => {
  let directory: string;
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), "annals-full-"));
    if (reason !== undefined) return;
    const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", `size=${DISK_MIB}m`, "none", directory]);
    expect(mounted.status).toBe(0);
  });
  afterEach(async () => {
    if (reason === undefined) spawnSync("umount", ["--lazy", directory]);
    await rm(directory, { recursive: true });
  });

  for (const { name, reserveBytes } of cases)
    test(`${name}: 507 LOG_DISK_FULL, reads go on, writes resume by themselves`, async (context) => {
      context.skip(reason !== undefined, reason);
      const options = {
        dataDirectory: join(directory, "data"),
        environment: {
          ANNALS_LOG_RESERVE_BYTES: String(reserveBytes),
          ANNALS_LOG_SEGMENT_BYTES: String(MIB),
        },
      };
      const ballast = join(directory, "ballast");
      let server = await startServer(options);
      const writes = new Writes(server);
      for (let round = 0; round < 2; round += 1) {
        expect((await writes.put()).status).toBeLessThan(300);
        await fill(directory, ballast, reserveBytes);
        const refused = await writes.until((answer) => answer.status >= 300);
        expect([refused.status, errorCodeOf(refused)]).toEqual([507, "LOG_DISK_FULL"]);
        await writes.expectAll();
        expect((await writes.client.send("GET", "/readyz")).status).toBe(200);
        const { components } = JSON.parse((await writes.client.send("GET", "/health")).text);
        expect(components.disk).toMatch(/writes are refused/);

        await rm(ballast);
        expect((await writes.until((answer) => answer.status < 300)).status).toBeLessThan(300);
      }
      await writes.expectAll();
      expect(server.running).toBe(true);

      await server.kill();
      server = await startServer(options);
      await writes.follow(server).expectAll();
      await server.kill("SIGTERM");
    });
});

/** One writer of new keys that remembers what was answered, and what must not be there. */
class Writes {
  client: HttpClient;
  readonly #answered = new Map<string, string>();
  readonly #refused: string[] = [];
  #serial = 0;

  constructor(server: RunningServer) {
    this.client = new HttpClient(server.port, 4);
  }

  async put(): Promise<Answer> {
    this.#serial += 1;
    const key = `k${this.#serial}`;
    const value = `${this.#serial} ${"x".repeat(16_000)}`;
    const answer = await this.client.put(key, value);
    if (answer.status < 300) this.#answered.set(key, value);
    else this.#refused.push(key);
    return answer;
  }

  /** Writes until an answer is as wanted; gives up after 100 s or 4,000 writes. */
  async until(wanted: (answer: Answer) => boolean): Promise<Answer> {
    const deadline = Date.now() + 100_000;
    let answer = await this.put();
    for (let count = 0; !wanted(answer) && count < 4000 && Date.now() < deadline; count += 1) {
      if (answer.status >= 300) await new Promise((resolve) => setTimeout(resolve, 50));
      answer = await this.put();
    }
    return answer;
  }

  async expectAll(): Promise<void> {
    for (const [key, value] of this.#answered) {
      const answer = await this.client.get(key);
      expect([answer.status, answer.text === value], key).toEqual([200, true]);
    }
    for (const key of this.#refused) expect((await this.client.get(key)).status, key).toBe(404);
  }

  follow(server: RunningServer): this {
    this.client.close();
    this.client = new HttpClient(server.port, 4);
    return this;
  }
}

/**
 * Leaves the log a little less than its reserve, or nothing at all. The server may give space back meanwhile (what it
 * held ahead of a segment's end), so this fills until the disk is seen full.
 */
async function fill(directory: string, ballast: string, reserveBytes: number): Promise<void> {
  const wanted = Math.max(0, reserveBytes - 64 * 1024);
  for (let count = 0; count < 100; count += 1) {
    const { bavail, bsize } = await statfs(directory);
    const free = bavail * bsize;
    if (free <= reserveBytes) return;
    await appendFile(ballast, Buffer.alloc(free - wanted));
  }
  expect.unreachable("the disk never filled");
}
