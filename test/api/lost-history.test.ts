// After a restore the offsets go on from an earlier one, and may be other records'. Whatever a client still holds of the history that
// was lost is recognised and refused, by the means that ops/docs/restore.md names for it; what is of the common past goes on.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { epoch } from "../../log/index.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { BackupBench } from "../support/backup-bench.js";
import { MemoryLog } from "../support/memory-log.js";
import { RestoreBench } from "../support/restore-bench.js";
import { type Answer, TestServer } from "../support/test-server.js";

interface Told {
  readonly offset: string;
  readonly lineage: string;
  /** Durable stream. */
  readonly token: string;
  readonly tag: string;
}

const STREAM = "/v1/stream/orders";
let server: TestServer;
/** Told before the moment that was restored, and after it. */
let kept: Told;
let lost: Told;
let receipt: { readonly message_id: string; readonly receipt: string };
let cursor: string;

const fields = ({ text }: Answer): Record<string, unknown> => (text === "" ? {} : JSON.parse(text));
const header = (answer: Answer, name: string): string => answer.headers.get(name) ?? "";
const type = { "content-type": "text/plain" };

async function tell(text: string): Promise<Told> {
  const appended = await server.request("POST", STREAM, text, type);
  const read = await server.get(`${STREAM}?offset=-1`);
  return {
    offset: header(appended, "x-annals-offset"),
    lineage: header(appended, "x-annals-lineage"),
    token: header(appended, "stream-next-offset"),
    tag: header(read, "etag"),
  };
}

beforeAll(async () => {
  const disk = new SimulatedDisk(1).mount();
  const bench = new BackupBench(disk);
  const { log } = await bench.openLog();
  server = await TestServer.start({ log });
  await server.request("PUT", STREAM, undefined, type);
  await server.post("/queue/jobs", {});
  await server.post("/queue/jobs/publish", { payload: [1] });
  for (const key of ["a", "b", "c"]) await server.post("/kv/set", { key, value: 1 });
  await server.post("/stream/room", {});
  kept = await tell("kept");
  lost = await tell("lost");
  const message = fields(await server.get("/queue/jobs/consume/worker"));
  receipt = { message_id: String(message["message_id"]), receipt: String(message["receipt"]) };
  cursor = String(fields(await server.get("/kv/scan?limit=1"))["cursor"]);
  await server.close();
  await log.close();
  await bench.backup();

  const restoring = new RestoreBench(disk, bench);
  const { dataDirectory } = await restoring.restore({ type: "offset", offset: Number(kept.offset) });
  const opened = await restoring.open(dataDirectory);
  server = await TestServer.start({ log: opened.log });
  // The new history has other records where the lost one had its own.
  await server.request("POST", STREAM, "else", type);
  await server.post("/kv/set", { key: "a", value: 2 });
  await server.get("/queue/jobs/consume/worker");
});
afterAll(() => server.close());

const refused = (answer: Answer): unknown => [answer.status, fields(answer)["error_code"]];

describe("an offset token of a durable stream", () => {
  it("carries its lineage", () => {
    expect(lost.token).toBe(`${lost.offset.padStart(16, "0")}_${"0".repeat(16)}_${lost.lineage}`);
    expect(Number(lost.offset)).toBeLessThanOrEqual(server.log.endOffset);
  });

  it.each(["", "&live=long-poll", "&live=sse"])("of the lost history is answered 410 (%j)", async (live) => {
    expect(refused(await server.get(`${STREAM}?offset=${lost.token}${live}`))).toEqual([
      410,
      "API_LINEAGE_LOST",
    ]);
  });

  it("of the common past goes on with what came since", async () => {
    const read = await server.get(`${STREAM}?offset=${kept.token}`);
    expect([read.status, read.text]).toEqual([200, "else"]);
    const next = header(read, "stream-next-offset");
    expect(next.slice(-8)).not.toBe(lost.lineage);
    expect((await server.get(`${STREAM}?offset=${next}`)).status).toBe(200);
  });

  it("of a release that did not tell the lineage is taken below the newest epoch only", async () => {
    const plain = ({ token }: Told): string => token.slice(0, -9);
    expect((await server.get(`${STREAM}?offset=${plain(kept)}`)).text).toBe("else");
    expect((await server.get(`${STREAM}?offset=${plain(lost)}`)).status).toBe(410);
  });

  it("of the lost history begins no fork, and the tag of a page with it is another one", async () => {
    const fork = await server.request("PUT", "/v1/stream/fork", undefined, {
      ...type,
      "stream-forked-from": STREAM,
      "stream-fork-offset": lost.token,
    });
    expect(refused(fork)).toEqual([410, "API_LINEAGE_LOST"]);
    const read = await server.get(`${STREAM}?offset=-1`, { "if-none-match": lost.tag });
    expect([read.status, read.text]).toEqual([200, "keptelse"]);
  });
});

