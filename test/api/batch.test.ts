// A batch over keys, queues and rooms is one record: everything in it happens, at one offset, or nothing does.
import { afterEach, describe, expect, it } from "vitest";
import { decodeEvents } from "../../projections/index.js";
import { MemoryLog } from "../support/memory-log.js";
import { TestServer } from "../support/test-server.js";

let server: TestServer;
afterEach(() => server.close());

interface Answered {
  readonly log_offset: number;
  readonly results: readonly Record<string, unknown>[];
  readonly error_code?: string;
  readonly operation_index?: number;
  readonly precondition_index?: number;
}

const command = (name: string, payload: object) => ({ command: name, payload });

/** A queue with one job in flight and a room; returns the job's id and receipt. */
async function prepared(log = new MemoryLog()): Promise<{ message_id: string; receipt: string }> {
  server = await TestServer.start({ log });
  await server.post("/queue/jobs", {});
  await server.post("/queue/done", { max_depth: 1 });
  await server.post("/stream/events", {});
  await server.post("/queue/jobs/publish", { payload: "job" });
  const taken = await server.get("/queue/jobs/consume/worker");
  return taken.json as { message_id: string; receipt: string };
}

const finish = ({ message_id, receipt }: { message_id: string; receipt: string }) => [
  command("queue.ack", { queue: "jobs", message_id, receipt }),
  command("kv.set", { key: "B", value: "1" }),
  command("queue.publish", { queue: "done", payload: "C" }),
  command("stream.publish", { room: "events", event: "finished", data: { job: 1 } }),
];

async function facts(): Promise<unknown> {
  const jobs = (await server.get("/queue/jobs/stats")).json as Record<string, unknown>;
  const done = (await server.get("/queue/done/stats")).json as Record<string, unknown>;
  const room = (await server.get("/stream/events/stats")).json as Record<string, unknown>;
  const key = (await server.get("/kv/get/B")).json;
  return {
    acked: jobs["acked"],
    inFlight: jobs["in_flight"],
    done: done["depth"],
    events: room["message_count"],
    key,
  };
}

const NOTHING = { acked: 0, inFlight: 1, done: 0, events: 0, key: { error: "Key not found" } };

