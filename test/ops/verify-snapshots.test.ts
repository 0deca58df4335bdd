import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  type FileSystem,
  keepDiverged,
  offset,
  openLogView,
  realFileSystem,
  SNAPSHOT_DIRECTORY,
} from "../../log/index.js";
import { verifySnapshots } from "../../ops/cli/verify-snapshots.js";
import { foldTo, kv, openStore, TEXT_TYPE, writeSnapshot } from "../../projections/index.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { WORLD_RULES } from "../../props/world/store-world.js";
import { AnnalsCommand, runAnnals } from "../support/annals-command.js";
import { HttpClient } from "../support/http-client.js";
import { openTestLog } from "../support/test-log.js";

const DATA = "/data";
const rules = WORLD_RULES;

async function snapshotOf(files: FileSystem, data: string, last?: number): Promise<string> {
  const log = await openLogView(files, data, last === undefined ? {} : { last: offset(last) });
  const { fold } = await foldTo(log, undefined, { rules });
  const mark = await log.markAt(log.endOffset);
  return (await writeSnapshot(files, `${data}/${SNAPSHOT_DIRECTORY}`, fold, mark, { now: () => 1 })).name;
}

/** A log of 121 records, and snapshots at these offsets. */
async function aDirectory(...offsets: number[]) {
  const files = new SimulatedDisk(5).mount();
  const { log } = await openTestLog(DATA, { files });
  const store = await openStore({ log, rules, onDead: (error) => expect.unreachable(error.message) });
  const context = { now: 9_000, random: 0.5, cause: { command: "test" } };
  for (let n = 0; n < 120; n++) {
    const command = { key: `key ${n % 30}`, value: `value ${n}`, contentType: TEXT_TYPE };
    await store.execute(kv.set, command, context, () => undefined);
  }
  const names: string[] = [];
  for (const last of offsets) names.push(await snapshotOf(files, DATA, last));
  return { files, log, names };
}

async function change(files: FileSystem, name: string, position: number): Promise<void> {
  const handle = await files.open(`${DATA}/${SNAPSHOT_DIRECTORY}/${name}`, "write");
  await handle.write(Buffer.from("!"), position);
  await handle.close();
}

describe("what verify says of snapshots", () => {
  it("is nothing where there are none, and names those that are whole", async () => {
    const { files } = await aDirectory();
    expect(await verifySnapshots(files, DATA, true)).toEqual({
      snapshots: [],
      bytes: 0,
      problems: [],
      notes: [],
    });
    const some = await aDirectory(40, 90);
    const report = await verifySnapshots(some.files, DATA, true);
    expect(report.snapshots.map(({ offset: at }) => at)).toEqual([40, 90]);
    expect([report.problems, report.notes]).toEqual([[], []]);
  });

  it("names a damaged one, with the place, whether or not the log is whole", async () => {
    const { files, names } = await aDirectory(40, 90);
    await change(files, names[0]!, 300);
    for (const isLogWhole of [true, false]) {
      const report = await verifySnapshots(files, DATA, isLogWhole);
      expect(report.snapshots.map(({ offset: at }) => at)).toEqual([90]);
      expect(report.problems).toMatchObject(
        [{ code: "snapshot", file: `snapshots/${names[0]}`, offset: 40, position: 88, expected: /crc/ }].map(
          (each) => ({ ...each, expected: expect.stringMatching(each.expected) }),
        ),
      );
    }
  });

  it("notes one of another log, one that is too old, and what is no snapshot", async () => {
    const { files, log } = await aDirectory(10, 90);
    const foreign = await aDirectory(50);
    const name = foreign.names[0]!;
    const path = `${DATA}/${SNAPSHOT_DIRECTORY}/${name}`;
    const bytes = new Uint8Array(100_000);
    const from = await foreign.files.open(path, "read");
    const length = await from.read(bytes, 0);
    const to = await files.open(path, "create");
    // The other log was made alike, but for its ids.
    await to.write(bytes.subarray(0, length), 0);
    await to.close();
    await (await files.open(`${DATA}/${SNAPSHOT_DIRECTORY}/notes.txt`, "create")).close();
    expect(await log.retain(offset(80))).toBeGreaterThan(12);
    const { problems, notes } = await verifySnapshots(files, DATA, true);
    expect(problems).toEqual([]);
    expect(notes.map(({ file, advice }) => [file.replace(/_\d+_/, "_"), advice.slice(0, 20)])).toEqual([
      ["snapshots/snapshot_10.snap", "the log behind it wa"],
      ["snapshots/snapshot_50.snap", expect.stringMatching(/^(a start passes over|the log behind it wa)/)],
      ["snapshots/notes.txt", "move it elsewhere"],
    ]);
  });

  it("is a problem where no snapshot reaches up to the log", async () => {
    const { files, log, names } = await aDirectory(90);
    const first = await log.retain(offset(80));
    expect((await verifySnapshots(files, DATA, true)).problems).toEqual([]);
    await change(files, names[0]!, 500);
    const { problems } = await verifySnapshots(files, DATA, true);
    expect(problems).toHaveLength(2);
    expect(problems[1]).toMatchObject({ file: "snapshots", found: "none that can be used" });
    expect(problems[1]!.expected).toContain(`offset ${first - 1} or later`);
  });

  it("is nothing of an end that was cut off and kept: no server starts with it", async () => {
    const { files, log } = await aDirectory();
    const kept = await keepDiverged(files, DATA, log, offset(80), 77);
    const { problems, notes } = await verifySnapshots(files, `${DATA}/${kept!.directory}/`, true);
    expect([problems, notes]).toEqual([[], []]);
  });
});