/** What names something by a plain number: the offset that it was told with goes beside it. */
const plainNumbers: readonly (readonly [string, (headers: Record<string, string>) => Promise<Answer>])[] = [
  ["a moment", (headers) => server.get("/kv/get/a?at=3", headers)],
  ["a page of a history", (headers) => server.get("/kv/a/history?before=9", headers)],
  [
    "a revision",
    (headers) => server.request("PUT", "/kv/a", "x", { ...type, "if-match": '"999"', ...headers }),
  ],
  [
    "a length of a room",
    (headers) => server.post("/stream/room/publish", { event: "e", data: 1, expected_offset: 9 }, headers),
  ],
  ["a delivery", (headers) => server.post("/queue/jobs/ack", receipt, headers)],
  ["a place in a room", (headers) => server.get("/stream/room/consume/s?from_offset=0", headers)],
  ["a page of dead letters", (headers) => server.get("/queue/jobs/dlq", headers)],
];

describe.each(plainNumbers)("%s", (_what, ask) => {
  it("of the lost history is refused with the offset that it was told with, and nothing has changed", async () => {
    const end = server.log.endOffset;
    const both = { "x-annals-min-offset": lost.offset, "x-annals-lineage": lost.lineage };
    expect(refused(await ask(both))).toEqual([409, "API_LINEAGE_LOST"]);
    const joined = { "x-annals-min-offset": `${lost.offset}@${lost.lineage}` };
    expect(refused(await ask(joined))).toEqual([409, "API_LINEAGE_LOST"]);
    expect(refused(await ask({ ...both, "x-annals-lineage": "now" }))).toEqual([
      400,
      "API_MIN_OFFSET_INVALID",
    ]);
    expect(server.log.endOffset).toBe(end);
    const common = { "x-annals-min-offset": kept.offset, "x-annals-lineage": kept.lineage };
    expect(fields(await ask(common))["error_code"]).not.toBe("API_LINEAGE_LOST");
  });
});

describe("what lives in the process", () => {
  it("is not known to the next one: cursors of scans, watches and transactions", async () => {
    // Each process draws its own; those of these tests all draw the same.
    const otherProcess = cursor.startsWith("0") ? "1".repeat(8) : "0".repeat(8);
    expect(refused(await server.get(`/kv/scan?cursor=${otherProcess}${cursor.slice(8)}`))).toEqual([
      400,
      "KV_CURSOR_INVALID",
    ]);
    const exec = await server.post("/transaction/exec", { client_id: "of-another-process" });
    expect(fields(exec)["error_code"]).toBe("BATCH_TRANSACTION_NOT_FOUND");
  });
});

describe("a reader that waits on a durable stream while the log is cut under it, or replaced", () => {
  async function twoWait() {
    const log = new MemoryLog();
    const limits = { longPollTimeoutMs: 20_000, minOffsetWaitMs: 20_000 };
    const node = await TestServer.start({ log, limits });
    await node.request("PUT", STREAM, "kept ", type);
    const place = header(await node.request("POST", STREAM, "lost ", type), "stream-next-offset");
    const poll = node.get(`${STREAM}?offset=${place}&live=long-poll`);
    const events = node.get(`${STREAM}?offset=-1&live=sse`);
    const areThere = () =>
      expect.poll(() => node.waiting()).toEqual({ queue: 0, streamPoll: 1, streamEvents: 1 });
    await areThere();
    /** From the second record on another history stands there. */
    const [first] = log.epochs;
    const epochs = [first, { ...first, epoch: epoch(2), first: 2, lineageId: "f".repeat(32) }];
    const anotherBegins = () => Object.defineProperty(log, "epochs", { value: epochs });
    return { log, node, poll, events, areThere, anotherBegins };
  }

  it("is told that its place is lost, and shown nothing of the new history behind it", async () => {
    const { node, poll, events, anotherBegins } = await twoWait();
    anotherBegins();
    await node.request("POST", STREAM, "new", type);
    expect(refused(await poll)).toEqual([410, "API_LINEAGE_LOST"]);
    const { text } = await events;
    expect([text.includes("lost "), text.includes("new")]).toEqual([true, false]);
    await node.close();
  });

  it("waits on when a node that follows lacks what was read, which may come again, until that is lost", async () => {
    const { log, node, poll, events, areThere, anotherBegins } = await twoWait();
    node.replication.isBehind = true;
    const cut = log.records.splice(1);
    log.committedOffset = log.endOffset;
    node.store.wakes.ringAll();
    await new Promise((resolve) => setTimeout(resolve, 50));
    await areThere();
    log.records.push(...cut);
    log.committedOffset = log.endOffset;
    anotherBegins();
    await node.request("POST", STREAM, "new", type);
    expect(refused(await poll)).toEqual([410, "API_LINEAGE_LOST"]);
    expect((await events).text).not.toContain("new");
    await node.close();
  });
});
