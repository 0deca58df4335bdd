/**
 * Looking back at the real process, over sockets, and at its directory on the command line: the thread, the segments and the
 * commands as they are shipped.
 */
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { runAnnals } from "../support/annals-command.js";
import { HttpClient } from "../support/http-client.js";
import { type RunningServer, startServer } from "../support/server-process.js";

const WRITES = 300;
const directory = mkdtempSync(join(tmpdir(), "annals-past-"));
const data = join(directory, "data");
const environment = { ANNALS_LOG_SEGMENT_BYTES: "4096", ANNALS_PAST_FOLDS_MAX: "3" };

interface Moment {
  readonly offset: number;
  readonly size: string;
}

let server: RunningServer;
let client: HttpClient;
/** What the live server answered after each write, asked of the present. */
const moments: Moment[] = [];

async function sizeNow(): Promise<string> {
  return (await client.send("GET", "/kv/dbsize")).text;
}

beforeAll(async () => {
  server = await startServer({ dataDirectory: data, environment });
  client = new HttpClient(server.port, 8);
  await client.post("/queue/jobs", {});
  await client.post("/stream/room", {});
  for (let i = 1; i <= WRITES; i++) {
    const answer =
      i % 5 === 0
        ? await client.post("/queue/jobs/publish", { payload: `job ${i}` })
        : i % 7 === 0
          ? await client.send("DELETE", `/kv/del/key-${i - 2}`)
          : await client.post("/kv/set", { key: `key-${i}`, value: `value ${i} `.repeat(5) });
    expect(answer.status).toBe(200);
    const offset = Number(answer.headers["x-annals-offset"]);
    moments.push({ offset, size: await sizeNow() });
  }
});
afterAll(async () => {
  client.close();
  await server.kill("SIGTERM");
  rmSync(directory, { recursive: true, force: true });
});

const last = (): Moment => moments[moments.length - 1]!;

describe("a real server", () => {
  it("answers of the past what it answered then, over sockets, while it takes writes", async () => {
    let writing = true;
    const writer = (async () => {
      for (let i = 0; writing; i++) await client.post("/kv/set", { key: "busy", value: i });
    })();
    onTestFinished(async () => {
      writing = false;
      await writer;
    });
    const asked = moments.filter((_each, index) => index % 20 === 3);
    for (const { offset, size } of [...asked, ...asked.toReversed()]) {
      const answer = await client.send("GET", `/kv/dbsize?at=${offset}`);
      expect(answer.text, `at ${offset}`).toBe(size);
      expect(answer.headers["x-annals-offset"]).toBe(String(offset));
    }
    const many = await Promise.all(asked.map(({ offset }) => client.send("GET", `/kv/dbsize?at=${offset}`)));
    expect(many.map(({ text }) => text)).toEqual(asked.map(({ size }) => size));
  });

  it("tells what looking back costs", async () => {
    const page = (await client.send("GET", "/metrics")).text;
    const value = (name: string): number =>
      Number(new RegExp(`^annals_${name} (\\d+)$`, "m").exec(page)?.[1]);
    expect(value("past_states")).toBeGreaterThan(0);
    expect(value("past_states")).toBeLessThanOrEqual(3);
    expect(value("past_replayed_records_total")).toBeGreaterThan(WRITES);
    expect(page).toMatch(/annals_past_reads_total\{state="moved"\} [1-9]/);
  });

  it("refuses what lies beyond, with where the log begins and ends", async () => {
    const answer = await client.send("GET", "/kv/dbsize?at=100000");
    expect(answer.status).toBe(400);
    expect(JSON.parse(answer.text)).toMatchObject({
      error_code: "LOG_OFFSET_BEYOND_END",
      first_offset: 1,
      end_offset: expect.any(Number),
    });
  });
});