describe("a data directory with a snapshot", () => {
  const data = mkdtempSync(join(tmpdir(), "annals-snapshots-"));
  afterAll(() => rmSync(data, { recursive: true, force: true }));
  const serve = (): AnnalsCommand => new AnnalsCommand(["serve", "--port", "0", "--data-dir", data]);

  async function served(): Promise<{ value: string; warnings: string[] }> {
    const server = serve();
    try {
      const client = new HttpClient(await server.port(), 1);
      const value = (await client.get("a")).text;
      client.close();
      server.signal("SIGTERM");
      expect((await server.ended).code).toBe(0);
      const lines = server.stdout.split("\n").filter((line) => line.includes("a snapshot was passed over"));
      return { value, warnings: lines.map((line) => JSON.parse(line)["code"]) };
    } finally {
      await server.end();
    }
  }

  it("is verified and served with it, and without it when it is damaged", async () => {
    const server = serve();
    const client = new HttpClient(await server.port(), 1);
    for (let n = 0; n < 30; n++) await client.put("a", `value ${n}`);
    client.close();
    server.signal("SIGTERM");
    expect((await server.ended).code).toBe(0);
    const name = await snapshotOf(realFileSystem, data, 20);
    const whole = await runAnnals(["verify", data]);
    expect(whole.stdout).toMatch(/\n1 whole snapshot, the newest of offset 20, .*\nclean\n$/);
    expect(whole.code).toBe(0);
    const { value, warnings } = await served();
    expect([value.includes("value 29"), warnings]).toEqual([true, []]);

    const path = join(data, SNAPSHOT_DIRECTORY, name);
    const bytes = readFileSync(path);
    bytes[200]! ^= 1;
    writeFileSync(path, bytes);
    const damaged = await runAnnals(["verify", data, "--json"]);
    expect(damaged.code).toBe(3);
    expect(JSON.parse(damaged.stdout)).toMatchObject({
      clean: false,
      problems: [{ code: "snapshot", file: `snapshots/${name}` }],
      snapshots: [],
    });
    expect(damaged.stderr).toMatch(
      /is damaged: snapshots\/.* expected a checksum that holds, .* a start passes over it\n$/,
    );
    const again = await served();
    expect([again.value.includes("value 29"), again.warnings]).toEqual([true, ["SNAPSHOT_DAMAGED"]]);
    expect(readdirSync(join(data, SNAPSHOT_DIRECTORY))).toEqual([name]);
  });
});
