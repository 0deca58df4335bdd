/**
 * Replication between real servers whose network is cut, slowed and silenced, whose processes are killed and stopped, and whose
 * replication port is sent garbage. A few rounds in the suite; ANNALS_PROPS_FACTOR=50 makes 100 joins, 50 cuts and 50 fail-overs.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { realFileSystem } from "../../log/index.js";
import { TcpProxy } from "../../ops/demo/tcp-proxy.js";
import { checkByteEqual, segmentFiles } from "../../props/checkers/byte-equal.js";
import { checkConvergence } from "../../props/checkers/convergence.js";
import { factor, seed, seededRandom } from "../../props/run-settings.js";
import { errorCodeOf } from "../support/http-client.js";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";
import { SetLoad } from "../support/set-load.js";

const random = seededRandom(seed);
const QUICK = { ANNALS_REPLICATION_REPLICA_TIMEOUT_SECS: "1", ANNALS_SERVER_SHUTDOWN_TIMEOUT_SECS: "1" };
const LONG = { timeout: 120_000 * Math.max(1, factor) };

let set: ReplicaSet;
const proxies: TcpProxy[] = [];
afterEach(async () => {
  await set.end();
  for (const proxy of proxies.splice(0)) await proxy.close();
});

async function proxyTo(port: () => number): Promise<TcpProxy> {
  const proxy = await TcpProxy.open(port);
  proxies.push(proxy);
  return proxy;
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what: string, holds: () => Promise<boolean>, timeoutMs = 60_000): Promise<void> {
  const late = performance.now() + timeoutMs;
  while (!(await holds().catch(() => false))) {
    if (performance.now() > late) throw new Error(`waited in vain until ${what}`);
    await sleep(20);
  }
}

const endOf = async (node: SetNode): Promise<number> => {
  const stats = await node.stats();
  return Number(stats["replica_offset"] ?? stats["master_offset"]);
};

const hasAll = (replica: SetNode, primary: SetNode): Promise<void> =>
  until(`${replica.name} has what ${primary.name} has`, async () => {
    const { role, connected } = await replica.stats();
    return role === "replica" && connected === true && (await endOf(replica)) === (await endOf(primary));
  });

/** Same state and same bytes, as the checkers of the simulated world judge it. */
async function expectOne(...nodes: readonly SetNode[]): Promise<void> {
  const seen = await Promise.all(
    nodes.map(async (node) => {
      const { offset, digests } = await node.json("/digest");
      const segments = await segmentFiles(realFileSystem, node.directory);
      return { node: node.name, offset: Number(offset), digest: JSON.stringify(digests), segments };
    }),
  );
  checkConvergence(seen);
  const [first, ...others] = seen;
  for (const other of others)
    if (first !== undefined) expect(checkByteEqual(first, other)).toBeGreaterThan(0);
}

describe("replication under faults, between processes", () => {
  it("nodes join while the primary is written to", LONG, async () => {
    set = await ReplicaSet.begin();
    const primary = await set.primary("primary");
    const load = new SetLoad(primary, 0, 4);
    for (let join = 1; join <= 2 * factor; join += 1) {
      const replica = await set.replica(`replica-${join}`, primary, [], QUICK);
      await until("it is there", async () => (await endOf(replica)) > join);
      if (join < 2 * factor) await replica.kill();
      else {
        await load.end();
        await hasAll(replica, primary);
        expect(await load.missingOn(replica)).toEqual([]);
        await expectOne(primary, replica);
      }
    }
    expect(load.answered.size).toBeGreaterThan(10);
  });

  it(
    "a link is cut, silenced, slowed: nothing that was confirmed is missing, and the logs are the same",
    LONG,
    async () => {
      set = await ReplicaSet.begin();
      const primary = await set.primary("primary", [], QUICK);
      const proxy = await proxyTo(() => primary.replicationPort);
      const replica = await set.replica("replica", { address: `127.0.0.1:${proxy.port}` }, [], QUICK);
      await hasAll(replica, primary);
      const load = new SetLoad(primary, 1, 4);
      for (let cut = 0; cut < 3 * factor; cut += 1) {
        await sleep(100);
        const kind = cut % 3 === 0 ? "cut" : random() < 0.5 ? "silence" : "slow";
        if (kind === "cut") {
          proxy.faults.refuses = true;
          proxy.cut();
        } else if (kind === "silence") proxy.silence(...(random() < 0.5 ? (["out"] as const) : []));
        else Object.assign(proxy.faults, { delayMs: 5, dribbleBytes: 1 + Math.floor(random() * 50) });
        await sleep(factor > 1 ? 1000 + random() * 19_000 : 200 + random() * 300);
        proxy.heal();
      }
      await load.end();
      await hasAll(replica, primary);
      expect(load.answered.size).toBeGreaterThan(0);
      expect(await load.missingOn(replica)).toEqual([]);
      await expectOne(primary, replica);
    },
  );

  it(
    "primaries are killed, stopped and cut off, and replaced: no confirmed write is lost, and they return as replicas",
    LONG,
    async () => {
      set = await ReplicaSet.begin();
      const nodes = await threeNodes();
      let [primary] = nodes;
      const load = new SetLoad(primary, 1, 4);
      const promotionMs: number[] = [];
      for (let round = 0; round < factor; round += 1) {
        await sleep(200);
        const old = primary;
        const undo = await lose(old, round + (seed % 3));
        const since = performance.now();
        primary = await promoteOneOf(nodes.filter((node) => node !== old));
        promotionMs.push(performance.now() - since);
        load.turnTo(primary);
        await until("the new one is written to", async () => {
          const before = load.answered.size;
          await sleep(100);
          return load.answered.size > before;
        });
        await undo();
        await until("the old one follows", async () => (await old.stats())["role"] === "replica");
        await listed(
          nodes.filter((node) => node !== primary),
          primary,
        );
      }
      await load.end();
      for (const node of nodes) if (node !== primary) await hasAll(node, primary);
      for (const node of nodes) expect(await load.missingOn(node)).toEqual([]);
      await expectOne(...nodes);
      if (factor > 1) console.log(`promotions took ${promotionMs.map((ms) => ms.toFixed(0)).join(", ")} ms`);
    },
  );

  it("garbage on the replication port ends its own connection, and nothing else", LONG, async () => {
    set = await ReplicaSet.begin();
    const primary = await set.primary("primary", [], QUICK);
    const replica = await set.replica("replica", primary, [], QUICK);
    await hasAll(replica, primary);
    const before = residentBytes(primary.server.pid);
    for (let round = 0; round < 20 * factor; round += 1) {
      const bytes = hostileBytes(round);
      await Promise.all(Array.from({ length: 4 }, () => throwAt(primary.replicationPort, bytes)));
      await throwAt(replica.replicationPort, bytes);
    }
    const written = await primary.client.put("a", "b", { "x-annals-acks": "1" });
    expect(written.status, written.text).toBe(201);
    expect(primary.server.running && replica.server.running).toBe(true);
    expect(residentBytes(primary.server.pid) - before).toBeLessThan(96 * 1024 * 1024);
  });
});

