// Consumers that wait: what ends a wait, who gets what arrives, and that nobody who left takes anything.
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, describe, expect, it } from "vitest";
import { Checker } from "../../api/checker.js";
import { messageHistory } from "../../api/operations/history.js";
import { offset } from "../../log/index.js";
import { asIs, type OpenedStore, queue, type Store } from "../../projections/index.js";
import { MemoryLog } from "../support/memory-log.js";
import { TestServer, type TestServerOptions } from "../support/test-server.js";

let server: TestServer;
const start = async (options: TestServerOptions = {}, config: object = {}) => {
  server = await TestServer.start(options);
  await server.post("/queue/q", config);
};
afterEach(() => server.close());

const publish = (text: string) => server.post("/queue/q/publish", { payload: text });
const consume = (consumer: string, query = "wait_secs=30") =>
  server.get(`/queue/q/consume/${consumer}?type=string&${query}`);
const stats = async () => (await server.get("/queue/q/stats")).json as Record<string, number>;

/** Enough turns for every request that was sent to have come to its wait. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await server.get("/queue/q/stats");
}

async function until(holds: () => boolean): Promise<void> {
  for (let round = 0; round < 20_000; round++) {
    if (holds()) return;
    await sleep(5);
  }
  throw new Error("it did not happen");
}

/** A consumer on a connection of its own, to be broken off. */
function waitOnSocket(requests = 1): Socket {
  const socket = connect(server.port, "127.0.0.1");
  const request = "GET /queue/q/consume/gone?wait_secs=30 HTTP/1.1\r\nHost: x\r\n\r\n";
  socket.write(request.repeat(requests));
  return socket;
}

describe("a consumer that waits", () => {
  it("gets what is published, at once", async () => {
    await start();
    const waiting = consume("c");
    await settled();
    await publish("a");
    expect((await waiting).json).toMatchObject({ message_id: "2-0", payload: "a" });
  });

  it("gets it through the envelope, too, and several if it asks for several", async () => {
    await start();
    const waiting = server.command("queue.consume", {
      queue: "q",
      consumer_id: "c",
      wait_secs: 30,
      count: 5,
    });
    await settled();
    await server.post("/queue/q/publish/batch", { messages: [{ payload: "a" }, { payload: "b" }] });
    const answer = await waiting;
    expect((answer["payload"] as { messages: object[] }).messages).toHaveLength(2);
  });

  it("gets a message that another one gives back, and one that becomes due", async () => {
    await start();
    await publish("a");
    await consume("other", "");
    const first = consume("c");
    await settled();
    await server.post("/queue/q/nack", { message_id: "2-0", requeue: true });
    expect((await first).json).toMatchObject({ message_id: "2-0", retry_count: 1 });

    const second = consume("d");
    await server.post("/queue/q/publish", { payload: "later", delay_secs: 5 });
    server.now += 5000;
    const context = { now: server.now, random: 0, cause: { command: "due" } };
    await server.store.execute(queue.due, { limit: 10 }, context, asIs);
    expect((await second).json).toMatchObject({ payload: "later" });
  });

  it("is told that there is nothing when its time is over", async () => {
    await start();
    expect((await consume("c", "wait_secs=0.05")).json).toMatchObject({ message_id: null, payload: null });
  });

  it("waits no longer than the server's longest wait", async () => {
    await start({ limits: { waitMsMax: 20 } });
    expect((await consume("c", "wait_secs=1000")).json).toMatchObject({ message_id: null });
  });

  it("is told when its queue is deleted", async () => {
    await start();
    const waiting = [consume("c"), consume("d")];
    await settled();
    await server.request("DELETE", "/queue/q");
    for (const answer of await Promise.all(waiting)) expect(answer.json).toMatchObject({ code: 404 });
  });

  it("is told when the log fails under its delivery", async () => {
    const log = new MemoryLog();
    await start({ log });
    const waiting = consume("c");
    await settled();
    log.hold();
    const published = publish("a");
    await until(() => log.records.length === 2);
    log.release(offset(2));
    await published;
    await until(() => log.records.length === 3);
    log.fail();
    expect((await waiting).json).toMatchObject({ error_code: "LOG_FAILED" });
  });

  it("is told when the log fails under what made the queue empty, instead of waiting on", async () => {
    const log = new MemoryLog();
    // Longer than the test may take: the end of the wait must not pass for the failure.
    await start({ log, limits: { waitMsMax: 600_000 } });
    await publish("a");
    log.hold();
    const taken = consume("other", "");
    await until(() => log.records.length === 3);
    const waiting = consume("c", "wait_secs=600");
    // Keys are committed, so these answer while the queue's answers wait.
    for (let turn = 0; turn < 3; turn++) await server.get("/kv/dbsize");
    log.fail();
    for (const answer of [await taken, await waiting]) {
      expect(answer.json).toMatchObject({ error_code: "LOG_FAILED" });
    }
  });

  it("is not called slow for waiting", async () => {
    await start({ limits: { slowRequestMs: 450 } });
    await consume("c", "wait_secs=0.5");
    expect(server.logged).toEqual([]);
  });
});