describe("the commands, beside a running server", () => {
  it("at: answers from the directory what the server answers from its thread", async () => {
    for (const { offset, size } of [moments[10]!, moments[200]!]) {
      const offline = await runAnnals(["at", String(offset), data, "kv.dbsize"]);
      expect(offline).toMatchObject({ code: 0, stderr: "" });
      expect(JSON.parse(offline.stdout)).toEqual(JSON.parse(size));
      const online = await runAnnals(["at", String(offset), `http://127.0.0.1:${server.port}`, "kv.dbsize"]);
      expect(online).toMatchObject({ code: 0, stdout: offline.stdout });
    }
    const fields = ["kv.mget", 'keys=["key-1","key-2"]'];
    const { offset } = moments[0]!;
    const json = await runAnnals(["at", String(offset), data, ...fields, "--json"]);
    expect(JSON.parse(json.stdout)).toMatchObject({
      offset,
      payload: { values: [expect.any(String), null] },
    });
    const peek = await runAnnals(["at", String(last().offset), data, "queue.peek", "queue=jobs", "limit=2"]);
    expect(JSON.parse(peek.stdout)).toMatchObject({ count: 2 });
  });

  it("at: says in one line what is wrong, and how it ends", async () => {
    for (const [args, code, line] of [
      [["at", "1", data, "kv.set", "key=a"], 2, /kv\.set is no read of the past/],
      [["at", "1", data, "kv.gat", "key=a"], 2, /did you mean kv\.get\?/],
      [["at", "yesterday", data, "kv.get", "key=a"], 2, /Expected an offset/],
      [["at", "1", join(directory, "nowhere"), "kv.get", "key=a"], 2, /does not exist/],
      [["at", "1", data, "kv.get", "key"], 2, /not name=value/],
      [["at", "99999", data, "kv.get", "key=a"], 1, /LOG_OFFSET_BEYOND_END.*end_offset/],
      [["at", "5", data, "kv.get", "nokey=a"], 1, /API_FIELD_UNKNOWN|API_FIELD_MISSING/],
      [["at", "5", "http://127.0.0.1:1", "kv.get", "key=a"], 1, /check that an Annals server is there/],
    ] as const) {
      const result = await runAnnals(args);
      expect(result, args.join(" ")).toMatchObject({ code, stdout: "" });
      expect(result.stderr).toMatch(line);
      expect(result.stderr.trim().split("\n")).toHaveLength(1);
    }
  });

  it("at: says the same of a time before 1970 to a directory and to a server", async () => {
    for (const place of [data, `http://127.0.0.1:${server.port}`]) {
      const result = await runAnnals(["at", "1969-12-31T00:00:00Z", place, "kv.dbsize"]);
      expect(result).toMatchObject({ code: 1, stdout: "" });
      expect(result.stderr).toMatch(/API_AT_BEFORE_FIRST: there was nothing at 1969-12-31/);
    }
  });

  it("diff: tells exactly what was written between two offsets", async () => {
    const [a, b] = [moments[20]!.offset, moments[27]!.offset];
    const result = await runAnnals(["diff", `${data}@${a}`, `@${b}`, "--json"]);
    expect(result.code).toBe(0);
    const report = JSON.parse(result.stdout);
    const expected = [22, 23, 24, 25, 26, 27, 28].flatMap((i) =>
      i % 5 === 0
        ? [{ kind: "queue", name: "jobs", change: "changed" }]
        : i % 7 === 0
          ? []
          : [{ kind: "key", name: `key-${i}`, change: "added" }],
    );
    // The 28th took away the 26th, which the 26th had made.
    const kept = expected.filter(({ name }) => name !== "key-26");
    expect(report).toMatchObject({ a: { offset: a }, b: { offset: b }, removed: 0, truncated: false });
    expect(report.differences.toSorted(byName)).toEqual(kept.toSorted(byName));
    const same = await runAnnals(["diff", `${data}@${a}`, `@${a}`]);
    expect(same.stdout).toContain("0 added, 0 changed, 0 removed");
    const few = await runAnnals(["diff", `${data}@${a}`, `@${b}`, "--limit", "1"]);
    expect(few.stdout).toMatch(/… and \d+ more; --limit shows them/);
  });

  it("diff: takes what had expired by a time for gone", async () => {
    const set = await client.post("/kv/set", { key: "brief", value: "x", ttl: 1 });
    const offset = Number(set.headers["x-annals-offset"]);
    const { time } = JSON.parse((await client.send("GET", `/log/crc?offset=${offset}`)).text);
    await sleep(1_100);
    const result = await runAnnals(["diff", `${data}@${offset}`, `@${time + 1_000}ms`, "--json"]);
    expect(JSON.parse(result.stdout)).toMatchObject({
      a: { offset, time },
      b: { offset, time: time + 1_000 },
      differences: [{ kind: "key", name: "brief", change: "removed" }],
    });
  });

  it("bisect: finds the record that made it true", async () => {
    const result = await runAnnals(["bisect", data, "--predicate", "queue.depth:jobs>=3", "--json"]);
    expect(result.code).toBe(0);
    expect(JSON.parse(result.stdout)).toMatchObject({ found: true, offset: moments[14]!.offset });
    const never = await runAnnals(["bisect", data, "--predicate", "queue.depth:jobs>1000", "--to", "50"]);
    expect(never).toMatchObject({ code: 1, stdout: "" });
    expect(never.stderr).toMatch(/is true after no record from offset 1 to 50/);
    const wrong = await runAnnals(["bisect", data, "--predicate", "jobs > 3"]);
    expect(wrong).toMatchObject({ code: 2, stdout: "" });
    expect(wrong.stderr).toMatch(/is no predicate; expected/);
  });
});

describe("two logs that parted", () => {
  it("diff: names the first offset at which directories and servers differ", async () => {
    await server.kill("SIGTERM");
    const copy = join(directory, "copy");
    cpSync(data, copy, { recursive: true });
    server = await startServer({ dataDirectory: data, environment });
    client.close();
    client = new HttpClient(server.port, 8);
    const other = await startServer({ dataDirectory: copy, environment });
    const otherClient = new HttpClient(other.port, 1);
    try {
      const both = JSON.parse((await client.send("GET", "/log/crc")).text).end_offset;
      const url = (each: RunningServer): string => `http://127.0.0.1:${each.port}`;
      const nodes = async () =>
        JSON.parse((await runAnnals(["diff", url(server), url(other), "--json"])).stdout);
      expect(await nodes()).toMatchObject({ logs: { same_up_to: both, first_different: null } });
      for (let i = 0; i < 20; i++) {
        await client.post("/kv/set", { key: "here", value: i });
        await otherClient.post("/kv/set", { key: "there", value: i });
      }
      expect(await nodes()).toMatchObject({ logs: { same_up_to: both, first_different: both + 1 } });
      const digest = async (each: HttpClient, at: number) => {
        const { digests } = JSON.parse((await each.send("GET", `/digest?offset=${at}`)).text);
        return digests.all;
      };
      expect(await digest(client, both)).toBe(await digest(otherClient, both));
      expect(await digest(client, both + 1)).not.toBe(await digest(otherClient, both + 1));
      const directories = await runAnnals(["diff", data, copy, "--json"]);
      expect(JSON.parse(directories.stdout)).toMatchObject({
        logs: { same_up_to: both, first_different: both + 1 },
        added: 1,
        removed: 1,
        changed: 0,
      });
    } finally {
      otherClient.close();
      await other.kill("SIGTERM");
    }
  });
});

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}
