import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { offset, openLogView } from "../../log/index.js";
import { MigrationDiffers, migrate } from "../../ops/migration/migrate.js";
import { encodeRecord } from "../../projections/events.js";
import { Fold, TEXT_TYPE, writeSnapshot } from "../../projections/index.js";
import { seededRandom } from "../../props/run-settings.js";
import { seededBytes } from "../../props/world/seeded-world.js";
import { AnnalsCommand, runAnnals } from "../support/annals-command.js";
import { RULES } from "../support/backup-bench.js";
import { HttpClient } from "../support/http-client.js";
import { OLD, olderDirectory } from "../support/older-directories.js";
import { wholeHistoryRecords } from "../support/restore-bench.js";

const directory = mkdtempSync(join(tmpdir(), "annals-migrate-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** A copy of what an earlier build left. */
function older(name: string): string {
  const path = join(directory, name);
  cpSync(new URL("../fixtures/data-directory-v1", import.meta.url).pathname, path, { recursive: true });
  return path;
}

/** Every file but the lock. */
function filesIn(path: string): Map<string, string> {
  const names = readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name !== "LOCK")
    .map((entry) => join(entry.parentPath, entry.name));
  return new Map(names.sort().map((file) => [file.slice(path.length), readFileSync(file, "base64")]));
}

const OLDER = [
  { part: "format.json", version: 1, newest: 3, count: 1 },
  { part: "snapshots/snapshot_1700000043466_129.snap", version: 1, newest: 2, count: 1 },
  { part: "snapshots/snapshot_1700000150786_258.snap", version: 1, newest: 2, count: 1 },
  { part: "events of kind 1", version: 1, newest: 2, count: 1 },
];
const DIGEST = "236444597a89607da842e339ff3ce1e2336f71614835497096e96631917fc64a";

describe("annals migrate", () => {
  it("writes an older directory anew, and finds nothing to do in the new one", async () => {
    const from = older("old");
    const before = filesIn(from);
    const into = join(directory, "new");
    const done = await runAnnals(["migrate", "--data-dir", from, "--into", into, "--json"]);
    expect([done.code, done.stderr]).toEqual([0, ""]);
    expect(JSON.parse(done.stdout)).toMatchObject({
      dryRun: false,
      isNeeded: true,
      firstOffset: 1,
      lastOffset: 258,
      epoch: 2,
      older: OLDER,
      digests: { all: DIGEST },
      warnings: [],
    });
    expect(filesIn(from)).toEqual(before);
    const written = filesIn(into);
    const again = await runAnnals(["migrate", "--data-dir", into, "--into", join(directory, "third")]);
    expect([again.code, again.stdout]).toEqual([
      0,
      `${into}: nothing is of an older format; nothing was written\n`,
    ]);
    expect(filesIn(into)).toEqual(written);
    expect(readdirSync(directory)).not.toContain("third");
    const twice = await runAnnals(["migrate", "--data-dir", from, "--into", into]);
    expect(twice.code).toBe(2);
    expect(twice.stderr).toMatch(/^annals: LOG_DIRECTORY_UNUSABLE.*is not empty.*\n$/);
  });

  it("says what is older of a live directory, whose server says so too, and does not migrate it", async () => {
    const from = older("live");
    const server = new AnnalsCommand(["serve", "--port", "0", "--data-dir", from]);
    try {
      expect(await server.untilLogged("started")).toMatchObject({ snapshotFormat: 1, directoryFormat: 1 });
      expect(
        await server.untilLogged(
          "parts of the data directory are of older formats, and are read as they are; `annals migrate` writes them anew elsewhere",
        ),
      ).toMatchObject({
        level: "info",
        older: OLDER.map(({ part, version, newest }) => `${part}: version ${version} of ${newest}`),
      });
      const [asked, refused] = await Promise.all([
        runAnnals(["migrate", "--data-dir", from, "--dry-run", "--json"]),
        runAnnals(["migrate", "--data-dir", from, "--into", join(directory, "never")]),
      ]);
      expect([asked.code, JSON.parse(asked.stdout)]).toMatchObject([
        0,
        { dryRun: true, isNeeded: true, older: OLDER },
      ]);
      expect([refused.code, refused.stderr]).toEqual([
        5,
        expect.stringMatching(/in use by annals serve.*stop it first/),
      ]);
      expect(readdirSync(directory)).not.toContain("never");
      // The first snapshot of format 2 is the moment from which the directory says 2.
      expect(readdirSync(from)).not.toContain("format.json");
      const client = new HttpClient(await server.port(), 1);
      expect((await client.send("POST", "/snapshot")).status).toBe(200);
      client.close();
      expect(JSON.parse(readFileSync(join(from, "format.json"), "utf8"))).toEqual({ formatVersion: 3 });
    } finally {
      await server.end();
    }
  });

  it("needs a place outside of the old directory", async () => {
    const from = older("outside");
    symlinkSync(from, `${from}-link`);
    const calls = [[], ["--into", join(from, "new")], ["--into", join(`${from}-link`, "new")]];
    const ended = calls.map((flags) => runAnnals(["migrate", "--data-dir", from, ...flags]));
    for (const { code, stderr } of await Promise.all(ended))
      expect([code, stderr.trimEnd().split("\n").length]).toEqual([2, 1]);
  });
});

describe("a migration", () => {
  it("takes other answers in a snapshot for what the settings of then let be kept", async () => {
    const from = older("answers");
    const into = join(directory, "fewer");
    const command = ["migrate", "--data-dir", from, "--into", into, "--json"];
    const done = await runAnnals(command, { environment: { ANNALS_IDEMPOTENCY_ANSWERS_MAX: "1" } });
    expect(done.code).toBe(0);
    expect(done.stderr).toMatch(/idempotency\.\*/);
    expect(JSON.parse(done.stdout)).toMatchObject({ lastOffset: 258, warnings: [expect.any(String)] });
    expect((await runAnnals(["verify", into])).code).toBe(0);
  });

  it("does not finish when a snapshot of the old directory is not what its log says", async () => {
    const records = await wholeHistoryRecords(40, 7);
    const files = await olderDirectory({ records, segmentRecords: 20, snapshotsAt: [] });
    const log = await openLogView(files, OLD);
    // The state of another history, under the mark of a record of this one.
    const fold = new Fold({ rules: RULES });
    for (const record of records.slice(0, 28)) fold.take(record);
    const planted = {
      type: "kv.set",
      key: "planted",
      value: "",
      contentType: TEXT_TYPE,
      expiresAt: 0,
      previous: offset(0),
    } as const;
    fold.take({ ...records[28]!, ...encodeRecord([planted], { command: "kv.set" }) });
    await writeSnapshot(files, `${OLD}/snapshots`, fold, await log.markAt(offset(29)), { now: () => 1 });
    const options = {
      files,
      from: OLD,
      into: "/new",
      rules: RULES,
      now: () => 1,
      randomBytes: seededBytes(seededRandom(1)),
      holder: "a test",
    };
    await expect(migrate(options)).rejects.toThrow(MigrationDiffers);
    await expect(openLogView(files, "/new")).rejects.toMatchObject({ code: "LOG_RESTORE_UNFINISHED" });
  });
});