describe("several consumers that wait", () => {
  it("get one message each, in the order in which they came", async () => {
    await start();
    const waiting: Promise<unknown>[] = [];
    for (const name of ["first", "second", "third"]) {
      waiting.push(consume(name).then(({ json }) => [name, (json as { payload: string }).payload]));
      await settled();
    }
    await publish("a");
    expect(await waiting[0]).toEqual(["first", "a"]);
    await server.post("/queue/q/publish/batch", { messages: [{ payload: "b" }, { payload: "c" }] });
    expect(await Promise.all(waiting.slice(1))).toEqual([
      ["second", "b"],
      ["third", "c"],
    ]);
    expect(await stats()).toMatchObject({ consumed: 3, in_flight: 3, depth: 0 });
  });

  it("cost a message one attempt more than those it serves, however many they are", async () => {
    let attempts = 0;
    const counted = (store: OpenedStore): Store => ({
      execute: (...write) => {
        attempts += 1;
        return store.execute(...write);
      },
      query: (...read) => store.query(...read),
      bodies: (plan) => store.bodies(plan),
      records: (first, last) => store.records(first, last),
      get offset() {
        return store.offset;
      },
      wakes: store.wakes,
      onReached: (...wait) => store.onReached(...wait),
      close: () => store.close(),
    });
    await start({ wrapStore: counted });
    const waiting = Array.from({ length: 40 }, (_, index) => consume(`c${index}`));
    await until(() => attempts === 41);
    await publish("a");
    await Promise.race(waiting);
    await settled();
    // The publish, the one who got it, and the one behind who found nothing; and again, because taking is a change as well.
    expect(attempts - 41).toBeLessThanOrEqual(4);
    await server.drain();
    await Promise.all(waiting);
  });

  it("pass over one that holds as much as it may", async () => {
    await start({}, { prefetch_limit: 1 });
    await publish("held");
    await consume("greedy", "");
    const greedy = consume("greedy");
    await settled();
    const other = consume("other");
    await settled();
    await publish("a");
    expect((await other).json).toMatchObject({ payload: "a" });
    await publish("b");
    await server.post("/queue/q/ack", { message_id: "2-0" });
    expect((await greedy).json).toMatchObject({ payload: "b" });
  });

  it("are bounded: one more is told to come back, unless there is something for it", async () => {
    await start({ limits: { waitingRequestsMax: 2 } });
    const waiting = [consume("a"), consume("b")];
    await settled();
    const refused = await consume("c");
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "1"]);
    expect(refused.json).toMatchObject({ error_code: "API_WAITING_FULL" });
    await publish("1");
    await publish("2");
    await Promise.all(waiting);
    await publish("3");
    expect((await consume("c")).json).toMatchObject({ payload: "3" });
    // The places of those who were served are free again.
    expect((await consume("d", "wait_secs=0.01")).status).toBe(200);
  });
});

