/** Replication between real servers: from nothing to a set, a fail-over, and the return of the old primary with more than it was asked for. */
import { afterEach, describe, expect, it } from "vitest";
import { TcpProxy } from "../../ops/demo/tcp-proxy.js";
import { runAnnals } from "../support/annals-command.js";
import { ReadsOfTwo, sharedReads } from "../support/every-read.js";
import { type Answer, errorCodeOf } from "../support/http-client.js";
import { ReplicaSet, type SetNode, tokenOf, write } from "../support/replica-set.js";
import { expectSameSegments } from "../support/same-segments.js";

const ONE = { "x-annals-acks": "1" };
const TEXT = { "content-type": "text/plain" };
let set: ReplicaSet;
let proxy: TcpProxy | undefined;
afterEach(async () => {
  await set.end();
  await proxy?.close();
  proxy = undefined;
});

/** Its replication section. */
const infoOf = async (node: SetNode): Promise<unknown> =>
  (await node.json("/info?section=replication"))["replication"];

/** A start that is refused, in the directory of a node that does not run. */
const startOf = ({ directory }: SetNode, ...flags: readonly string[]) =>
  runAnnals(["serve", "--data-dir", directory, "--port", "0", ...flags]);

async function digestOf(node: SetNode): Promise<unknown> {
  const { offset, crc, digests } = await node.json("/digest");
  return { offset, crc, digests };
}

