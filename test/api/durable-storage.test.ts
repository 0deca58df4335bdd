// Defects of storage and order that the public suite of the durable streams protocol does not look for, and that were found in
// other servers: each one a test, on a log on the disk, with a restart or a crash where it matters. A crash is a copy of the
// data directory, made while the server runs.
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, describe, expect, it } from "vitest";
import { LogError, type OpenedLog } from "../../log/index.js";
import { JSON_TYPE, type Page, producer, StreamClient, TEXT } from "../support/stream-client.js";
import { openTestLog } from "../support/test-log.js";
import { TestServer } from "../support/test-server.js";

const root = mkdtempSync(join(tmpdir(), "annals-streams-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** A server on a directory: started, crashed into a copy, stopped. */
class Node {
  private constructor(
    readonly directory: string,
    readonly server: TestServer,
    readonly opened: OpenedLog,
  ) {}

  static async start(directory = mkdtempSync(join(root, "data-"))): Promise<Node> {
    const opened = await openTestLog(directory, {
      // Before the server's own time, which the test sets.
      now: () => 1_600_000_000_000,
      segmentBytes: 4 << 20,
      recordBytesMax: 8 << 20,
      pendingBytesMax: 64 << 20,
    });
    const node = new Node(directory, await TestServer.start({ log: opened.log }), opened);
    running.push(node);
    return node;
  }

  stream(name: string): StreamClient {
    return new StreamClient(this.server, name);
  }

  /** What a process that is killed now leaves. */
  image(): string {
    const copy = mkdtempSync(join(root, "image-"));
    cpSync(this.directory, copy, { recursive: true });
    return copy;
  }

  async stop(): Promise<void> {
    running.splice(running.indexOf(this), 1);
    await this.server.close();
    await this.opened.log.close();
  }

  async restart(): Promise<Node> {
    await this.stop();
    return Node.start(this.directory);
  }
}

const running: Node[] = [];
afterEach(async () => {
  for (const node of [...running]) await node.stop();
});

/** The newest segment of a data directory. */
function tailSegment(directory: string): string {
  const names = readdirSync(join(directory, "log")).filter((name) => name.endsWith(".log"));
  return join(directory, "log", names.sort().at(-1) ?? "");
}

function edit(file: string, change: (bytes: Buffer) => void): void {
  const bytes = readFileSync(file);
  change(bytes);
  writeFileSync(file, bytes);
}

describe("offsets and deliveries", () => {
  it("never run backward, skip or repeat, with writers and readers of every kind at once", async () => {
    const node = await Node.start();
    await node.stream("busy").create(JSON_TYPE);
    const writers = 4;
    const each = 120;
    const total = writers * each;
    const write = async (writer: number): Promise<void> => {
      const stream = node.stream("busy");
      let last = "";
      for (let i = 0; i < each; i++) {
        const { status, next } = await stream.append(JSON.stringify([[writer, i]]), JSON_TYPE);
        expect(status).toBe(204);
        expect(next > last, `${next} after ${last}`).toBe(true);
        last = next;
      }
    };
    const follow = async (
      read: (stream: StreamClient, from: string) => Promise<Page>,
    ): Promise<unknown[]> => {
      const got: unknown[] = [];
      for (let offset = "-1"; got.length < total; ) {
        const page = await read(node.stream("busy"), offset);
        if (page.status === 200) got.push(...(JSON.parse(page.text) as unknown[]));
        if (offset !== "-1") expect(page.next >= offset, `${page.next} after ${offset}`).toBe(true);
        offset = page.next;
      }
      return got;
    };
    const catchUp = (stream: StreamClient, from: string): Promise<Page> => stream.read(from);
    const longPoll = (stream: StreamClient, from: string): Promise<Page> => stream.longPoll(from);
    const followers = [follow(catchUp), follow(catchUp), follow(longPoll), follow(longPoll)];
    await Promise.all([0, 1, 2, 3].map(write));
    const [first, ...others] = await Promise.all(followers);
    expect(first).toHaveLength(total);
    for (const other of others) expect(other).toEqual(first);
    for (let writer = 0; writer < writers; writer++) {
      const own = (first as [number, number][]).filter(([from]) => from === writer).map(([, i]) => i);
      expect(own).toEqual(Array.from({ length: each }, (_, i) => i));
    }
  });

  it("are the same after a restart, also of forks, and what is new lies behind them", async () => {
    let node = await Node.start();
    await node.stream("s").create(JSON_TYPE);
    const early = await node.stream("s").append("[1,2]", JSON_TYPE);
    await node.stream("s").append("[3]", JSON_TYPE);
    const forked = { ...JSON_TYPE, "stream-forked-from": "/v1/stream/s", "stream-fork-offset": early.next };
    await node.stream("fork").create(forked, "[4]");
    const before = await Promise.all([node.stream("s").read(), node.stream("fork").read()]);
    node = await node.restart();
    const after = await Promise.all([node.stream("s").read(), node.stream("fork").read()]);
    for (const [index, page] of after.entries()) {
      const old = before[index];
      expect([page.text, page.next]).toEqual([old?.text, old?.next]);
      expect(page.headers.get("etag")).toBe(old?.headers.get("etag"));
    }
    expect(after.map(({ text }) => text)).toEqual(["[1,2,3]", "[1,2,4]"]);
    const next = await node.stream("fork").append("[5]", JSON_TYPE);
    expect(next.next > (after[1]?.next ?? "")).toBe(true);
    expect(await node.stream("fork").text(after[1]?.next)).toBe("[5]");
  });
});

describe("a torn end", () => {
  it("is cut: neither its bytes nor a wrong tail are ever served, and appends go on behind it", async () => {
    const node = await Node.start();
    await node.stream("s").create(TEXT, "one ");
    const { next } = await node.stream("s").append("two ");
    const crashed = node.image();
    edit(tailSegment(crashed), (bytes) => {
      let end = bytes.length;
      while (end > 0 && bytes[end - 1] === 0) end -= 1;
      // Seven bytes of a frame that never came to be whole, behind the last whole one.
      bytes.fill("garbage", end + 8, end + 15);
    });
    const again = await Node.start(crashed);
    expect(again.opened.recovery.tornBytes).toBeGreaterThan(0);
    expect((await again.stream("s").head()).next).toBe(next);
    expect(await again.stream("s").text()).toBe("one two ");
    await again.stream("s").append("three ");
    await again.stream("s").append("four");
    expect(await again.stream("s").text()).toBe("one two three four");
    const restarted = await again.restart();
    expect(await restarted.stream("s").text()).toBe("one two three four");
  });
});

describe("a damaged byte", () => {
  it("is never served: the read fails, and names no data", async () => {
    const node = await (await Node.start()).restart();
    await node.stream("s").create(TEXT, "the payload that was stored");
    // A restart empties what is kept in memory, so the next read goes to the disk.
    const restarted = await node.restart();
    edit(tailSegment(restarted.directory), (bytes) => {
      const at = bytes.indexOf("payload");
      expect(at).toBeGreaterThan(0);
      bytes[at] = (bytes[at] ?? 0) ^ 1;
    });
    const answer = await restarted.stream("s").read();
    expect([answer.status, answer.json]).toEqual([
      500,
      expect.objectContaining({ error_code: "LOG_CORRUPT" }),
    ]);
    expect(answer.text).not.toContain("stored");
  });

  it("refuses the next start", async () => {
    const node = await Node.start();
    await node.stream("s").create(TEXT, "the payload that was stored");
    await node.stream("s").append("and something behind it");
    await node.stop();
    edit(tailSegment(node.directory), (bytes) => {
      bytes[bytes.indexOf("payload")] = 0x21;
    });
    const refused = await Node.start(node.directory).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(LogError);
    expect(refused).toMatchObject({ code: "LOG_CORRUPT" });
  });
});

describe("a producer's repeat", () => {
  it("of an append that was answered is a repeat after a crash, and stored once", async () => {
    const node = await Node.start();
    await node.stream("s").create();
    const first = await node.stream("s").append("once", { ...TEXT, ...producer("p", 3, 0) });
    expect(first.status).toBe(200);
    const again = await Node.start(node.image());
    const repeat = await again.stream("s").append("once", { ...TEXT, ...producer("p", 3, 0) });
    expect([repeat.status, repeat.next]).toEqual([204, first.next]);
    expect((await again.stream("s").append("zombie", { ...TEXT, ...producer("p", 2, 1) })).status).toBe(403);
    expect((await again.stream("s").append("gap", { ...TEXT, ...producer("p", 3, 2) })).status).toBe(409);
    expect(await again.stream("s").text()).toBe("once");
  });

  it("of an append that the crash took is stored: message and memory of it go and come together", async () => {
    const node = await Node.start();
    await node.stream("s").create();
    const before = node.image();
    await node.stream("s").append("message", { ...TEXT, ...producer("p", 0, 0) });
    // The bytes of that record were on their way; half of them arrived.
    edit(tailSegment(before), (bytes) => {
      const written = readFileSync(tailSegment(node.directory));
      const half = written.indexOf("message") + 3;
      written.copy(bytes, 0, 0, half);
    });
    const again = await Node.start(before);
    expect(again.opened.recovery.tornBytes).toBeGreaterThan(0);
    expect(await again.stream("s").text()).toBe("");
    const repeat = await again.stream("s").append("message", { ...TEXT, ...producer("p", 0, 0) });
    expect(repeat.status).toBe(200);
    expect((await again.stream("s").append("message", { ...TEXT, ...producer("p", 0, 0) })).status).toBe(204);
    expect(await again.stream("s").text()).toBe("message");
  });

  it("while the first one is on its way to the disk waits for it, and is stored once", async () => {
    const node = await Node.start();
    await node.stream("s").create();
    const headers = { ...TEXT, ...producer("p", 0, 0) };
    const answers = await Promise.all([1, 2, 3, 4].map(() => node.stream("s").append("once", headers)));
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 204, 204, 204]);
    expect(new Set(answers.map(({ next }) => next)).size).toBe(1);
    expect(await node.stream("s").text()).toBe("once");
  });
});