describe("a consumer that goes away while it waits", () => {
  it("takes no message, also with many requests on its connection, and its place is free again", async () => {
    await start({ limits: { waitingRequestsMax: 20 } });
    const socket = waitOnSocket(20);
    await expect.poll(() => server.waiting().queue).toBe(20);
    expect((await consume("probe", "wait_secs=0.001")).status).toBe(503);
    socket.destroy();
    await until(() => server.operations.filter(({ status }) => status === "error").length >= 20);
    await publish("a");
    expect(await stats()).toMatchObject({ depth: 1, consumed: 0, in_flight: 0 });
    expect((await consume("c")).json).toMatchObject({ payload: "a", attempt: 1 });
    expect((await consume("c", "wait_secs=0.01")).status).toBe(200);
  });

  it("leaves what arrives to the one behind it", async () => {
    await start();
    const socket = waitOnSocket();
    await expect.poll(() => server.waiting().queue).toBe(1);
    const behind = consume("behind");
    await expect.poll(() => server.waiting().queue).toBe(2);
    socket.destroy();
    await publish("a");
    expect((await behind).json).toMatchObject({ payload: "a", attempt: 1 });
    expect(await stats()).toMatchObject({ consumed: 1 });
  });
});

describe("a consumer that goes away after it was given a message", () => {
  /** Its delivery is in the log, but not committed, when it goes. */
  async function goneTooEarly(requests: string, deliveries: number): Promise<void> {
    const log = new MemoryLog();
    await start({ log }, { default_max_retries: 0 });
    for (const text of ["a", "b", "c"]) await publish(text);
    const before = log.records.length;
    log.hold();
    const socket = connect(server.port, "127.0.0.1");
    socket.write(requests);
    await until(() => log.records.length === before + deliveries);
    await goAway(socket);
    log.release();
  }

  /** Resolves when the server has noticed. */
  async function goAway(socket: Socket): Promise<void> {
    const ours = server.connections.find(({ remotePort }) => remotePort === socket.localPort);
    if (ours === undefined) throw new Error("the server does not know the connection");
    const closed = once(ours, "close");
    socket.destroy();
    await closed;
  }

  const get = (path: string, headers = "") => `GET ${path} HTTP/1.1\r\nHost: x\r\n${headers}\r\n`;
  const post = (path: string, body: object, headers = "") => {
    const text = JSON.stringify(body);
    const length = `Content-Type: application/json\r\nContent-Length: ${text.length}\r\n`;
    return `POST ${path} HTTP/1.1\r\nHost: x\r\n${length}${headers}\r\n${text}`;
  };
  const inFlight = async () => (await stats())["in_flight"];

  it.each([
    ["a consume", get("/queue/q/consume/gone"), 1],
    ["one that waits", get("/queue/q/consume/gone?wait_secs=30"), 1],
    [
      "one through the envelope",
      post("/api/v1/command", {
        command: "queue.consume",
        request_id: "r",
        payload: { queue: "q", consumer_id: "gone" },
      }),
      1,
    ],
    ["one of several messages", get("/queue/q/consume/gone?count=3"), 1],
    ["several on one connection", get("/queue/q/consume/gone").repeat(3), 3],
  ])("leaves it to the next at once, as if it had never asked: %s", async (_name, requests, deliveries) => {
    await goneTooEarly(requests, deliveries);
    await until(() => server.log.endOffset >= 5 + deliveries);
    await expect.poll(inFlight).toBe(0);
    expect(await stats()).toMatchObject({ depth: 3, in_flight: 0, nacked: 0, timed_out: 0 });
    for (const payload of ["a", "b", "c"]) {
      expect((await consume("next", "")).json).toMatchObject({ payload, attempt: 1, retry_count: 0 });
    }
  });

  it("keeps it when it had an idempotency key: a repeat of the request gets the same answer", async () => {
    const key = "Idempotency-Key: k\r\n";
    await goneTooEarly(post("/queue/q/consume/gone", {}, key), 1);
    await settled();
    expect(await inFlight()).toBe(1);
    const again = await server.request("POST", "/queue/q/consume/gone", {}, { "idempotency-key": "k" });
    expect([again.headers.get("idempotent-replayed"), again.json]).toEqual([
      "true",
      expect.objectContaining({ message_id: "2-0", attempt: 1 }),
    ]);
  });

  it("is told of in the message's history, as the history is documented", async () => {
    await goneTooEarly(get("/queue/q/consume/gone"), 1);
    await expect.poll(inFlight).toBe(0);
    const { json } = await server.get("/queue/q/messages/2-0/history");
    expect(json).toMatchObject({ events: [{}, { consumer: "gone" }, { event: "requeued", by: "unsent" }] });
    expect([...new Checker(messageHistory.output).mistakes(json)]).toEqual([]);
  });

  it("hands it to one that waits behind", async () => {
    const log = new MemoryLog();
    await start({ log });
    await publish("a");
    log.hold();
    const socket = waitOnSocket();
    await until(() => log.records.length === 3);
    const behind = consume("behind");
    for (let turn = 0; turn < 3; turn++) await server.get("/kv/dbsize");
    await goAway(socket);
    log.release();
    expect((await behind).json).toMatchObject({ payload: "a", attempt: 1 });
  });

  it("keeps it when the answer had begun to leave: nobody knows what has arrived, so only its deadline gives it back", async () => {
    await start();
    await publish("a");
    const socket = connect(server.port, "127.0.0.1");
    socket.write(get("/queue/q/consume/gone"));
    await once(socket, "data");
    await goAway(socket);
    await settled();
    expect(await stats()).toMatchObject({ depth: 0, in_flight: 1 });
  });
});