describe("a primary and a replica", () => {
  it("are set up from nothing: a write is confirmed there, and read there with its token", async () => {
    set = await ReplicaSet.begin();
    const one = await set.primary("one", [], { ANNALS_REPLICATION_ACK_TIMEOUT_MS: "2500" });
    expect((await write(one, "before")).status).toBe(200);
    const two = await set.replica("two", one);
    await expect.poll(async () => (await two.stats())["listed"]).toBe(true);
    const written = await write(one, "a", ONE);
    expect(written.status, written.text).toBe(200);
    const read = await two.get(`/kv/get/a?min_offset=${tokenOf(written)}`);
    expect([read.status, read.text]).toEqual([200, '"value of a"']);
    expect((await two.get("/kv/get/before")).text).toBe('"value of before"');

    const refused = await write(two, "b");
    expect([refused.status, refused.headers["x-annals-primary"]]).toEqual([403, one.http]);
    expect(errorCodeOf(refused)).toBe("REPLICATION_READ_ONLY");
    expect((await two.get("/readyz")).status).toBe(200);

    const unconfirmed = await write(one, "c", { "x-annals-acks": "2" });
    expect(unconfirmed.status).toBe(504);
    expect(JSON.parse(unconfirmed.text)).toMatchObject({
      error: "stored locally at offset 4, confirmed by 1 of 2 replicas",
      error_code: "REPLICATION_NOT_CONFIRMED",
      offset: 4,
      confirmed: 1,
      wanted: 2,
    });
    const { offset, lineage } = JSON.parse(unconfirmed.text);
    expect((await two.get("/kv/c", { "x-annals-min-offset": `${offset}@${lineage}` })).text).toBe(
      "value of c",
    );

    const { node_id: id } = await two.stats();
    expect((await one.stats())["replicas"]).toMatchObject([
      {
        id,
        name: "two",
        address: two.address,
        http: two.http,
        offset: 4,
        lag_operations: 0,
        connected: true,
      },
    ]);
    expect(await infoOf(one)).toEqual({
      role: "master",
      connected_slaves: 1,
      master_repl_offset: 4,
      epoch: 1,
      fenced: false,
      repl_backlog_active: true,
      repl_backlog_size: expect.any(Number),
    });
    expect(await infoOf(two)).toEqual({
      role: "slave",
      connected_slaves: 0,
      master_repl_offset: 4,
      epoch: 1,
      fenced: false,
      master_link_status: "up",
      slave_repl_lag: 0,
      slave_repl_offset: 4,
      master_address: one.address,
      repl_backlog_active: true,
      repl_backlog_size: expect.any(Number),
    });
    const [there, here] = [(await one.get("/metrics")).text, (await two.get("/metrics")).text];
    for (const line of [
      ...["lag_operations", "lag_bytes", "lag_ms", "lag_seconds"].map(
        (name) => `${name}{replica_id="${id}"} 0`,
      ),
      ...['role{role="master"} 1', "epoch 1", "heard_epoch 1", "fenced 0", "connected_replicas 1"],
      ...["breakers_open 0", "waiting_writes 0", 'writes_total{outcome="confirmed"} 1', "promotions_total 0"],
      ...['records_total{direction="sent"} 4', 'operations_total{type="append",status="success"} 4'],
    ])
      expect(there).toContain(`annals_replication_${line}\n`);
    for (const line of [
      ...[
        `lag_operations{replica_id="${id}"} 0`,
        'role{role="replica"} 1',
        "connected 1",
        "reconnects_total 0",
      ],
      ...['operations_total{type="full_sync",status="success"} 1', 'records_total{direction="received"} 4'],
      ...[
        "divergences_total 0",
        "diverged_records_total 0",
        "verification_failures_total 0",
        "fenced_total 0",
      ],
    ])
      expect(here).toContain(`annals_replication_${line}\n`);
    const bytesOf = (text: string, direction: string): number =>
      Number(text.match(`annals_replication_bytes_total\\{direction="${direction}"\\} (\\d+)\n`)?.[1]);
    expect(bytesOf(there, "sent")).toBeGreaterThan(100);
    expect([bytesOf(there, "received"), bytesOf(here, "sent")]).toEqual([0, 0]);
    expect(bytesOf(here, "received")).toBe(bytesOf(there, "sent"));
    const shown = await runAnnals(["status", two.http, "--json"]);
    expect(shown.code, shown.stderr).toBe(0);
    expect(JSON.parse(shown.stdout).nodes).toMatchObject([
      { name: "one", role: "master" },
      { name: "two", role: "replica", phase: "streaming" },
    ]);
  });

  it("a replica answers every read as its primary does, live ones too, and refuses what would change anything", async () => {
    set = await ReplicaSet.begin();
    const one = await set.primary("one", [], { ANNALS_KV_STORE_ALLOW_FLUSH_COMMANDS: "true" });
    const two = await set.replica("two", one);
    await one.post("/queue/jobs");
    await one.post("/queue/jobs/publish", { payload: "work", priority: 3 });
    await one.client.send("PUT", "/stream/room");
    await one.post("/stream/room/publish", { event: "said", data: { words: 2 } });
    await one.client.send("PUT", "/v1/stream/live", undefined, TEXT);
    await one.client.send("POST", "/v1/stream/live", "first,", TEXT);
    await write(one, "a");
    const seen = { "x-annals-min-offset": tokenOf(await write(one, "b", ONE)) };
    for (const path of ["/kv/a", "/kv/get/a?at=1", "/queue/jobs/stats?at=3", "/v1/stream/live?offset=-1"]) {
      const [there, here] = [await one.get(path), await two.get(path, seen)];
      expect([path, here.status, here.text]).toEqual([path, there.status, there.text]);
    }

    const next = (await two.get("/v1/stream/live?offset=-1")).headers["stream-next-offset"];
    const polled = two.get(`/v1/stream/live?offset=${next}&live=long-poll`);
    const events = await fetch(`${two.http}/v1/stream/live?offset=${next}&live=sse`);
    await one.client.send("POST", "/v1/stream/live", "second", TEXT);
    expect((await polled).text).toBe("second");
    let shown = "";
    for await (const part of events.body ?? []) {
      shown += Buffer.from(part).toString();
      if (shown.includes("second")) break;
    }
    expect(shown).not.toContain("first");

    for (const [path, body] of [
      ...[["/queue/jobs/consume/me", {}] as const, ["/queue/jobs/ack", { message_id: "m" }] as const],
      ...[
        ["/stream/room/publish", { event: "e", data: 1 }] as const,
        ["/kv/set", { key: "a", value: 1 }] as const,
      ],
    ]) {
      const refused = await two.post(path, body);
      expect([path, refused.status, errorCodeOf(refused)]).toEqual([path, 403, "REPLICATION_READ_ONLY"]);
      expect(refused.headers["x-annals-primary"]).toBe(one.http);
    }

    const reads = new ReadsOfTwo(one, two);
    for (const operation of sharedReads) await reads.expectSame(operation);
  });

  it("a replica that has nothing yet says what it waits for, and a resync brings everything anew", async () => {
    set = await ReplicaSet.begin();
    const one = await set.primary("one");
    await write(one, "a");
    expect((await one.post("/snapshot")).status).toBe(200);
    await write(one, "b");
    await one.kill();
    const two = await set.replica("two", one);
    const [ready, read, refused] = [await two.get("/readyz"), await two.get("/kv/a"), await write(two, "x")];
    expect([ready.status, read.status, errorCodeOf(refused)]).toEqual([503, 503, "REPLICATION_READ_ONLY"]);
    expect(ready.text).toContain("waiting for the first sync");
    expect(errorCodeOf(read)).toBe("LOG_REPLAYING");
    expect(await infoOf(two)).toEqual({
      role: "slave",
      connected_slaves: 0,
      master_repl_offset: 0,
      epoch: 0,
      fenced: false,
      // How far it is behind nobody knows.
      master_link_status: "down",
      slave_repl_offset: 0,
      master_address: one.address,
      repl_backlog_active: true,
      repl_backlog_size: 0,
    });
    const { node_id: id } = await two.stats();
    await two.kill();
    await set.restart(two);
    expect((await two.stats())["node_id"]).toBe(id);
    await set.restart(one, ["--role", "master"]);
    await expect.poll(async () => (await two.get("/readyz")).status).toBe(200);
    expect(await digestOf(two)).toEqual(await digestOf(one));
    expect((await two.stats())["node_id"]).toBe(id);

    const again = await runAnnals(["resync", two.http]);
    expect(again.code, again.stderr).toBe(0);
    expect(again.stdout).toMatch(/ fetches everything anew; /);
    await expect.poll(async () => (await two.stats())["full_syncs"]).toBe(2);
    await expect.poll(async () => (await two.get("/readyz")).status).toBe(200);
    // It begins with the snapshot, which brought the log behind it along.
    expect((await two.json("/snapshots"))["snapshots"]).toHaveLength(1);
    expect(await digestOf(two)).toEqual(await digestOf(one));
    await one.kill();
    const alone = { replication: expect.stringContaining("not connected") };
    await expect.poll(async () => (await two.json("/health"))["components"]).toMatchObject(alone);
    expect((await two.get("/readyz")).status).toBe(200);
  });

  it("a replica that forwards has its writes done by the primary, once", async () => {
    set = await ReplicaSet.begin();
    let httpPort = 0;
    proxy = await TcpProxy.open(() => httpPort);
    const reached = { ANNALS_REPLICATION_ADVERTISED_HTTP_ADDRESS: `http://127.0.0.1:${proxy.port}` };
    const one = await set.primary("one", [], reached);
    httpPort = one.server.port;
    const config = { ANNALS_REPLICATION_FORWARD_WRITES: "true" };
    const two = await set.replica("two", one, [], config);
    await expect.poll(async () => (await two.stats())["connected"]).toBe(true);
    const written = await two.client.put("a", "raw bytes", ONE);
    expect([written.status, written.headers["x-annals-offset"]]).toEqual([201, "2"]);
    expect((await two.get(`/kv/a?min_offset=${tokenOf(written)}`)).text).toBe("raw bytes");
    const once = { "idempotency-key": "k" };
    const [first, again] = [await write(two, "b", once), await write(two, "b", once)];
    expect(again.headers["idempotent-replayed"]).toBe("true");
    expect(again.text).toBe(first.text);

    // The primary does it, and its answer is lost on the way back.
    const lossy = async (path: string, body: object, isDone: () => Promise<boolean>): Promise<Answer> => {
      proxy?.silence("back");
      const answer = two.post(path, body);
      await expect.poll(isDone).toBe(true);
      proxy?.cut();
      proxy?.heal();
      return await answer;
    };
    const counter = async (key: string) => (await one.get(`/kv/${key}`)).text;
    const counted = await lossy("/kv/n/incr", {}, async () => (await counter("n")) === "1");
    expect([counted.status, counted.headers["idempotent-replayed"]]).toEqual([200, undefined]);
    const operations = [{ command: "kv.incr", payload: { key: "n" } }];
    const batch = await lossy("/batch", { operations }, async () => (await counter("n")) === "2");
    expect(batch.status, batch.text).toBe(200);
    expect(await counter("n")).toBe("2");

    const client = { client_id: "c-1" };
    expect((await two.post("/transaction/multi", client)).status).toBe(200);
    const queued = await two.post("/kv/n/incr", client);
    expect(queued.text).toContain('"queued":true');
    const exec = await lossy("/transaction/exec", client, async () => (await counter("n")) === "3");
    expect(exec.status, exec.text).toBe(200);
    const envelope = { command: "kv.incr", request_id: "r", payload: { key: "n" } };
    await lossy("/api/v1/command", envelope, async () => (await counter("n")) === "4");
    expect(await counter("n")).toBe("4");
    await one.kill();
    expect(errorCodeOf(await write(two, "c"))).toBe("REPLICATION_FORWARD_FAILED");
  });
});