describe("a batch", () => {
  it("acks a job, sets a key, publishes and appends as one record with one offset", async () => {
    const log = new MemoryLog();
    const job = await prepared(log);
    const before = log.endOffset;
    const answer = await server.post("/batch", { operations: finish(job) });
    expect(answer.status).toBe(200);
    const { log_offset, results } = answer.json as Answered;
    expect([log_offset, log.endOffset]).toEqual([before + 1, before + 1]);
    expect(results).toHaveLength(4);
    const record = log.records.at(-1);
    expect(record && decodeEvents(record).events.map(({ type }) => type)).toEqual([
      "queue.acked",
      "kv.set",
      "queue.published",
      "stream.appended",
    ]);
    expect(await facts()).toEqual({ acked: 1, inFlight: 0, done: 1, events: 1, key: "1" });
  });

  it.each([
    [
      "a key",
      (key: string) => [command("kv.set", { key, value: "41" }), command("kv.incr", { key })],
      { value: 42 },
    ],
    [
      "a queue",
      (name: string) => [
        command("queue.create", { name }),
        command("queue.publish", { queue: name, payload: "p" }),
      ],
      { duplicate: false },
    ],
    [
      "a room",
      (room: string) => [
        command("stream.create", { room }),
        command("stream.publish", { room, event: "e", data: 1 }),
      ],
      { offset: 0 },
    ],
  ] as const)("shows %s that its first operation made to a later one", async (_what, pair, expected) => {
    await prepared();
    const others = [command("kv.set", { key: "other", value: "1" }), command("kv.del", { key: "other" })];
    for (const [index, between] of [[], others].entries()) {
      const [first, later] = pair(`made-${index}`);
      const { status, json } = await server.post("/batch", { operations: [first, ...between, later] });
      expect(status).toBe(200);
      expect((json as Answered).results.at(-1)).toMatchObject(expected);
    }
  });

  it.each([
    [
      "an old receipt",
      (job: { message_id: string }) => finish({ ...job, receipt: "999-0" }),
      "QUEUE_RECEIPT_STALE",
      0,
    ],
    [
      "a queue that is full",
      (job: { message_id: string; receipt: string }) => [
        ...finish(job),
        command("queue.publish", { queue: "done", payload: "one too many" }),
      ],
      "QUEUE_FULL",
      4,
    ],
    [
      "a room that is not there",
      (job: { message_id: string; receipt: string }) => [
        ...finish(job),
        command("stream.publish", { room: "none", event: "e", data: 1 }),
      ],
      "STREAM_NOT_FOUND",
      4,
    ],
    [
      "a key that another operation of it has set to text",
      (job: { message_id: string; receipt: string }) => [
        ...finish(job),
        command("kv.set", { key: "n", value: "text" }),
        command("kv.incr", { key: "n" }),
      ],
      "KV_NOT_AN_INTEGER",
      5,
    ],
    [
      "an operation that names a transaction's client",
      (job: { message_id: string; receipt: string }) => [
        ...finish(job),
        command("kv.set", { key: "n", value: "1", client_id: "c" }),
      ],
      "API_FIELD_INVALID",
      4,
    ],
  ] as const)("with %s does nothing and names the operation", async (_what, operations, code, index) => {
    const log = new MemoryLog();
    const job = await prepared(log);
    const before = log.endOffset;
    const answer = await server.post("/batch", { operations: operations(job) });
    expect(answer.json).toMatchObject({ error_code: code, operation_index: index });
    expect(log.endOffset).toBe(before);
    expect(await facts()).toEqual(NOTHING);
  });

  it("sees in each operation what those before it did", async () => {
    await prepared();
    const answer = await server.post("/batch", {
      operations: [
        command("kv.set", { key: "n", value: "41" }),
        command("kv.incr", { key: "n" }),
        command("stream.publish", { room: "events", event: "e", data: 1 }),
        command("stream.publish", { room: "events", event: "e", data: 2, expected_offset: 1 }),
      ],
    });
    expect(answer.status).toBe(200);
    expect((await server.get("/kv/get/n")).json).toBe("42");
    const read = (await server.get("/stream/events/consume/s?from_offset=0")).json as {
      events: { offset: number }[];
    };
    expect(read.events.map(({ offset }) => offset)).toEqual([0, 1]);
  });

  it("sees what each append pushes out of a room that keeps so many bytes", async () => {
    await prepared();
    const publish = (room: string, data: number) => command("stream.publish", { room, event: "e", data });
    const trim = (room: string) => command("stream.trim", { room, before_offset: 1 });
    await server.post("/stream/old", { max_bytes: 5 });
    for (const data of [1, 2, 3]) await server.post("/stream/old/publish", { event: "e", data });
    const { json } = await server.post("/batch", {
      operations: [
        command("stream.create", { room: "new", max_bytes: 5 }),
        ...[11, 22].map((data) => publish("new", data)),
        trim("new"),
        ...[33, 44].map((data) => publish("new", data)),
        trim("new"),
        ...[44, 55].map((data) => publish("old", data)),
        trim("old"),
        publish("old", 6_666_666),
        trim("old"),
        ...[7, 8].map((data) => publish("old", data)),
        trim("old"),
      ],
    });
    const { results } = json as { results: { earliest_offset?: number }[] };
    const told = results.flatMap(({ earliest_offset }) => earliest_offset ?? []);
    const earliest = async (room: string) =>
      (await server.post(`/stream/${room}/trim`, { before_offset: 0 })).json;
    expect([told, await earliest("new"), await earliest("old")]).toMatchObject([
      [1, 2, 2, 5, 6],
      { earliest_offset: 2 },
      { earliest_offset: 6 },
    ]);
  });

  it("survives a restart whole", async () => {
    const log = new MemoryLog();
    const job = await prepared(log);
    await server.post("/batch", { operations: finish(job) });
    const before = await facts();
    await server.close();
    server = await TestServer.start({ log: new MemoryLog({ records: log.records }) });
    expect(await facts()).toEqual(before);
  });
});
