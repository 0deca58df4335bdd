// Restore and drill as processes beside a real server: targets, exit codes, one line on stderr, what is left, what is refused.
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { offset, realFileSystem } from "../../log/index.js";
import { ArchiveWriter } from "../../ops/backup/archive-writer.js";
import { openObjectStore } from "../../ops/backup/open-object-store.js";
import { AnnalsCommand, type CommandResult, runAnnals } from "../support/annals-command.js";
import { type RunningServer, startServer } from "../support/server-process.js";

const root = mkdtempSync(join(tmpdir(), "annals-restore-command-"));
const data = join(root, "data");
const repository = join(root, "repository");
let server: RunningServer;
/** Offset and lineage of the last write before the point, and of one after the backup. */
let before: { offset: number; lineage: string };
let after: { offset: number; lineage: string };

interface Told {
  readonly status: number;
  readonly offset: number;
  readonly lineage: string;
  readonly body: Record<string, unknown>;
}

async function call(port: number, method: string, path: string, body?: unknown): Promise<Told> {
  const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
    method,
    ...(body === undefined
      ? {}
      : { headers: { "content-type": "application/json" }, body: JSON.stringify(body) }),
  });
  const { headers, status } = answer;
  return {
    status,
    offset: Number(headers.get("x-annals-offset")),
    lineage: headers.get("x-annals-lineage") ?? "",
    body: JSON.parse(await answer.text()),
  };
}

const set = (key: string, value: string): Promise<Told> =>
  call(server.port, "POST", "/kv/set", { key, value });

beforeAll(async () => {
  server = await startServer({ dataDirectory: data });
  for (let i = 0; i < 20; i++) before = await set(`k${i}`, "early");
  expect((await call(server.port, "POST", "/restore-points", { name: "before-upgrade" })).status).toBe(200);
  for (let i = 0; i < 20; i++) await set(`k${i}`, "late");
  expect((await runAnnals(["backup", repository, "--data-dir", data])).code).toBe(0);
  for (let i = 0; i < 5; i++) after = await set(`k${i}`, "after the backup");
});
afterAll(async () => {
  await server.kill();
  rmSync(root, { recursive: true });
});

const restore = (...args: string[]): Promise<CommandResult> =>
  runAnnals(["restore", "--from", repository, ...args]);

function expectRefusal(result: CommandResult, code: number, line: RegExp): void {
  expect(result.stderr.trimEnd().split("\n"), result.stdout).toHaveLength(1);
  expect(result.stderr).toMatch(line);
  expect(result.code).toBe(code);
}

type Refused = readonly [args: readonly string[], code: number, line: RegExp];

/** Of restores that touch nothing: two at a time, as most of each is its start. */
async function expectRefusals(refused: readonly Refused[]): Promise<void> {
  const left = refused.values();
  const judge = async (): Promise<void> => {
    for (const [args, code, line] of left) expectRefusal(await restore(...args), code, line);
  };
  for (const judged of await Promise.allSettled([judge(), judge()]))
    if (judged.status === "rejected") throw judged.reason;
}

const valuesIn = async (port: number): Promise<unknown[]> => {
  const read = async (key: string): Promise<unknown> => {
    const answer = await fetch(`http://127.0.0.1:${port}/kv/get/${key}`);
    return answer.json();
  };
  return Promise.all(["k0", "k19"].map(read));
};

