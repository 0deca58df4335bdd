// The import's promises: every line once, in order, however often it is cut off; a mistake named by file and line.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { entriesAsWritten, entriesByTemplate } from "../../ops/import/entry.js";
import { ImportError } from "../../ops/import/errors.js";
import { type ImportSummary, importLines, MARKER_PREFIX } from "../../ops/import/import-run.js";
import { LineReader } from "../../ops/import/lines.js";
import { ServerDoor } from "../../ops/import/server-door.js";
import { FakeKvServer } from "../support/fake-kv-server.js";

let directory: string;
let server: FakeKvServer;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "annals-import-"));
  server = new FakeKvServer();
});
afterEach(() => rmSync(directory, { recursive: true }));

interface Settings {
  readonly key?: string;
  readonly batchLines?: number;
  readonly id?: string;
}

function file(content: string | Uint8Array, name = "lines.ndjson"): string {
  const path = join(directory, name);
  writeFileSync(path, content);
  return path;
}

async function run(path: string, settings: Settings = {}): Promise<ImportSummary> {
  let now = 0;
  const door = new ServerDoor({
    url: "http://annals.test",
    patienceMs: 1000,
    now: () => now,
    sleep: async (ms) => {
      now += ms;
    },
    fetch: server.fetch,
  });
  const { key, batchLines = 3, id } = settings;
  return importLines({
    reader: await LineReader.open(path),
    entryOf: key === undefined ? entriesAsWritten(path) : entriesByTemplate(path, key),
    door,
    batchLines,
    recipe: key ?? "",
    ...(id !== undefined && { id }),
  });
}

const failureOf = async (path: string, settings?: Settings): Promise<ImportError> => {
  const error: unknown = await run(path, settings).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(ImportError);
  return error as ImportError;
};

const lines = (count: number, from = 0): string =>
  Array.from({ length: count }, (_, at) => `{"key":"k${from + at}","value":{"n":${from + at}}}\n`).join("");
const stored = (): Record<string, string> =>
  Object.fromEntries([...server.values].filter(([key]) => !key.startsWith(MARKER_PREFIX)));
const writesOfLines = (): number[] =>
  [...server.writes].filter(([key]) => !key.startsWith(MARKER_PREFIX)).map(([, count]) => count);
const tenStored = Object.fromEntries(Array.from({ length: 10 }, (_, at) => [`k${at}`, `{"n":${at}}`]));

