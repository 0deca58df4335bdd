// Reads of durable streams beyond what the public suite asks: pages, live readers and their bounds, what may be shown when,
// and what becomes of readers when a stream or the server goes away.
import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { asIs, stream as streams } from "../../projections/index.js";
import { MemoryLog } from "../support/memory-log.js";
import { JSON_TYPE, StreamClient, TEXT } from "../support/stream-client.js";
import { TestServer, type TestServerOptions } from "../support/test-server.js";

const open: TestServer[] = [];
async function start(options: TestServerOptions = {}): Promise<TestServer> {
  const server = await TestServer.start(options);
  open.push(server);
  return server;
}
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Server-sent events as they arrive; `until` resolves when the text holds what is asked for, or the connection ended. */
class Events {
  text = "";
  ended = false;
  #wake: () => void = () => undefined;
  readonly #abort = new AbortController();

  static async open(stream: StreamClient, offset: string): Promise<Events> {
    const events = new Events();
    const url = `${stream.server.url}${stream.path}?offset=${offset}&live=sse`;
    const response = await fetch(url, { signal: events.#abort.signal });
    expect(response.status).toBe(200);
    void events.#pump(response).catch(() => undefined);
    return events;
  }

  async until(done: () => boolean): Promise<void> {
    while (!done() && !this.ended) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  /** Where the last control event says that the reader stands. */
  get next(): string {
    return [...this.text.matchAll(/"streamNextOffset":"([0-9_]+)"/g)].at(-1)?.[1] ?? "";
  }

  /** The JSON messages of all data events, in order. */
  get messages(): unknown[] {
    return [...this.text.matchAll(/event: data\ndata:(.*)\n\n/g)].flatMap(([, json]) =>
      JSON.parse(json ?? "[]"),
    );
  }

  close(): void {
    this.#abort.abort();
  }

  async #pump(response: Response): Promise<void> {
    try {
      for await (const chunk of response.body ?? []) {
        this.text += Buffer.from(chunk).toString("utf8");
        this.#wake();
      }
    } finally {
      this.ended = true;
      this.#wake();
    }
  }
}

describe("a page", () => {
  it("ends between two appends, and many pages are the whole stream, without a gap or a repeat", async () => {
    const stream = new StreamClient(await start(), "big");
    await stream.create(JSON_TYPE);
    const values = Array.from({ length: 12 }, (_, i) => `${i}`.repeat(200_000 / `${i}`.length));
    for (const value of values) await stream.append(JSON.stringify([value, value]), JSON_TYPE);
    const pages = await stream.pages();
    expect(pages.length).toBeGreaterThan(3);
    const read = pages.map(({ text }) => JSON.parse(text) as string[]);
    for (const page of read) expect(page.length % 2).toBe(0);
    expect(read.flat()).toEqual(values.flatMap((value) => [value, value]));
    expect(pages.slice(0, -1).some(({ upToDate }) => upToDate)).toBe(false);
  });

  it("that does not reach the end may be kept by caches, any other is asked for again", async () => {
    const stream = new StreamClient(await start(), "cached");
    const created = await stream.create();
    for (let i = 0; i < 3; i++) await stream.append("x".repeat(700_000));
    const first = await stream.read(created.next);
    expect(first.upToDate).toBe(false);
    expect(first.headers.get("cache-control")).toBe("public, max-age=60, stale-while-revalidate=300");
    expect((await stream.read()).headers.get("cache-control")).toBe("no-cache");
    const last = (await stream.pages()).at(-1);
    expect(last?.headers.get("cache-control")).toBe("no-cache");
  });

  it("that begins before its stream was made is asked for again: the name's next stream begins there, too", async () => {
    const server = await start();
    const [source, fork] = [new StreamClient(server, "source"), new StreamClient(server, "fork")];
    await source.create(TEXT, "shared");
    const { next: shared } = await source.append("shared too");
    for (const fill of ["a", "b"]) {
      await fork.create({ ...TEXT, "stream-forked-from": source.path });
      for (let i = 0; i < 3; i++) await fork.append(fill.repeat(700_000));
      for (const offset of ["0000000000000000_0000000000000000", shared]) {
        const page = await fork.read(offset);
        expect([page.status, page.upToDate, page.text.at(-1)]).toEqual([200, false, fill]);
        expect(page.headers.get("cache-control")).toBe("no-cache");
      }
      await fork.delete();
    }
  });

  it("has another tag when the stream was closed, though the bytes are the same", async () => {
    const stream = new StreamClient(await start(), "tagged");
    await stream.create(TEXT, "all");
    const before = await stream.read();
    const tag = before.headers.get("etag") ?? "";
    expect((await stream.read("-1", "", { "if-none-match": tag })).status).toBe(304);
    await stream.close();
    const after = await stream.read("-1", "", { "if-none-match": tag });
    expect([after.status, after.text, after.closed]).toEqual([200, "all", true]);
  });
});

describe("an offset", () => {
  it("beyond everything that was ever written is refused", async () => {
    const stream = new StreamClient(await start(), "s");
    await stream.create(TEXT, "x");
    const answer = await stream.read("0000009999999999_0000000000000000");
    expect([answer.status, answer.json]).toEqual([
      400,
      expect.objectContaining({ error_code: "API_OFFSET_INVALID" }),
    ]);
  });

  it("later than the stream's end, from another stream, never comes back smaller", async () => {
    const server = await start();
    const [one, other] = [new StreamClient(server, "one"), new StreamClient(server, "other")];
    await one.create(TEXT, "one");
    const later = await other.create(TEXT, "other");
    const answer = await one.read(later.next);
    expect([answer.status, answer.text, answer.next]).toEqual([200, "", later.next]);
    await one.append("more");
    expect(await one.text(later.next)).toBe("more");
  });

  it("of a stream that was deleted is gone when the name is another stream's", async () => {
    const stream = new StreamClient(await start(), "again");
    await stream.create(TEXT, "old");
    const { next } = await stream.append("old too");
    await stream.delete();
    await stream.create(TEXT, "new");
    expect((await stream.read(next)).status).toBe(410);
    expect(await stream.text()).toBe("new");
  });
});

function expectProtocolHeaders({ headers }: { readonly headers: Headers }): void {
  // Each once: two would be joined.
  expect(headers.get("x-content-type-options")).toBe("nosniff");
  expect(headers.get("cross-origin-resource-policy")).toBe("cross-origin");
}

describe("an offset of an earlier stream of the name, on a fork", () => {
  const forkedFrom = (path: string, extra: Record<string, string> = {}) => ({
    "stream-forked-from": `/v1/stream/${path}`,
    ...extra,
  });

  it.each(["before the source's appends", "between them", "after them"])(
    "that lay %s is gone",
    async (when) => {
      const server = await start();
      const [source, fork] = [new StreamClient(server, "source"), new StreamClient(server, "fork")];
      await source.create(TEXT, "one ");
      const old: string[] = [];
      const begin = async () => {
        old.push((await fork.create(TEXT, "old")).next, (await fork.append("old too")).next);
      };
      if (when === "before the source's appends") await begin();
      const first = await source.append("two ");
      if (when === "between them") await begin();
      const second = await source.append("three ");
      if (when === "after them") await begin();
      await fork.delete();
      await fork.create(forkedFrom("source"));
      for (const offset of old) expect((await fork.read(offset)).status, offset).toBe(410);
      expect((await fork.longPoll(old[0] ?? "")).status).toBe(410);
      // What its source has named leads on, and what it names itself.
      expect(await fork.text(first.next)).toBe("three ");
      expect((await fork.read(second.next)).text).toBe("");
      expect(await fork.text()).toBe("one two three ");
      for (const { next } of await fork.pages()) expect((await fork.read(next)).status).toBe(200);
      // Nor can a fork begin there.
      const third = await new StreamClient(server, "third").create(
        forkedFrom("fork", { "stream-fork-offset": old[1] ?? "" }),
      );
      expect([third.status, third.json]).toEqual([
        400,
        expect.objectContaining({ error_code: "STREAM_FORK_INVALID" }),
      ]);
    },
  );

  it("is told from those of a source's source, and from the places of creations", async () => {
    const server = await start();
    const [root, middle, leaf] = ["root", "middle", "leaf"].map((name) => new StreamClient(server, name)) as [
      StreamClient,
      StreamClient,
      StreamClient,
    ];
    const empty = (await root.create(TEXT)).next;
    const one = (await root.append("one ")).next;
    const old = (await leaf.create(TEXT, "old")).next;
    await leaf.delete();
    const forked = (await middle.create(forkedFrom("root"))).next;
    const two = (await middle.append("two ")).next;
    await leaf.create(forkedFrom("middle"));
    await middle.close();
    await root.delete();
    for (const [offset, rest] of [
      [empty, "one two "],
      [one, "two "],
      [forked, "two "],
      [two, ""],
      ["0000000000000000_0000000000000000", "one two "],
    ] as const) {
      expect((await leaf.read(offset)).text, offset).toBe(rest);
    }
    expect((await leaf.read(old)).status).toBe(410);
    expect((await middle.read(old)).status).toBe(410);
  });
});

describe("a path", () => {
  it("takes the methods of the protocol, and says which when it is asked for another", async () => {
    const server = await start();
    const answer = await server.request("PATCH", "/v1/stream/a/b");
    expect([answer.status, answer.headers.get("allow")]).toEqual([405, "DELETE, GET, HEAD, POST, PUT"]);
  });

  it("may have many segments and any Unicode, and is one stream however it is encoded", async () => {
    const server = await start();
    const created = await new StreamClient(server, "a/%C3%A9/%31").create(TEXT, "x");
    expect(created.status).toBe(201);
    expect(created.headers.get("location")).toBe(`${server.url}/v1/stream/a/%C3%A9/%31`);
    expect(await new StreamClient(server, "a/%c3%a9/1").text()).toBe("x");
  });

  it("that cannot be a stream's is refused, with the protocol's headers", async () => {
    const server = await start();
    for (const [name, status] of [
      ["", 400],
      ["__ds/subscriptions/x", 501],
      ["x".repeat(9_000), 400],
      ["%ff", 400],
      ["a/%", 400],
    ] as const) {
      const answer = await new StreamClient(server, name).create();
      expect(answer.status, name.slice(0, 20)).toBe(status);
      expectProtocolHeaders(answer);
    }
  });

  it("has the protocol's headers on whatever is refused before a stream is looked for", async () => {
    const server = await start({ limits: { bodyBytesMax: 10 } });
    const tooLarge = await new StreamClient(server, "a").append("more than ten bytes");
    const wrongMethod = await server.request("PATCH", "/v1/stream/a");
    server.draining = true;
    const draining = await new StreamClient(server, "a").read();
    expect([tooLarge.status, wrongMethod.status, draining.status]).toEqual([413, 405, 503]);
    for (const answer of [tooLarge, wrongMethod, draining]) expectProtocolHeaders(answer);
    expect((await server.get("/kv/get/a")).headers.get("cross-origin-resource-policy")).toBeNull();
  });
});

describe("a content type", () => {
  it("that is none is refused by this door's own code", async () => {
    const server = await start();
    for (const method of ["PUT", "POST"]) {
      const answer = await server.request(method, "/v1/stream/typed", "x", { "content-type": "text" });
      expect([answer.status, answer.json]).toEqual([
        400,
        expect.objectContaining({ error_code: "STREAM_CONTENT_TYPE_INVALID" }),
      ]);
    }
  });
});

describe("what is not committed", () => {
  it("is shown to nobody, by any kind of read", async () => {
    const log = new MemoryLog();
    const server = await start({ log, limits: { longPollTimeoutMs: 60_000 } });
    const stream = new StreamClient(server, "s");
    const { next } = await stream.create(JSON_TYPE, "[1]");
    const events = await Events.open(stream, "-1");
    await events.until(() => events.messages.length === 1);
    log.hold();
    const append = stream.append("[2]", JSON_TYPE);
    const poll = stream.longPoll(next);
    await expect.poll(() => server.waiting().streamPoll).toBe(1);
    await pause(50);
    expect((await stream.read()).text).toBe("[1]");
    expect((await stream.read("now")).next).toBe(next);
    expect(events.messages).toEqual([1]);
    log.release();
    expect((await poll).text).toBe("[2]");
    await events.until(() => events.messages.length === 2);
    expect(events.messages).toEqual([1, 2]);
    expect((await append).next).toBe((await stream.read()).next);
    events.close();
  });

  it("reaches a live reader who came while it was on its way to the disk", async () => {
    const log = new MemoryLog();
    const server = await start({ log, limits: { longPollTimeoutMs: 60_000 } });
    const stream = new StreamClient(server, "s");
    const { next } = await stream.create(TEXT);
    log.hold();
    const append = stream.append("late");
    while (log.endOffset === log.committedOffset) await pause(1);
    const poll = stream.longPoll(next);
    await expect.poll(() => server.waiting().streamPoll).toBe(1);
    log.release();
    expect((await poll).text).toBe("late");
    await append;
  });
});

describe("a live reader", () => {
  it("past the bound is told to come back later, and the others go on", async () => {
    const server = await start({ limits: { liveReadersMax: 2, longPollTimeoutMs: 2_000 } });
    const stream = new StreamClient(server, "s");
    const { next } = await stream.create();
    const first = [stream.longPoll(next), stream.longPoll(next)];
    await expect.poll(() => server.waiting().streamPoll).toBe(2);
    const third = await stream.longPoll(next);
    expect([third.status, third.headers.get("retry-after")]).toEqual([429, "1"]);
    expect((await stream.read(next)).status).toBe(200);
    expect((await Promise.all(first)).map(({ status }) => status)).toEqual([204, 204]);
    expect((await stream.longPoll(next)).status).toBe(204);
  });

  it("who leaves makes room", async () => {
    const server = await start({ limits: { liveReadersMax: 1 } });
    const stream = new StreamClient(server, "s");
    await stream.create();
    for (let i = 0; i < 5; i++) {
      const events = await Events.open(stream, "-1");
      await events.until(() => events.next !== "");
      events.close();
      await expect.poll(() => server.waiting().streamEvents).toBe(0);
    }
  });

  it("who waits when the stream is deleted is told that it is gone, whatever has its name then", async () => {
    const log = new MemoryLog();
    const server = await start({ log, limits: { longPollTimeoutMs: 20_000 } });
    const stream = new StreamClient(server, "s");
    await new StreamClient(server, "source").create();
    const context = { now: server.now, random: 0, cause: { command: "test" } };
    const source = await server.store.query(streams.head, { name: "ds/source" }, context, asIs);
    if (source.type === "rejected") throw new Error(source.message);
    const from = { source: "ds/source", sourceId: source.answer.facts.id, at: 0 };
    // Tokens of a fork may be older than the fork, so they alone don't tell that the stream is another.
    const fork = { name: "ds/s", contentType: "text/plain", fork: from };
    const { next } = await stream.create();
    const poll = stream.longPoll(next);
    const events = await Events.open(stream, next);
    await events.until(() => events.next !== "");
    await expect.poll(() => server.waiting().streamPoll).toBe(1);
    // All three are committed at once, so that nobody finds the name free in between.
    log.hold();
    const before = log.endOffset;
    const steps: Promise<unknown>[] = [];
    for (const step of [
      () => stream.delete(),
      async () => server.store.execute(streams.create, fork, context, asIs),
      () => stream.append("another"),
    ]) {
      steps.push(step());
      while (log.endOffset < before + steps.length) await pause(1);
    }
    log.release();
    await Promise.all(steps);
    expect((await poll).status).toBe(404);
    await events.until(() => false);
    expect(events.text).not.toContain("another");
  });

  it("is not called slow for waiting, whatever ends its wait", async () => {
    const server = await start({ limits: { slowRequestMs: 200, longPollTimeoutMs: 300 } });
    const stream = new StreamClient(server, "s");
    const { next } = await stream.create();
    expect((await stream.longPoll(next)).status).toBe(204);
    const deleted = stream.longPoll(next);
    await pause(250);
    await stream.delete();
    expect((await deleted).status).toBe(404);
    expect(server.logged).toEqual([]);
  });

  it("gets what came while its connection was renewed, once", async () => {
    const server = await start({ limits: { eventStreamMaxMs: 150 } });
    const stream = new StreamClient(server, "s");
    await stream.create(JSON_TYPE);
    const messages: unknown[] = [];
    let offset = "-1";
    let connections = 0;
    const writer = (async () => {
      for (let i = 0; i < 60; i++) {
        await stream.append(`[${i}]`, JSON_TYPE);
        await pause(10);
      }
      await stream.close();
    })();
    for (let closed = false; !closed; ) {
      const events = await Events.open(stream, offset);
      await events.until(() => false);
      connections += 1;
      messages.push(...events.messages);
      offset = events.next;
      closed = events.text.includes('"streamClosed":true');
    }
    await writer;
    expect(messages).toEqual(Array.from({ length: 60 }, (_, i) => i));
    expect(connections).toBeGreaterThan(2);
  });

  it("is answered at once when the server closes its doors", async () => {
    const server = await TestServer.start({ limits: { longPollTimeoutMs: 60_000 } });
    const stream = new StreamClient(server, "s");
    const { next } = await stream.create();
    const poll = stream.longPoll(next);
    const events = await Events.open(stream, next);
    await events.until(() => events.next !== "");
    await expect.poll(() => server.waiting().streamPoll).toBe(1);
    const closing = server.drain();
    expect((await poll).status).toBe(204);
    await events.until(() => false);
    expect(events.ended).toBe(true);
    await closing;
  });

  it("who does not read costs a page, not the stream", async () => {
    let bytesRead = 0;
    const server = await start({
      wrapStore: (store) => ({
        execute: (...write) => store.execute(...write),
        query: (...read) => store.query(...read),
        bodies: (plan) => {
          bytesRead += plan.bytes;
          return store.bodies(plan);
        },
        records: (first, last) => store.records(first, last),
        wakes: store.wakes,
        onReached: (...wait) => store.onReached(...wait),
        get offset() {
          return store.offset;
        },
        close: () => store.close(),
      }),
    });
    const stream = new StreamClient(server, "slow");
    await stream.create();
    const socket = connect(server.port, "127.0.0.1");
    socket.pause();
    socket.write(`GET ${stream.path}?offset=-1&live=sse HTTP/1.1\r\nHost: x\r\n\r\n`);
    const appended = 48;
    for (let i = 0; i < appended; i++) await stream.append("x".repeat(1_000_000));
    await pause(200);
    // What the sockets' own buffers take is the system's; the rest stays in the log until somebody reads.
    expect(bytesRead).toBeLessThan(16_000_000);
    expect(bytesRead).toBeGreaterThan(0);
    socket.destroy();
  });
});
