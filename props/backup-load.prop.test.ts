/**
 * Promise: a backup of a directory in which a real server is being written to, in any fsync mode,
 *
 *   1. verifies, and restores
 *   2. contains every write that was answered before it began, with its value
 *   3. is a prefix of the log: dense offsets from the first on, and nothing in it that was not written
 *   4. takes nothing from the server: every write goes on being answered
 *
 * Looked at in a directory restored from each of them. 100 backups in the long form.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type FsyncMode, offset, openLogView, realFileSystem, SNAPSHOT_DIRECTORY } from "../log/index.js";
import { DirectoryStore } from "../ops/backup/directory-store.js";
import { verifyBackups } from "../ops/backup/verify.js";
import { type Fold, foldTo, textOf } from "../projections/index.js";
import { AnnalsCommand } from "../test/support/annals-command.js";
import { RULES } from "../test/support/backup-bench.js";
import { HttpClient } from "../test/support/http-client.js";
import { RestoreBench } from "../test/support/restore-bench.js";
import { startServer } from "../test/support/server-process.js";
import { factor, seed, seededRandom } from "./run-settings.js";

const WRITERS = 6;
const KEYS = 200;

/** Keys with numbers that only grow: what was answered last, and what was sent last. */
class Writers {
  readonly answered = new Map<string, number>();
  readonly sent = new Map<string, number>();
  readonly #random = seededRandom(seed);
  readonly #client: HttpClient;
  #count = 0;
  #stopping = false;
  #running: Promise<void>[] = [];

  constructor(port: number) {
    this.#client = new HttpClient(port, WRITERS);
  }

  get count(): number {
    return this.#count;
  }

  start(): void {
    this.#running = Array.from({ length: WRITERS }, (_, writer) => this.#write(writer));
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    await Promise.all(this.#running);
    this.#client.close();
  }

  async until(count: number): Promise<void> {
    while (this.#count < count) await new Promise((resolve) => setTimeout(resolve, 2));
  }

  async #write(writer: number): Promise<void> {
    for (let number = 1; !this.#stopping; number += 1) {
      const key = `w${writer}-${Math.floor(this.#random() * KEYS)}`;
      this.sent.set(key, number);
      const answer = await this.#client.put(key, `${number} ${"v".repeat(Math.floor(this.#random() * 600))}`);
      if (answer.status !== 201 && answer.status !== 204) throw new Error(`${answer.status}: ${answer.text}`);
      this.answered.set(key, number);
      this.#count += 1;
    }
  }
}

/** The state that a restore of the backup gives back. */
async function restoredFold(store: DirectoryStore, id: string, dataDirectory: string): Promise<Fold> {
  const restorer = new RestoreBench(realFileSystem, { store }, seed);
  const { firstOffset, lastOffset } = await restorer.restore({ type: "latest" }, dataDirectory, {
    backup: id,
  });
  expect(firstOffset).toBe(1);
  const view = await openLogView(realFileSystem, dataDirectory);
  expect(view.endOffset).toBe(lastOffset + 1);
  const snapshots = { files: realFileSystem, directory: join(dataDirectory, SNAPSHOT_DIRECTORY) };
  const { fold } = await foldTo(view, snapshots, { rules: RULES, last: offset(lastOffset) });
  return fold;
}

async function runBackups(fsyncMode: FsyncMode, backups: number, linked: boolean): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), "annals-backup-"));
  const dataDirectory = join(directory, "data");
  const repository = join(directory, "repository");
  const environment = {
    ANNALS_PERSISTENCE_WAL_FSYNC_MODE: fsyncMode,
    ANNALS_LOG_SEGMENT_BYTES: String(256 * 1024),
  };
  const server = await startServer({ dataDirectory, environment });
  const writers = new Writers(server.port);
  const store = new DirectoryStore({
    files: realFileSystem,
    directory: repository,
    randomBytes: () => new Uint8Array(4),
  });
  try {
    writers.start();
    let reused = 0;
    for (let i = 1; i <= backups; i++) {
      await writers.until(i * 40);
      const before = new Map(writers.answered);
      const args = [
        "backup",
        repository,
        "--data-dir",
        dataDirectory,
        "--json",
        ...(linked ? [] : ["--copy"]),
      ];
      const made = await new AnnalsCommand(args).ended;
      expect(made.stderr).toBe("");
      expect(made.code).toBe(0);
      const report = JSON.parse(made.stdout);
      reused += report.bytes - report.sentBytes;

      const { findings } = await verifyBackups(store, { which: { id: report.id } });
      expect(findings).toEqual([]);
      const restored = join(directory, `restored-${i}`);
      const fold = await restoredFold(store, report.id, restored);
      expect(fold.offset).toBe(report.lastOffset);
      for (const [key, number] of before) {
        const found = fold.kv.get(key, fold.clock);
        const held = found === undefined ? 0 : Number.parseInt(textOf(found.bytes) ?? "", 10);
        expect(held, `${key} of backup ${i}`).toBeGreaterThanOrEqual(number);
        expect(held).toBeLessThanOrEqual(writers.sent.get(key) ?? 0);
      }
      fold.close();
      await rm(restored, { recursive: true });
    }
    const count = writers.count;
    await writers.until(count + 10);
    await writers.stop();
    if (backups > 1) expect(reused).toBeGreaterThan(0);
    expect((await verifyBackups(store, { which: "all" })).findings).toEqual([]);
  } finally {
    await server.kill();
    await rm(directory, { recursive: true });
  }
}

describe("backup under load", () => {
  const long = factor > 1;
  for (const [fsyncMode, backups, linked] of [
    ["always", long ? 50 : 3, true],
    ["periodic", long ? 25 : 1, false],
    ["never", long ? 25 : 1, true],
  ] as const)
    test(`${fsyncMode}: ${backups} backups contain everything answered before`, () =>
      runBackups(fsyncMode, backups, linked));
});
