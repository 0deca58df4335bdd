// The commands as processes: exit codes, one line on stderr, JSON, the metrics file; beside a server that runs.
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { realFileSystem } from "../../log/index.js";
import { type CommandResult, runAnnals } from "../support/annals-command.js";
import { HttpClient } from "../support/http-client.js";
import { type RunningServer, startServer } from "../support/server-process.js";

const root = mkdtempSync(join(tmpdir(), "annals-backup-command-"));
const data = join(root, "data");
const repository = join(root, "repository");
let server: RunningServer;
let client: HttpClient;

beforeAll(async () => {
  server = await startServer({ dataDirectory: data });
  client = new HttpClient(server.port, 1);
  for (let i = 0; i < 20; i++) await client.put(`k${i}`, `${i}`);
});
afterAll(async () => {
  client.close();
  await server.kill();
  rmSync(root, { recursive: true });
});

const backup = (...args: string[]): Promise<CommandResult> => runAnnals(["backup", ...args]);
const make = (...args: string[]): Promise<CommandResult> => backup(repository, "--data-dir", data, ...args);

function expectRefusal(result: CommandResult, code: number, line: RegExp): void {
  expect(result.stderr.trimEnd().split("\n"), result.stdout).toHaveLength(1);
  expect(result.stderr).toMatch(line);
  expect(result.code).toBe(code);
}