describe("a primary that is lost", () => {
  it("is replaced, and returns as a replica with its extra records put aside", async () => {
    set = await ReplicaSet.begin();
    const one = await set.primary("one", [], { ANNALS_REPLICATION_REPLICA_TIMEOUT_SECS: "1" });
    const two = await set.replica("two", one);
    expect((await write(one, "kept", ONE)).status).toBe(200);
    await expect.poll(async () => (await two.stats())["listed"]).toBe(true);
    const { node_id: id } = await two.stats();
    await two.kill();
    for (const key of ["lost-1", "lost-2"]) expect((await write(one, key)).status).toBe(200);
    // It counts as gone after a second, and is missed all the same.
    const missed = async () => (await one.json("/health/replication"))["replicas"] as { lag_ms: number }[];
    await expect.poll(async () => (await missed())[0]?.lag_ms).toBeGreaterThan(1100);
    expect(await missed()).toMatchObject([{ id, status: "disconnected" }]);
    const row = { id, name: "two", status: "disconnected", connected: false, lag_operations: 2 };
    expect((await one.stats())["replicas"]).toMatchObject([row]);
    const page = (await one.get("/metrics")).text;
    expect(page).toContain(`annals_replication_lag_operations{replica_id="${id}"} 2\n`);
    expect(page).toContain("annals_replication_connected_replicas 0\n");
    expect(page).toMatch(/annals_replication_lag_seconds\{replica_id="\w+"\} [1-9]/);
    expect((await one.json("/info?section=replication"))["replication"]).toMatchObject({
      connected_slaves: 0,
    });
    const lost = await write(one, "lost-3");
    // Of what will be cut off: it must not stand in the way then.
    expect((await one.post("/snapshot")).status).toBe(200);
    // What it has is another node's: it may lead once it has won, and the one that leads has more.
    const lead = await startOf(two, "--role", "master", "--replica-listen", two.address);
    expect([lead.code, lead.stderr]).toEqual([1, expect.stringContaining("REPLICATION_BETTER_REPLICA")]);
    await one.kill();

    await set.restart(two, ["--role", "replica", "--master-address", one.address]);
    expect((await two.get("/kv/get/kept")).status).toBe(200);
    const promoted = await runAnnals(["promote", two.http, "--json"]);
    expect(promoted.code, promoted.stderr).toBe(0);
    expect(JSON.parse(promoted.stdout)).toMatchObject({
      role: "master",
      epoch: 2,
      not_reached: [expect.stringContaining("one")],
    });
    expect((await write(two, "after")).status).toBe(200);

    await set.restart(one, ["--role", "master"], { ANNALS_REPLICATION_REJOIN: "false" });
    expect(errorCodeOf(await write(one, "fenced"))).toBe("REPLICATION_FENCED");
    await one.kill();
    const alone = await startOf(one);
    expect([alone.code, alone.stderr]).toEqual([2, expect.stringMatching(/NOT_ALONE: .*epoch 2 .*from two/)]);
    await set.restart(one, ["--role", "master"]);
    const written = await write(two, "and after", ONE);
    expect(written.status, written.text).toBe(200);
    expect((await one.get(`/kv/get/after?min_offset=${tokenOf(written)}`)).text).toBe('"value of after"');
    expect((await one.get("/kv/lost-1")).status).toBe(404);
    expect(errorCodeOf(await write(one, "x"))).toBe("REPLICATION_READ_ONLY");
    // A token of what was put aside is of no history any more.
    expect(errorCodeOf(await one.get(`/kv/get/kept?min_offset=${tokenOf(lost)}`))).toBe("API_LINEAGE_LOST");

    const early = await runAnnals(["forget", "one", two.http]);
    expect([early.code, early.stderr]).toEqual([1, expect.stringContaining("REPLICATION_ROLE_WRONG")]);

    const { diverged } = await one.json("/api/replication/diverged");
    expect(diverged).toMatchObject([{ first_offset: 3, last_offset: 5, records: 3 }]);
    expect(await one.stats()).toMatchObject({ divergences: 1, full_syncs: 0 });
    const [{ directory }] = diverged as [{ directory: string }];
    const dumped = await runAnnals(["dump", `${one.directory}/${directory}`]);
    expect(dumped.stdout).toContain("lost-1");
    expect(dumped.stdout).toContain("lost-3");
    const pages = await Promise.all([one, two].map(async (node) => (await node.get("/metrics")).text));
    for (const [at, lines] of [
      ["divergences_total 1", "diverged_records_total 3", "promotions_total 0", "fenced 0", "epoch 2"],
      ["divergences_total 0", "diverged_records_total 0", "promotions_total 1", "fenced 0", "epoch 2"],
    ].entries())
      for (const line of lines) expect(pages[at]).toContain(`annals_replication_${line}\n`);
    expect(pages[0]).toContain('operations_total{type="partial_sync",status="success"} 1\n');

    expect(await digestOf(one)).toEqual(await digestOf(two));
    await expectSameSegments(one, two);

    await one.kill();
    await expect.poll(async () => (await runAnnals(["forget", "one", two.http])).code).toBe(0);
    expect(errorCodeOf(await two.post("/api/replication/forget", { node: "one" }))).toBe("API_NODE_UNKNOWN");
    expect((await two.stats())["replicas"]).toEqual([]);
  });

  it("is replaced as a whole where no snapshot is left to cut it at, and its old log is put aside", async () => {
    set = await ReplicaSet.begin();
    const one = await set.primary("one", [], {
      ANNALS_LOG_SEGMENT_BYTES: "4096",
      ANNALS_LOG_RETENTION_BYTES: "24576",
      ANNALS_PERSISTENCE_SNAPSHOT_MAX_SNAPSHOTS: "2",
    });
    const grow = async (from: number, count: number): Promise<void> => {
      await Promise.all(Array.from({ length: count }, (_, i) => write(one, `${from + i}-${"k".repeat(60)}`)));
      expect((await one.post("/snapshot")).status).toBe(200);
    };
    const firstOffset = async (): Promise<number> =>
      Number(/log_first_offset (\d+)/.exec((await one.get("/metrics")).text)?.[1]);
    const two = await set.replica("two", one);
    await grow(0, 200);
    const common = Number((await write(one, "common", ONE)).headers["x-annals-offset"]);
    await expect.poll(async () => (await two.stats())["listed"]).toBe(true);
    await two.kill();
    await grow(200, 40);
    await grow(240, 40);
    await expect.poll(firstOffset).toBeGreaterThan(1);
    // The first snapshot would do to cut it at.
    const oldestSnapshot = async (): Promise<number> => {
      const listed = (await one.json("/snapshots"))["snapshots"] as { offset: number }[];
      return Math.min(...listed.map(({ offset }) => offset));
    };
    await expect.poll(oldestSnapshot).toBeGreaterThan(common);
    const last = (await one.json("/digest"))["offset"];
    await one.kill();

    await set.restart(two);
    expect((await runAnnals(["promote", two.http])).code).toBe(0);
    await set.restart(one);
    // The whole log goes over first, which may take longer than a write waits.
    await expect.poll(async () => (await write(two, "after", ONE)).status).toBe(200);
    expect(await digestOf(one)).toEqual(await digestOf(two));
    await expectSameSegments(one, two);
    const { diverged } = await one.json("/api/replication/diverged");
    expect(diverged).toMatchObject([{ last_offset: last }]);
    const [{ first_offset: first }] = diverged as [{ first_offset: number }];
    expect([first > 1, first < common]).toEqual([true, true]);
    expect(await one.stats()).toMatchObject({ role: "replica", full_syncs: 1, divergences: 1 });
    const metrics = (await one.get("/metrics")).text;
    const records = Number(last) - first + 1;
    for (const line of ["divergences_total 1", `diverged_records_total ${records}`])
      expect(metrics).toContain(`annals_replication_${line}\n`);
  });
});