describe("annals restore", () => {
  it("is explained", async () => {
    for (const command of ["restore", "drill"]) {
      const { code, stdout, stderr } = await runAnnals([command, "--help"]);
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toContain(`Usage: annals ${command}`);
    }
  });

  it("goes back to a named point, and offsets of the lost history are refused there", async () => {
    const target = join(root, "named");
    const result = await restore("--to-name", "before-upgrade", "--data-dir", target, "--json");
    expect(result).toMatchObject({ code: 0, stderr: "" });
    const report = JSON.parse(result.stdout);
    expect(report).toMatchObject({
      lastOffset: before.offset + 1,
      leftOut: 20,
      dataDirectory: target,
      epoch: 2,
    });
    const restored = await startServer({ dataDirectory: target });
    try {
      expect(await valuesIn(restored.port)).toEqual(["early", "early"]);
      const points = await call(restored.port, "GET", "/restore-points");
      expect(points.body).toMatchObject({
        restore_points: [{ name: "before-upgrade", offset: before.offset + 1 }],
      });
      const read = (min: string) => call(restored.port, "GET", `/kv/get/k0?min_offset=${min}`);
      const lost = await read(`${after.offset}@${after.lineage}`);
      expect([lost.status, lost.body["error_code"]]).toEqual([409, "API_LINEAGE_LOST"]);
      expect((await read(`${before.offset}@${before.lineage}`)).status).toBe(200);
      const first = await call(restored.port, "POST", "/kv/set", { key: "new", value: 1 });
      expect(first.offset).toBeGreaterThan(before.offset + 2);
      expect(first.lineage).toBe(report.lineageId.slice(0, 8));
    } finally {
      await restored.kill();
    }
    const dump = await runAnnals([
      "dump",
      target,
      "--from",
      `${before.offset + 2}`,
      "--to",
      `${before.offset + 2}`,
    ]);
    expect(JSON.parse(dump.stdout)).toMatchObject({
      kind: "epoch.started",
      start: { reason: "restored", offset: before.offset + 1 },
    });
    expectRefusal(await restore("--latest", "--data-dir", target), 2, /LOG_DIRECTORY_UNUSABLE.*not empty/);
  });

  it("takes everything with --latest, and says what a live store would lose", async () => {
    const url = `http://127.0.0.1:${server.port}`;
    const compared = ["--compare", url, "--compare-data-dir", data, "--json"];
    const plan = JSON.parse((await restore("--latest", "--dry-run", ...compared)).stdout);
    const lost = { endOffset: after.offset, commonOffset: after.offset - 5, lostRecords: 5, otherRecords: 0 };
    expect(plan).toMatchObject({
      dryRun: true,
      leftOut: 0,
      comparisons: [lost, { ...lost, lostEvents: { "kv.set": 5 } }],
    });
    expect(plan.comparisons[0].lostFrom).toBe(plan.comparisons[1].lostFrom);

    const target = join(root, "latest");
    expect((await restore("--latest", "--data-dir", target, "--json")).code).toBe(0);
    const restored = await startServer({ dataDirectory: target });
    expect(await valuesIn(restored.port)).toEqual(["late", "late"]);
    // The restored store and the live one have parted: each has records that the other has not.
    const again = JSON.parse(
      (await restore("--latest", "--dry-run", "--json", "--compare", `http://127.0.0.1:${restored.port}`))
        .stdout,
    );
    expect(again.comparisons[0]).toMatchObject({ commonOffset: after.offset - 5, lostRecords: 1 });
    await restored.kill();
  });

  it("refuses what it cannot do in one line, and writes nothing", async () => {
    const target = join(root, "refused");
    const to = ["--data-dir", target];
    const nowhere = ["restore", "--from", join(root, "nothing"), "--latest", ...to];
    const unclear = ["1000", "2026", "foo 3", "2026-01-31T12:00:00"];
    await expectRefusals([
      [to, 2, /say once up to where/],
      [["--latest", "--to-offset", "3", ...to], 2, /say once up to where/],
      [["--latest"], 2, /--data-dir/],
      [["--to-offset", "0", ...to], 2, /offset/],
      [["--to-offset", "99999", ...to], 2, /RESTORE_TARGET_BEYOND/],
      [["--to-time", "2100-01-01T00:00:00Z", ...to], 2, /RESTORE_TARGET_BEYOND.*--latest/],
      ...unclear.map((time) => [["--to-time", time, ...to], 2, /Expected a time with its zone/] as const),
      [["--to-time", "1000ms", ...to], 2, /RESTORE_TARGET_RETIRED/],
      [["--to-name", "nobody", ...to], 2, /RESTORE_POINT_UNKNOWN/],
      [["--latest", "--backup", "nobody", ...to], 2, /BACKUP_NOT_FOUND/],
      [["--latest", "--dry-run", "--compare", "http://127.0.0.1:1"], 1, /RESTORE_COMPARE_FAILED/],
    ]);
    expectRefusal(await runAnnals(nowhere), 2, /BACKUP_NOT_FOUND/);
    expect(existsSync(target)).toBe(false);
    expectRefusal(
      await restore("--latest", "--data-dir", data),
      2,
      /LOG_DIRECTORY_UNUSABLE.*; choose one that is new or empty$/m,
    );
    // It would be wherever the command runs.
    expectRefusal(await restore("--latest", "--data-dir", ""), 2, /--data-dir .*not empty/);
    const inside = join(repository, "inside");
    expectRefusal(await restore("--latest", "--data-dir", inside), 2, /lies in the repository/);
    expect(existsSync(inside)).toBe(false);
    for (const args of [
      ["drill", "--from", repository, "--work-dir", ""],
      ["diff", `${repository}#`, data, "--work-dir", ""],
      ["migrate", "--data-dir", data, "--into", ""],
      ["import", "f", "--id", ""],
    ])
      expectRefusal(await runAnnals(args), 2, /Expected a text that is not empty; see annals/);
    expectRefusal(await runAnnals(["verify", ""]), 2, /an empty path is no directory/);
    mkdirSync(join(root, "foreign"));
    writeFileSync(join(root, "foreign", "letter.txt"), "mine");
    expectRefusal(await restore("--latest", "--data-dir", join(root, "foreign")), 2, /letter.txt|not empty/);
    expect(readdirSync(join(root, "foreign"))).toEqual(["letter.txt"]);
  });

  it("refuses a place in a data directory, whose server would take it for its own and clear it away", async () => {
    const [fresh, old] = [join(root, "replica-without-a-log"), join(root, "old")];
    mkdirSync(fresh);
    mkdirSync(join(old, "log"), { recursive: true });
    writeFileSync(join(fresh, "leadership.json"), "{}\n");
    symlinkSync(data, join(root, "link-to-data"));
    const refusal = /lies in the data directory .*; choose a place outside of it/;
    for (const place of [join(data, "incoming"), join(root, "link-to-data", "a", "b")])
      expectRefusal(await restore("--latest", "--data-dir", place), 2, refusal);
    const into = join(fresh, "incoming");
    expectRefusal(await runAnnals(["migrate", "--data-dir", old, "--into", into]), 2, refusal);
    for (const directory of [data, fresh]) expect(existsSync(join(directory, "incoming"))).toBe(false);
  });

  it("a half-restored directory is refused by everything that would open it, and taken by the next restore", async () => {
    const target = join(root, "half");
    expect((await restore("--latest", "--data-dir", target)).code).toBe(0);
    writeFileSync(join(target, "restoring.json"), "{}\n");
    const opening = [
      ["serve", "--port", "0", "--data-dir", target],
      ["backup", join(root, "other"), "--data-dir", target],
      ["verify", target],
      ["repair", target],
    ];
    for (const args of opening)
      expectRefusal(await runAnnals(args), 3, /LOG_RESTORE_UNFINISHED.*annals restore/);
    expect((await restore("--to-offset", "5", "--data-dir", target)).code).toBe(0);
    expect(existsSync(join(target, "restoring.json"))).toBe(false);
  });
});

