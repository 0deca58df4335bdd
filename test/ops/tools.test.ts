import {
  closeSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { epoch, realFileSystem } from "../../log/index.js";
import { LeadershipFile, readLeadership } from "../../replication/leadership-file.js";
import { AnnalsCommand, runAnnals } from "../support/annals-command.js";
import { HttpClient } from "../support/http-client.js";

const directory = mkdtempSync(join(tmpdir(), "annals-tools-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const serve = (data: string): AnnalsCommand =>
  new AnnalsCommand(["serve", "--port", "0", "--data-dir", data], {
    environment: { ANNALS_LOG_SEGMENT_BYTES: "4096" },
  });

const whole = join(directory, "whole");
let copies = 0;

/** The same written log in a directory of its own. */
function copyOfWhole(): string {
  const copy = join(directory, `copy-${copies++}`);
  cpSync(whole, copy, { recursive: true });
  return copy;
}

function segments(data: string): string[] {
  const names = readdirSync(join(data, "log")).filter((name) => name.endsWith(".log"));
  return names.sort().map((name) => join(data, "log", name));
}

function damage(data: string, segment: number): void {
  const file = openSync(segments(data)[segment]!, "r+");
  writeSync(file, Uint8Array.of(0xff, 0x01, 0xff), 0, 3, 900);
  closeSync(file);
}

beforeAll(async () => {
  const server = serve(whole);
  const client = new HttpClient(await server.port(), 1);
  await client.post("/kv/set", { key: "text", value: "héllo" });
  await client.send("PUT", "/kv/bytes", "\u0080", { "content-type": "application/octet-stream" });
  await client.post("/kv/mset", {
    pairs: [
      { key: "one", value: 1 },
      { key: "two", value: { a: [2] } },
    ],
  });
  await client.post("/kv/set", { key: "brief", value: 1, ttl: 3600 });
  await client.send("DELETE", "/kv/del/one");
  for (let index = 0; index < 20; index++) await client.put(`filler-${index}`, "x".repeat(500));
  client.close();
  server.signal("SIGTERM");
  expect((await server.ended).code).toBe(0);
  expect(segments(whole).length).toBeGreaterThan(2);
});

describe("annals verify", () => {
  it("says clean with exit code 0", async () => {
    const { code, stdout, stderr } = await runAnnals(["verify", whole]);
    expect(stderr).toBe("");
    expect(stdout).toMatch(/segments, 26 records, offsets 1 to 26, .*\nclean\n$/);
    expect(code).toBe(0);
    const json = await runAnnals(["verify", whole, "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({
      clean: true,
      records: 26,
      problems: [],
      directory: whole,
    });
  });

  it("says damaged with exit code 3, and where", async () => {
    const data = copyOfWhole();
    damage(data, 1);
    const { code, stdout, stderr } = await runAnnals(["verify", data]);
    expect(stdout).toMatch(/^damage {2}log\/\d{20}\.log at position \d+/m);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(stderr).toMatch(/is damaged: log\/\d{20}\.log at position \d+.*expected .*found /);
    expect(code).toBe(3);
    const json = await runAnnals(["verify", data, "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({ clean: false });
    expect(json.code).toBe(3);
  });

  it("takes a directory in the place of a segment for damage; so does a start, and a repair moves it aside", async () => {
    const data = copyOfWhole();
    const path = segments(data)[1]!;
    rmSync(path);
    mkdirSync(path);
    const damage = /expected a segment, found a directory; move it elsewhere/;
    for (const args of [
      ["verify", data],
      ["dump", data],
      ["serve", "--data-dir", data, "--port", "0"],
      ["repair", data],
    ]) {
      const { code, stdout, stderr } = await runAnnals(args);
      expect(stdout + stderr, args[0]).toMatch(damage);
      expect(code, args[0]).toBe(3);
    }
    const { code, stdout } = await runAnnals(["repair", data, "--apply"]);
    expect({ code, stdout }).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/the original files are in/),
    });
    expect((await runAnnals(["verify", data])).code).toBe(0);
  });

  it("names what it cannot read, and says what to do; to a start it is no failure of the disk", async () => {
    const data = copyOfWhole();
    const path = join(data, "identity.json");
    rmSync(path);
    mkdirSync(path);
    const what = `EISDIR: illegal operation on a directory, read '${path}'`;
    expect(await runAnnals(["verify", data])).toMatchObject({
      code: 1,
      stderr: `annals: ${what}; a file belongs there: move the directory elsewhere\n`,
    });
    const { code, stderr } = await runAnnals(["serve", "--data-dir", data, "--port", "0"]);
    expect(stderr).toContain(
      `annals: LOG_DIRECTORY_UNUSABLE: the log in ${data} cannot be opened: ${what}; check data_dir`,
    );
    expect(code).toBe(2);
  });

  it("gives the advice about the small files that repair and a start give", async () => {
    const data = copyOfWhole();
    writeFileSync(join(data, "recovery-point"), "damaged");
    const advice = /if `annals verify` finds nothing else, `annals repair` with --apply writes the file anew/;
    for (const command of [
      ["verify", data],
      ["serve", "--port", "0", "--data-dir", data],
    ]) {
      const { code, stderr } = await runAnnals(command);
      expect([code, stderr]).toEqual([3, expect.stringMatching(advice)]);
    }
    expect((await runAnnals(["repair", data, "--apply"])).code).toBe(0);
    expect((await runAnnals(["verify", data])).code).toBe(0);
    rmSync(join(data, "identity.json"));
    for (const command of [
      ["verify", data],
      ["repair", data],
      ["serve", "--port", "0", "--data-dir", data],
    ]) {
      const { code, stderr } = await runAnnals(command);
      expect([code, stderr]).toEqual([3, expect.stringMatching(/identity\.json.*no repair can help/)]);
      expect(stderr).not.toContain("`annals repair`");
    }
  });

  it("works on a directory that a server is writing to", async () => {
    const data = copyOfWhole();
    const server = serve(data);
    try {
      const client = new HttpClient(await server.port(), 2);
      let writing = true;
      const writer = (async () => {
        for (let index = 0; writing; index++) await client.put(`live-${index}`, "y".repeat(200));
      })();
      const { code, stderr } = await runAnnals(["verify", data]);
      writing = false;
      await writer;
      client.close();
      expect(stderr).toBe("");
      expect(code).toBe(0);
    } finally {
      await server.end();
    }
  });

  it("takes a wrong directory for a mistake in the call, not for damage", async () => {
    const empty = join(directory, "empty");
    mkdirSync(empty);
    for (const wrong of [join(directory, "nowhere"), empty]) {
      const { code, stderr } = await runAnnals(["verify", wrong]);
      expect(stderr).toMatch(/(does not exist|holds no log); name the data_dir of a server\n$/);
      expect(code).toBe(2);
    }
    const { code, stderr } = await runAnnals(["verify", join(whole, "recovery-point")]);
    expect([code, stderr]).toEqual([
      2,
      expect.stringMatching(/holds no log; name the data_dir of a server\n$/),
    ]);
    expect((await runAnnals(["verify"])).code).toBe(2);
  });

  it.each(["verify", "repair", "dump", "at"])(
    "(as %s) takes a directory whose log is gone for damaged",
    async (command) => {
      const data = copyOfWhole();
      rmSync(join(data, "log"), { recursive: true });
      const asked = command === "at" ? ["5", data, "kv.get", "key=text"] : [data];
      const { code, stderr } = await runAnnals([command, ...asked]);
      expect(stderr).toMatch(
        /log \(offset \d+\): expected the segment that begins at offset \d+, .* found no segment/,
      );
      expect([code, existsSync(join(data, "log"))]).toEqual([3, false]);
    },
  );
});

describe("annals dump", () => {
  async function dump(...args: string[]) {
    const result = await runAnnals(["dump", whole, ...args]);
    const lines = result.stdout.split("\n").filter((line) => line !== "");
    return { ...result, records: lines.map((line) => JSON.parse(line)) };
  }

  it("prints every record in order, with what happened", async () => {
    const { records, code, stderr } = await dump();
    expect(stderr).toBe("");
    expect(code).toBe(0);
    expect(records.map(({ offset }) => offset)).toEqual(Array.from({ length: 26 }, (_, index) => index + 1));
    expect(records[0]).toMatchObject({ kind: "epoch.started", epoch: 1, events: [] });
    expect(records[1]).toMatchObject({
      kind: "kv.set",
      events: [{ type: "kv.set", key: "text", value: "héllo", previous: 0 }],
      cause: { command: "kv.set" },
    });
    expect(records[2].events[0]).toMatchObject({
      key: "bytes",
      contentType: "application/octet-stream",
      value: "\u0080",
    });
    expect(records[3]).toMatchObject({ kind: "several" });
    expect(records[3].events.map(({ key, value }: { key: string; value: string }) => [key, value])).toEqual([
      ["one", "1"],
      ["two", '{"a":[2]}'],
    ]);
    expect(Date.parse(records[4].events[0].expiresAt) - Date.parse(records[4].time)).toBe(3_600_000);
    expect(records[5]).toMatchObject({ kind: "kv.deleted", events: [{ key: "one", previous: 4 }] });
  });

  it("keeps to a range of offsets or of time", async () => {
    const offsets = async (...args: string[]) => (await dump(...args)).records.map(({ offset }) => offset);
    expect(await offsets("--from", "3", "--to", "5")).toEqual([3, 4, 5]);
    expect(await offsets("--from", "26")).toEqual([26]);
    const { records } = await dump("--from", "4", "--to", "4");
    const after = await offsets("--from-time", records[0].time);
    expect(after).toContain(4);
    expect(after.at(-1)).toBe(26);
    const before = await offsets("--to-time", String(Date.parse(records[0].time)));
    expect(before[0]).toBe(1);
    expect(before).toContain(4);
    expect(await offsets("--to-time", `${Date.parse(records[0].time)}ms`)).toEqual(before);
    expect(await offsets("--to-time", "2026ms")).toEqual([]);
    expect(await offsets("--from-time", "2999-01-01T00:00:00Z")).toEqual([]);
  });

  it.each([
    ["--from", "0"],
    ["--from", "x"],
    ["--from-time", "tomorrow"],
    ["--from-time", "tomorrow 12"],
    ["--to-time", "foo 3"],
    ["--from-time", "2026"],
    ["--from-time", "20260131"],
    ["--from-time", "1769860800"],
    ["--from-time", "2026-01-31T12:00:00"],
    ["--from-time", "2026-02-31T12:00:00Z"],
    ["--from", "5", "--to", "3"],
  ])("refuses %s %s %s %s", async (...args) => {
    const { code, stderr } = await runAnnals(["dump", whole, ...args.filter((arg) => arg !== undefined)]);
    expect(stderr.trimEnd().split("\n")).toHaveLength(1);
    expect(code).toBe(2);
  });

  it("follows a running server until it is told to stop", async () => {
    const data = copyOfWhole();
    const server = serve(data);
    const follower = new AnnalsCommand(["dump", data, "--from", "27", "--follow"]);
    try {
      const client = new HttpClient(await server.port(), 1);
      await client.put("fresh", "news");
      client.close();
      while (!follower.stdout.includes('"news"')) await new Promise((resolve) => setTimeout(resolve, 20));
      follower.signal("SIGINT");
      const { code, stderr } = await follower.ended;
      expect(stderr).toBe("");
      expect(code).toBe(0);
    } finally {
      await follower.end();
      await server.end();
    }
  });

  it("stops with code 3 where the log is damaged, after what is whole", async () => {
    const data = copyOfWhole();
    damage(data, 1);
    const { code, stdout, stderr } = await runAnnals(["dump", data]);
    expect(stdout.trimEnd().split("\n").length).toBeGreaterThan(5);
    expect(stderr).toMatch(/^annals: LOG_CORRUPT: log\//);
    expect(code).toBe(3);
  });
});

describe("annals repair", () => {
  it("has nothing to do on a whole log", async () => {
    expect(await runAnnals(["repair", whole])).toEqual({
      code: 0,
      stdout: "nothing is wrong, nothing to do\n",
      stderr: "",
    });
  });

  it("says what it would drop and changes nothing, until told to apply; then the server starts again", async () => {
    const data = copyOfWhole();
    damage(data, 1);
    const damaged = segments(data).map((path) => readFileSync(path));
    const plan = await runAnnals(["repair", data]);
    expect(plan.stdout).toMatch(/would be cut at position \d+/);
    expect(plan.stdout).toMatch(
      /^every record up to offset \d+ would be kept\nat least \d+ later records? would be lost$/m,
    );
    expect(plan.stderr).toMatch(/nothing was changed/);
    expect(plan.code).toBe(3);
    expect(segments(data).map((path) => readFileSync(path))).toEqual(damaged);

    const applied = await runAnnals(["repair", data, "--apply", "--json"]);
    expect(applied.stderr).toBe("");
    expect(applied.code).toBe(0);
    const { keptIn } = JSON.parse(applied.stdout);
    expect(existsSync(join(data, keptIn))).toBe(true);

    expect((await runAnnals(["verify", data])).code).toBe(0);
    const server = serve(data);
    try {
      const client = new HttpClient(await server.port(), 1);
      expect((await client.get("text")).text).toBe("héllo");
      client.close();
    } finally {
      await server.end();
    }
  });

  it("has a replica remember that it lacks what it may have confirmed", async () => {
    const heard = { epoch: epoch(1), lineageId: "0".repeat(32) };
    for (const lived of ["replica", "master"] as const) {
      const data = copyOfWhole();
      damage(data, 1);
      const file = new LeadershipFile(realFileSystem, data);
      await file.change({ heard, lived });
      await runAnnals(["repair", data]);
      expect((await readLeadership(realFileSystem, data)).owes).toBeUndefined();
      expect((await runAnnals(["repair", data, "--apply"])).code).toBe(0);
      const after = await readLeadership(realFileSystem, data);
      expect(after).toEqual({ ...file.content, owes: lived === "replica" ? expect.any(Number) : undefined });
    }
  });

  it("tells of records that are gone from the beginning as verify does, and changes nothing", async () => {
    const data = copyOfWhole();
    const first = segments(data)[0]!;
    for (const file of [first, first.replace(/log$/, "index")]) rmSync(file);
    const left = segments(data);
    const missing = /snapshots: expected a snapshot of offset \d+ or later, .*found none that can be used/;
    const verified = await runAnnals(["verify", data]);
    expect([verified.code, verified.stderr]).toEqual([3, expect.stringMatching(missing)]);
    for (const flags of [[], ["--apply"]]) {
      const { code, stdout, stderr } = await runAnnals(["repair", data, ...flags]);
      expect(stdout).toMatch(/^damage {2}snapshots: .*\n$/);
      expect(stderr).toMatch(missing);
      expect(stderr).toMatch(
        /nothing was changed: .*restore such a snapshot, or the whole directory, from a backup/,
      );
      expect(code).toBe(3);
    }
    const json = await runAnnals(["repair", data, "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({
      applied: false,
      plan: { problems: [] },
      beyondRepair: [{ file: "snapshots" }],
    });
    expect([segments(data), existsSync(join(data, "snapshots"))]).toEqual([left, false]);
  });

  it("does not touch a directory that a server holds", async () => {
    const data = copyOfWhole();
    const server = serve(data);
    try {
      await server.port();
      const { code, stderr } = await runAnnals(["repair", data, "--apply"]);
      expect(stderr).toMatch(/LOG_LOCKED/);
      expect(code).toBe(5);
    } finally {
      await server.end();
    }
  });
});

describe("annals status", () => {
  it("shows a server that stands alone, and fails in one line: nobody leads a set", async () => {
    const server = serve(copyOfWhole());
    try {
      const node = `http://127.0.0.1:${await server.port()}`;
      const { code, stdout, stderr } = await runAnnals(["status", node]);
      expect(stdout).toMatch(/standalone .*takes writes/);
      expect([code, stderr]).toEqual([1, "annals: no node leads; see ops/docs/replication.md\n"]);
    } finally {
      await server.end();
    }
  });
});