describe("annals backup", () => {
  it("is explained on every level", async () => {
    for (const level of [[], ["list"], ["verify"], ["prune"]]) {
      const { code, stdout, stderr } = await backup(...level, "--help");
      expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
      expect(stdout).toContain(`Usage: ${["annals", "backup", ...level].join(" ")}`);
    }
  });

  it("backs up, lists, verifies and prunes, as text and as JSON, while the server runs", async () => {
    const first = await make();
    expect(first).toMatchObject({ code: 0, stderr: "" });
    expect(first.stdout).toContain("offsets 1 to 21");
    await client.put("more", "1");
    const metrics = join(root, "backup.prom");
    const second = await make("--json", "--metrics-file", metrics);
    expect(statSync(metrics).mode & 0o777).toBe(0o644);
    const report = JSON.parse(second.stdout);
    expect(report).toMatchObject({ firstOffset: 1, lastOffset: 22, warnings: [] });
    expect(report.sentBytes).toBeLessThan(report.bytes);

    const listed = JSON.parse((await backup("list", repository, "--json")).stdout);
    expect(listed.backups.map(({ id }: { id: string }) => id)).toContain(report.id);
    expect((await backup("list", repository)).stdout.trimEnd().split("\n")).toHaveLength(2);
    expect(JSON.parse((await backup("verify", repository, "--all", "--json")).stdout)).toMatchObject({
      whole: true,
      backups: 2,
      findings: [],
    });
    expect(await backup("verify", repository, report.id)).toMatchObject({ code: 0, stderr: "" });

    const dry = JSON.parse((await backup("prune", repository, "--keep", "1", "--dry-run", "--json")).stdout);
    expect(dry).toMatchObject({ dryRun: true, keptBackups: [report.id] });
    expect(readdirSync(join(repository, "backups"))).toHaveLength(3);
    expect((await backup("prune", repository, "--keep", "1")).stdout).toContain("1 backup stays");
    expect(readdirSync(join(repository, "backups"))).toHaveLength(2);
    expect((await backup("verify", repository, "--all")).stdout).toContain("whole");

    const text = readFileSync(metrics, "utf8");
    expect(text).toContain(`annals_backup_last_offset ${report.lastOffset}\n`);
    expect(text).toMatch(/^annals_backup_last_success_timestamp_seconds \d+(\.\d+)?$/m);
    for (const line of text.trimEnd().split("\n"))
      expect(line).toMatch(/^(# (HELP|TYPE) annals_backup_\w+ .+|annals_backup_\w+ \d+(\.\d+)?)$/);
  });

  it("ends with 3 and one line when a backup is damaged; the lines on stdout are all there is", async () => {
    const damaged = join(root, "damaged");
    await backup(damaged, "--data-dir", data);
    const [name = ""] = readdirSync(join(damaged, "segments"));
    truncateSync(join(damaged, "segments", name), 300);
    const result = await backup("verify", damaged);
    expectRefusal(
      result,
      3,
      /^annals: .* is damaged: segments\/.*: expected \d+ bytes, found 300; put it back .*$/m,
    );
    expect(result.stdout.split("\n").filter((line) => line.startsWith("damage"))).toHaveLength(1);
    const json = await backup("verify", damaged, "--json");
    expect(json.code).toBe(3);
    expect(JSON.parse(json.stdout)).toMatchObject({ whole: false });
  });

  it("waits for a repository that somebody works on for as long as it is told, then ends with 5 and says who", async () => {
    const held = await realFileSystem.lock(join(repository, "LOCK"), "annals serve, pid 7");
    try {
      expectRefusal(await make("--wait", "0"), 5, /BACKUP_LOCKED.* is in use by annals serve, pid 7/);
      expectRefusal(await backup("prune", repository, "--wait", "0"), 5, /is in use by annals serve, pid 7/);
      const patient = await make("--wait", "1");
      expect(patient.code).toBe(5);
      expect(patient.stderr).toMatch(
        /in use by annals serve, pid 7; waiting for 1 s at most\n.*BACKUP_LOCKED/,
      );
    } finally {
      await held.release();
    }
    expect(await make("--wait", "0")).toMatchObject({ code: 0, stderr: "" });
  });

  it("ends with 2 for what cannot be meant, and changes nothing", async () => {
    expectRefusal(await backup(), 2, /missing required argument 'target'/);
    expectRefusal(await backup(repository, "--data-dir", join(root, "none")), 2, /does not exist/);
    expectRefusal(await backup(join(data, "inside"), "--data-dir", data), 2, /lies in the data directory/);
    symlinkSync(data, join(root, "link"));
    const through = join(root, "link", "inside");
    expectRefusal(await backup(through, "--data-dir", data), 2, /lies in the data directory/);
    const other = join(root, "other");
    expect((await runAnnals(["restore", "--from", repository, "--latest", "--data-dir", other])).code).toBe(
      0,
    );
    expectRefusal(await backup(other, "--data-dir", data), 2, /is the data directory of a server/);
    expectRefusal(await backup("", "--data-dir", data), 2, /BACKUP_TARGET_INVALID: an empty address/);
    expectRefusal(await backup("ftp://host/x", "--data-dir", data), 2, /BACKUP_TARGET_INVALID/);
    expectRefusal(await backup("verify", join(root, "nothing")), 2, /BACKUP_NOT_FOUND/);
    expectRefusal(await backup("prune", join(root, "nothing")), 2, /BACKUP_NOT_FOUND/);
    expectRefusal(await backup("verify", repository, "no-such-id"), 2, /BACKUP_NOT_FOUND/);
    expectRefusal(await backup("verify", repository, "id", "--all"), 2, /not both/);
    expectRefusal(await backup("prune", repository, "--keep", "0"), 2, /a whole number from 1/);
    const before = (await backup("list", repository)).stdout;
    for (const [path, says] of [
      ["", /not empty/],
      [root, /is no file/],
      ["/dev/null", /is no file/],
      [join(root, "nowhere/x.prom"), /nowhere is no directory/],
    ] as const)
      expectRefusal(await make("--metrics-file", path), 2, says);
    expect((await backup("list", repository)).stdout).toBe(before);
    expect(existsSync(`${root}.tmp`)).toBe(false);
    expect(existsSync(join(data, "inside"))).toBe(false);
    expect(existsSync(join(root, "nothing"))).toBe(false);
    writeFileSync(join(root, "file"), "");
    expectRefusal(await backup(join(root, "file"), "--data-dir", data), 2, /is a file, not a directory/);
  });
});