describe("annals diff of backups", () => {
  const work = join(root, "diffs");
  const diff = (a: string, b: string): Promise<CommandResult> =>
    runAnnals(["diff", a, b, "--work-dir", work, "--json"]);

  it("tells what two states of a repository, or of one and a directory, differ in, and leaves nothing behind", async () => {
    mkdirSync(work);
    const within = await diff(`${repository}#@${before.offset}`, `${repository}#`);
    expect(within).toMatchObject({ code: 0, stderr: "" });
    const report = JSON.parse(within.stdout);
    expect(report).toMatchObject({ a: { offset: before.offset }, added: 0, changed: 20, removed: 0 });
    const [backup] = readdirSync(join(repository, "backups"));
    const named = `${repository}#${backup?.replace(/\.json$/, "")}`;
    const same = JSON.parse((await diff(named, `@${report.b.offset}`)).stdout);
    expect(same).toMatchObject({ added: 0, changed: 0, removed: 0 });
    expect(same.a.digests).toEqual(report.b.digests);
    const since = JSON.parse((await diff(named, data)).stdout);
    expect(since).toMatchObject({ added: 0, changed: 5, removed: 0 });
    expect(since.logs).toMatchObject({ same_up_to: report.b.offset, first_different: null });
    expect(readdirSync(work)).toEqual([]);
  });

  it("says what there is none of", async () => {
    expectRefusal(await diff(`${repository}#nothing`, data), 2, /has no backup nothing/);
    expectRefusal(await diff(`${repository}#`, `${repository}#@999999`), 2, /behind|beyond|ends/);
    expectRefusal(await runAnnals(["at", "1", `${repository}#`, "kv.get", "key=a"]), 2, /annals restore/);
    expect(readdirSync(work)).toEqual([]);
  });
});