describe("JSON", () => {
  it("comes back as it was sent, also from the disk", async () => {
    const values = [
      ...["12345678901234567890", "1e400", "1.0", "-0", "0.1000000000000000055511151231257827"],
      ...['{"a":1,"a":2}', '{"__proto__":{"x":1}}', '"\\ud800"', '"\\u0041"', "[[1.50]]"],
    ];
    let node = await Node.start();
    await node.stream("s").create(JSON_TYPE);
    await node.stream("s").append(`[${values.join(", ")}]`, JSON_TYPE);
    for (const value of values.slice(0, -1)) await node.stream("s").append(value, JSON_TYPE);
    const expected = `[${[...values, ...values.slice(0, -1)].join(",")}]`;
    expect(await node.stream("s").text()).toBe(expected);
    node = await node.restart();
    expect(await node.stream("s").text()).toBe(expected);
  });
});

describe("after a restart", () => {
  it("a closed stream is closed, a deleted one gone, a source still held by its forks", async () => {
    let node = await Node.start();
    await node.stream("closed").create(TEXT, "all");
    await node.stream("closed").append("!", { ...TEXT, "stream-closed": "TRUE", ...producer("p", 0, 0) });
    await node.stream("deleted").create();
    await node.stream("deleted").delete();
    await node.stream("source").create(TEXT, "shared");
    await node.stream("fork").create({ "stream-forked-from": "/v1/stream/source" });
    await node.stream("source").delete();
    node = await node.restart();
    const closed = await node.stream("closed").read();
    expect([closed.text, closed.closed]).toEqual(["all!", true]);
    const repeat = { ...TEXT, "stream-closed": "true", ...producer("p", 0, 0) };
    expect((await node.stream("closed").append("!", repeat)).status).toBe(204);
    expect((await node.stream("closed").append("?")).status).toBe(409);
    expect((await node.stream("deleted").read()).status).toBe(404);
    expect((await node.stream("source").read()).status).toBe(410);
    expect(await node.stream("fork").text()).toBe("shared");
    await node.stream("fork").delete();
    expect((await node.stream("source").read()).status).toBe(404);
  });

  it("a time to live goes on where it was", async () => {
    let node = await Node.start();
    const start = node.server.now;
    await node.stream("brief").create({ ...TEXT, "stream-ttl": "60" });
    await node
      .stream("dated")
      .create({ ...TEXT, "stream-expires-at": new Date(start + 60_000).toISOString() });
    node.server.now = start + 40_000;
    // Reading renews the one and not the other.
    for (const name of ["brief", "dated"]) expect((await node.stream(name).read()).status).toBe(200);
    node = await node.restart();
    node.server.now = start + 90_000;
    expect((await node.stream("brief").head()).status).toBe(200);
    expect((await node.stream("dated").head()).status).toBe(404);
    node.server.now = start + 40_000 + 64_000;
    expect((await node.stream("brief").head()).status).toBe(404);
  });

  it("a writer's sequence is still the greatest that was taken", async () => {
    let node = await Node.start();
    await node.stream("s").create();
    await node.stream("s").append("x", { ...TEXT, "stream-seq": "b" });
    node = await node.restart();
    expect((await node.stream("s").append("x", { ...TEXT, "stream-seq": "b" })).status).toBe(409);
    expect((await node.stream("s").append("y", { ...TEXT, "stream-seq": "ba" })).status).toBe(204);
    expect(await node.stream("s").text()).toBe("xy");
  });
});