/** Each reached by the others through a proxy of its own, so that it can be cut off. */
const proxyOf = new Map<SetNode, TcpProxy>();

async function threeNodes(): Promise<[SetNode, SetNode, SetNode]> {
  const start = async (name: string, of?: SetNode): Promise<SetNode> => {
    let port = 0;
    const proxy = await proxyTo(() => port);
    const reached = { ...QUICK, ANNALS_REPLICATION_ADVERTISED_ADDRESS: `127.0.0.1:${proxy.port}` };
    const at = of && proxyOf.get(of);
    const node =
      at === undefined
        ? await set.primary(name, [], reached)
        : await set.replica(name, { address: `127.0.0.1:${at.port}` }, [], reached);
    port = node.replicationPort;
    proxyOf.set(node, proxy);
    return node;
  };
  const one = await start("one");
  const two = await start("two", one);
  const three = await start("three", one);
  await listed([two, three], one);
  return [one, two, three];
}

const listed = async (replicas: readonly SetNode[], primary: SetNode): Promise<void> => {
  for (const replica of replicas) {
    await hasEpochOf(replica, primary);
    await until(`${replica.name} is listed`, async () => (await replica.stats())["listed"] === true);
  }
  await until("a write is confirmed by all", async () => {
    const acks = { "x-annals-acks": String(replicas.length) };
    return (await primary.client.put("listed", "yes", acks)).status < 300;
  });
};

const hasEpochOf = (replica: SetNode, primary: SetNode): Promise<void> =>
  until(`${replica.name} has the epoch of ${primary.name}`, async () => {
    const [ours, theirs] = [await replica.stats(), await primary.stats()];
    return ours["connected"] === true && ours["epoch"] === theirs["epoch"];
  });

/** The primary is lost in one of three ways; what is returned brings it back. */
async function lose(node: SetNode, how: number): Promise<() => Promise<void>> {
  const proxy = proxyOf.get(node);
  switch (how % 3) {
    case 0:
      await node.kill("SIGKILL");
      return () => set.restart(node);
    case 1:
      process.kill(-node.server.pid, "SIGSTOP");
      return async () => void process.kill(-node.server.pid, "SIGCONT");
    default:
      proxy?.silence();
      return async () => proxy?.heal();
  }
}

async function promoteOneOf(replicas: readonly SetNode[]): Promise<SetNode> {
  const refused: string[] = [];
  for (let round = 0; round < 20; round += 1)
    for (const replica of replicas) {
      const answer = await replica.post("/api/replication/promote");
      if (answer.status === 200) return replica;
      refused.push(errorCodeOf(answer) ?? String(answer.status));
      await sleep(100);
    }
  throw new Error(`nobody was promoted: ${refused.join(", ")}`);
}

/** Sends the bytes and waits until the other side has ended the connection, or a little. */
function throwAt(port: number, bytes: Uint8Array): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(bytes));
    const late = setTimeout(() => socket.destroy(), 30);
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(late);
      resolve();
    });
    socket.resume();
  });
}

/** Noise; headers with lengths that nobody has; a sound beginning that breaks off. */
function hostileBytes(round: number): Uint8Array {
  const bytes = Buffer.from(randomBytes(1 + Math.floor(random() * 100_000)));
  if (round % 3 === 0) return bytes;
  bytes.writeUInt32LE(round % 2 === 0 ? 0xffff_ffff : 4000, 0);
  if (bytes.length > 16) bytes.writeUInt32LE(1 + (round % 16), 8);
  return round % 3 === 1 ? bytes : bytes.subarray(0, 12);
}

function residentBytes(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(line?.[1] ?? 0) * 1024;
}