describe("a node that another one has replaced", () => {
  const fenced = { type: "refused", code: "REPLICATION_FENCED", message: "another node leads" } as const;

  it("tells so every consumer that waits, at once, and lets readers of streams wait on", async () => {
    // A reader's time would be over before a consumer's.
    await start({ limits: { longPollTimeoutMs: 20_000 } });
    await server.post("/queue/other");
    const text = { "content-type": "text/plain" };
    await server.request("PUT", "/v1/stream/s", "", text);
    const waiting = [consume("c"), consume("d"), server.get("/queue/other/consume/c?wait_secs=30")];
    const poll = server.get("/v1/stream/s?offset=now&live=long-poll");
    await until(() => server.waiting().queue === 3 && server.waiting().streamPoll === 1);
    server.replication.rest(fenced);
    for (const answer of await Promise.all(waiting))
      expect([answer.status, answer.json]).toEqual([
        503,
        expect.objectContaining({ error_code: fenced.code }),
      ]);
    expect(server.waiting()).toMatchObject({ queue: 0, streamPoll: 1 });
    server.replication.refusal = undefined;
    await server.request("POST", "/v1/stream/s", "news", text);
    expect((await poll).text).toBe("news");
  });

  it("tells so whoever waits for an offset before it writes, and lets a read wait on", async () => {
    await start({ limits: { minOffsetWaitMs: 20_000 } });
    const later = { "x-annals-min-offset": "3" };
    const write = server.post("/kv/set", { key: "a", value: 1 }, later);
    const read = server.get("/kv/get/a", later);
    await settled();
    server.replication.rest(fenced);
    expect((await write).json).toMatchObject({ error_code: fenced.code });
    // What it waits for comes from elsewhere, perhaps.
    server.replication.refusal = undefined;
    for (const key of ["a", "b"]) await server.post("/kv/set", { key, value: 1 });
    expect((await read).json).toBe("1");
  });

  it("lets no write wait for an offset that comes after it was replaced", async () => {
    await start({ limits: { minOffsetWaitMs: 20_000 } });
    server.replication.rest(fenced);
    const later = { "x-annals-min-offset": "3" };
    const write = await server.post("/kv/set", { key: "a", value: 1 }, later);
    expect(write.json).toMatchObject({ error_code: fenced.code });
  });
});

describe("a server that shuts down", () => {
  it("ends every wait with API_DRAINING, and gives nothing away", async () => {
    await start();
    const waiting = [consume("c"), consume("d")];
    await settled();
    await server.drain();
    for (const answer of await Promise.all(waiting)) {
      expect([answer.status, answer.json]).toEqual([
        503,
        expect.objectContaining({ error_code: "API_DRAINING" }),
      ]);
    }
    expect(server.log.endOffset).toBe(1);
  });
});