describe("import", () => {
  it("stores each line in batches and says what it did", async () => {
    const summary = await run(file(lines(10)));
    expect(stored()).toEqual(tenStored);
    expect(summary).toMatchObject({ lines: 10, linesBefore: 0, entriesStored: 10, lastOffset: 4 });
    expect(server.requests).toEqual(["/kv/mget", "/kv/mset", "/kv/mset", "/kv/mset", "/kv/mset"]);
  });

  it("a second run stores nothing", async () => {
    const path = file(lines(10));
    await run(path);
    server.requests.length = 0;
    expect(await run(path)).toMatchObject({ lines: 10, linesBefore: 10, entriesStored: 0, lastOffset: 0 });
    expect(server.requests).toEqual(["/kv/mget"]);
  });

  it("continues with the lines that a file has gained", async () => {
    await run(file(lines(5)));
    expect(await run(file(lines(10)))).toMatchObject({ linesBefore: 5, entriesStored: 5 });
    expect(stored()).toEqual(tenStored);
    expect(writesOfLines()).toEqual(Array(10).fill(1));
  });

  it("writes each line exactly once wherever the run is cut off, and however", async () => {
    for (const fault of ["refused", "answer lost", "503"] as const) {
      for (let cut = 0; cut < 5; cut++) {
        server = new FakeKvServer();
        // The first fault hits request `cut`; the server stays away for longer than the import is patient.
        server.faults.push(...Array(cut).fill(undefined), fault, ...Array(6).fill("refused"));
        expect((await failureOf(file(lines(10)))).code).toBe("IMPORT_SERVER_UNAVAILABLE");
        server.faults.length = 0;
        await run(file(lines(10)));
        expect(stored(), `${fault} at ${cut}`).toEqual(tenStored);
        expect(writesOfLines(), `${fault} at ${cut}`).toEqual(Array(10).fill(1));
      }
    }
  });

  it("goes on by itself when the server comes back in time, and sends nothing twice", async () => {
    server.faults.push(undefined, "answer lost", "refused", undefined, "503", "refused");
    expect(await run(file(lines(10)))).toMatchObject({ entriesStored: 10 });
    expect(stored()).toEqual(tenStored);
    expect(writesOfLines()).toEqual(Array(10).fill(1));
  });

  it("sends the last marker again when its answer was lost, so that replicas have confirmed what it says it stored", async () => {
    server.faults.push(...Array(4).fill(undefined), "answer lost");
    expect(await run(file(lines(10)))).toMatchObject({ entriesStored: 10, lastOffset: 5 });
    expect(server.requests.slice(4)).toEqual(["/kv/mset (answer lost)", "/kv/mget", "/kv/mset"]);
    expect(writesOfLines()).toEqual(Array(10).fill(1));
  });

  it("names file and line of a mistake, keeps the lines before it, and continues when it is put right", async () => {
    const mistakes = [
      ["{not json", /not JSON/],
      ["[1]", /not a JSON object/],
      ['{"value":1}', /needs a "key"/],
      ['{"key":"a"}', /needs a "value"/],
      ['{"key":"a","value":1,"ttl":0}', /"ttl" must be/],
      ['{"key":"a","value":1,"tll":5}', /has "tll"/],
    ] as const;
    for (const [mistake, says] of mistakes) {
      server = new FakeKvServer();
      const path = file(`${lines(4)}${mistake}\n${lines(5, 5)}`);
      const error = await failureOf(path);
      expect(error).toMatchObject({ code: "IMPORT_LINE_INVALID", context: { file: path, line: 5 } });
      expect(error.message).toMatch(says);
      expect(error.message).toContain(`${path}, line 5`);
      expect(Object.keys(stored())).toHaveLength(4);
      expect(await run(file(lines(10)))).toMatchObject({ linesBefore: 4, entriesStored: 6 });
      expect(stored()).toEqual(tenStored);
    }
  });

  it("finds the one line of a batch that the server refuses", async () => {
    server.refused.add("k7");
    const error = await failureOf(file(lines(10)), { batchLines: 10 });
    expect(error).toMatchObject({ code: "IMPORT_REFUSED", context: { line: 8, key: "k7", status: 400 } });
    expect(error.message).toContain("Invalid key: k7");
    expect(Object.keys(stored())).toHaveLength(7);
    server.refused.clear();
    expect(await run(file(lines(10)))).toMatchObject({ linesBefore: 7, entriesStored: 3 });
    expect(writesOfLines()).toEqual(Array(10).fill(1));
  });

  it("refuses a file whose stored lines have changed, or that has become shorter", async () => {
    await run(file(lines(10)));
    expect((await failureOf(file(lines(10).replace('"n":3', '"n":33')))).code).toBe("IMPORT_FILE_CHANGED");
    expect((await failureOf(file(lines(9)))).code).toBe("IMPORT_FILE_CHANGED");
    expect(stored()).toEqual(tenStored);
    await run(file(lines(10).replace('"n":3', '"n":33')), { id: "again" });
    expect(stored()["k3"]).toBe('{"n":33}');
  });

  it("sets a line with a ttl by itself, in its place", async () => {
    const path = file('{"key":"a","value":1}\n{"key":"a","value":2,"ttl":60}\n{"key":"b","value":3}\n');
    expect(await run(path)).toMatchObject({ entriesStored: 3 });
    expect(stored()).toEqual({ a: "2", b: "3" });
    expect([...server.ttls]).toEqual([["a", 60]]);
    expect(server.requests).toEqual(["/kv/mget", "/kv/mset", "/kv/set", "/kv/mset", "/kv/mset"]);
  });

  it("makes keys from a template and stores the line as it is", async () => {
    const path = file('{"sha":"ab","by":{"id":7}}\n\n{"sha":"cd","by":{"id":8}}');
    expect(await run(path, { key: "commit:{sha}:{by.id}" })).toMatchObject({ lines: 3, entriesStored: 2 });
    expect(stored()).toEqual({
      "commit:ab:7": '{"sha":"ab","by":{"id":7}}',
      "commit:cd:8": '{"sha":"cd","by":{"id":8}}',
    });
    const missing = await failureOf(file('{"sha":"ab"}'), { key: "{by.id}" });
    expect(missing).toMatchObject({ code: "IMPORT_LINE_INVALID", context: { line: 1 } });
    expect(() => entriesByTemplate("f", "commit")).toThrow(RangeError);
    expect(() => entriesByTemplate("f", "commit:{sha")).toThrow(RangeError);
    const inherited = await failureOf(file('{"sha":"ab"}'), { key: "{constructor}" });
    expect(inherited.code).toBe("IMPORT_LINE_INVALID");
  });

  it("makes a key of a number as it is written: two ids that a double takes for one are two keys", async () => {
    const ids = ["9007199254740992", "9007199254740993", "1", "1.0", "1e400", "-0"];
    const path = file(ids.map((id) => `{"by":{"id":0,"id":${id}}}\n`).join(""));
    expect(await run(path, { key: "user:{by.id}" })).toMatchObject({ entriesStored: ids.length });
    expect(Object.keys(stored())).toEqual(ids.map((id) => `user:${id}`));
  });

  it("reads gzip as it reads text, and says so when it ends early", async () => {
    const whole = gzipSync(lines(2000));
    await run(file(whole, "a.ndjson.gz"), { batchLines: 500 });
    expect(Object.keys(stored())).toHaveLength(2000);
    server = new FakeKvServer();
    const path = file(whole.subarray(0, whole.length - 200), "a.ndjson.gz");
    expect(await failureOf(path)).toMatchObject({
      code: "IMPORT_FILE_UNREADABLE",
      context: { file: path },
      message: expect.stringMatching(/ cannot be read beyond line \d+: unexpected end of file$/),
    });
    expect(await failureOf(file("no gzip", "b.gz"))).toMatchObject({
      code: "IMPORT_FILE_UNREADABLE",
      message: expect.stringMatching(/ cannot be read beyond line 0: incorrect header check$/),
    });
    expect((await failureOf(file(Buffer.from([0x7b, 0xff, 0x0a])))).message).toContain("line 1: not UTF-8");
  });

  it("reads lines that cross the reader's chunks, and line ends of either kind", async () => {
    const long = "x".repeat(200_000);
    const path = file(`\uFEFF{"key":"a","value":"${long}"}\r\n{"key":"b","value":"${long}é"}`);
    await run(path);
    expect(stored()).toEqual({ a: JSON.stringify(long), b: JSON.stringify(`${long}é`) });
  });
});