describe("annals drill", () => {
  it("proves an archive up to its newest record, by a fold of it, and says that it recorded no digests", async () => {
    const archive = join(root, "archive");
    const writer = new ArchiveWriter({
      files: realFileSystem,
      dataDirectory: data,
      store: await openObjectStore(archive, {}),
      rules: { keepDays: 0, keepSnapshots: 0 },
      now: Date.now,
    });
    await writer.bringUpTo(offset(after.offset));
    const result = await runAnnals(["drill", "--from", archive, "--json"]);
    expect(result).toMatchObject({ code: 0, stderr: "" });
    const report = JSON.parse(result.stdout);
    expect(report).toMatchObject({ success: true, lastOffset: after.offset, recordedDigestsAt: null });
    expect(report.backup).toBe("00000000000000000001");
    const names = report.checks.map(({ name }: { name: string }) => name);
    for (const part of ["kv", "queue", "stream", "all"])
      expect(names).toContain(`digest at ${after.offset}, ${part}`);
  });

  it("proves a backup of a server that kept fewer answers than the drill's own does", async () => {
    const [dataDirectory, place] = [join(root, "few"), join(root, "few-repository")];
    const environment = { ANNALS_IDEMPOTENCY_ANSWERS_MAX: "2" };
    const few = await startServer({ dataDirectory, environment });
    try {
      for (let i = 0; i < 8; i++) {
        if (i === 5) expect((await call(few.port, "POST", "/snapshot")).status).toBe(200);
        const headers = { "content-type": "application/json", "idempotency-key": `key-${i}` };
        const body = JSON.stringify({ key: `k${i}`, value: "v" });
        await fetch(`http://127.0.0.1:${few.port}/kv/set`, { method: "POST", headers, body });
      }
      expect((await runAnnals(["backup", place, "--data-dir", dataDirectory])).code).toBe(0);
    } finally {
      await few.kill();
    }
    const result = await runAnnals(["drill", "--from", place, "--json"]);
    expect(result).toMatchObject({ code: 0, stderr: "" });
    const names = JSON.parse(result.stdout).checks.map(({ name }: { name: string }) => name);
    expect(names).toContain("digest at 9, idempotency");
    expect(names).toContain("digest of the log alone at 9, stream");
  });

  it("told to stop, it stops its server and leaves nothing behind", async () => {
    const work = join(root, "stopped");
    mkdirSync(work);
    const drill = new AnnalsCommand(["drill", "--from", repository, "--work-dir", work]);
    try {
      // Its server has the directory from here on, and is not ready yet.
      const lock = await untilThere(() => lockIn(work));
      drill.signal("SIGTERM");
      expectRefusal(await drill.ended, 1, /ended by SIGTERM/);
      expect(readdirSync(work)).toEqual([]);
      expect(() => process.kill(lock, 0)).toThrow("ESRCH");
    } finally {
      await drill.end();
    }
  });

  it("proves a whole backup, tells monitoring, and leaves nothing behind", async () => {
    const [work, metrics] = [join(root, "work"), join(root, "drill.prom")];
    mkdirSync(work);
    const args = ["drill", "--from", repository, "--work-dir", work, "--metrics-file", metrics, "--json"];
    const result = await runAnnals(args);
    expect(result).toMatchObject({ code: 0, stderr: "" });
    const report = JSON.parse(result.stdout);
    expect(report).toMatchObject({ success: true, lastOffset: after.offset - 5 });
    expect(report.checks.length).toBeGreaterThan(20);
    for (const name of ["ageMs", "rpoMs", "rtoMs"]) expect(report[name]).toBeGreaterThan(0);
    expect(readdirSync(work)).toEqual([]);
    const told = readFileSync(metrics, "utf8");
    expect(told).toContain("annals_drill_success 1\n");
    expect(told).toMatch(/^annals_drill_rto_seconds [0-9.]+$/m);

    // Damaged: the drill fails, and monitoring still knows when it was well.
    const success = /^annals_drill_last_success_timestamp_seconds .*$/m.exec(told)?.[0] ?? "none";
    const [segment] = readdirSync(join(repository, "segments"));
    const path = join(repository, "segments", segment!);
    const bytes = readFileSync(path);
    bytes[bytes.length - 10]! ^= 1;
    rmSync(path);
    writeFileSync(path, bytes);
    expectRefusal(await runAnnals(args), 3, /damaged|DAMAGED/);
    const later = readFileSync(metrics, "utf8");
    expect(later).toContain("annals_drill_success 0\n");
    expect(later).toContain(success);
    expect(readdirSync(work)).toEqual([]);
  });
});

/** Pid of the server that has the data directory of a drill. */
function lockIn(work: string): number | undefined {
  const [place] = readdirSync(work);
  const path = join(work, place ?? "", "data", "LOCK");
  const holder = existsSync(path) ? readFileSync(path, "utf8") : "";
  const pid = /annals serve, pid (\d+)/.exec(holder)?.[1];
  return pid === undefined ? undefined : Number(pid);
}

async function untilThere<Found>(find: () => Found | undefined): Promise<Found> {
  for (;;) {
    const found = find();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
