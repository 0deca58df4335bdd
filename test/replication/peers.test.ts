import { describe, expect, it } from "vitest";
import { epoch, offset } from "../../log/index.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { LeadershipFile } from "../../replication/leadership-file.js";
import type { Leadership } from "../../replication/leadership-order.js";
import { PEERS_MAX } from "../../replication/messages.js";
import { NodeList, type NodePlace } from "../../replication/peers.js";
import { hostOf, placedAt } from "../../replication/reachable.js";

const UNDER: Leadership = { epoch: epoch(1), lineageId: "a".repeat(32) };
const NEXT: Leadership = { epoch: epoch(2), lineageId: "b".repeat(32) };
const idOf = (number: number): string => String(number).padStart(32, "0");
const place = (number: number, port = 1): NodePlace => ({
  nodeId: idOf(number),
  name: `n${number}`,
  listen: { host: `n${number}`, port },
  http: undefined,
});

interface Node {
  readonly list: NodeList;
  readonly file: LeadershipFile;
  readonly disk: SimulatedDisk;
}

async function node(number: number, disk = new SimulatedDisk(number + 1)): Promise<Node> {
  const file = new LeadershipFile(disk.mount(), "/disk");
  await file.load();
  return {
    list: new NodeList(
      file,
      () => idOf(number),
      () => undefined,
    ),
    file,
    disk,
  };
}

/** What a heartbeat carries from the primary to a replica, and back. */
async function tell(from: Node, to: Node, number: number, under = UNDER): Promise<void> {
  await to.list.adopt(under, from.list.version, from.list.nodes);
  await from.list.confirm(idOf(number), to.list.versionUnder(under));
}

async function led(): Promise<Node> {
  const primary = await node(0);
  await primary.list.lead(UNDER, place(0));
  return primary;
}

describe("the list of nodes", () => {
  it("counts a replica only when every other one is known to keep it on its copy", async () => {
    const [p, r1, r2] = [await led(), await node(1), await node(2)];
    await p.list.admit(place(1));
    expect(p.list.counts(idOf(1))).toBe(true);
    await tell(p, r1, 1);
    await p.list.admit(place(2));
    // 1 doesn't know of 2 yet: it could be promoted without asking it. 2 has confirmed nothing at all.
    expect([p.list.counts(idOf(1)), p.list.counts(idOf(2))]).toEqual([true, false]);
    await tell(p, r1, 1);
    expect([p.list.counts(idOf(1)), p.list.counts(idOf(2))]).toEqual([true, true]);
    await tell(p, r2, 2);
    expect(r2.list.others.map(({ name }) => name)).toEqual(["n0", "n1"]);
  });

  it("believes no confirmation of a version that there is not, or of another leadership's list", async () => {
    const [p, r1] = [await led(), await node(1)];
    await p.list.admit(place(1));
    await p.list.admit(place(2));
    expect(p.list.confirm(idOf(1), p.list.version + 1)).toBeUndefined();
    expect(p.list.counts(idOf(2))).toBe(false);
    await r1.list.adopt(NEXT, p.list.version, p.list.nodes);
    expect(r1.list.versionUnder(UNDER)).toBe(0);
    expect(r1.list.versionUnder(NEXT)).toBe(p.list.version);
    expect(r1.list.versionUnder(undefined)).toBe(0);
  });

  it("is handed on: a new primary need not wait for a node that is gone", async () => {
    const [p, r1, r2] = [await led(), await node(1), await node(2)];
    for (const number of [1, 2]) await p.list.admit(place(number));
    for (const [number, replica] of [
      [1, r1],
      [2, r2],
      [1, r1],
    ] as const)
      await tell(p, replica, number);
    await tell(p, r1, 1);
    await r1.list.lead(NEXT, place(1));
    expect(r1.list.counts(idOf(2))).toBe(true);
    expect(r1.list.versionUnder(NEXT)).toBe(p.list.version + 1);
    // A newcomer is known to nobody yet, and the old primary is one of those who must know it.
    await r1.list.admit(place(3));
    await tell(r1, r2, 2, NEXT);
    expect(r1.list.counts(idOf(3))).toBe(false);
    await r1.list.forget(idOf(0));
    expect(r1.list.counts(idOf(3))).toBe(true);
  });

  it("is the same after a restart", async () => {
    const p = await led();
    await p.list.admit(place(1));
    p.disk.losePower();
    const again = await node(0, p.disk);
    expect(again.list.nodes).toEqual(p.list.nodes);
    expect(again.list.version).toBe(p.list.version);
    await again.list.goOn(UNDER, place(0, 2));
    expect(again.list.of(idOf(0))?.listen?.port).toBe(2);
  });

  it("states and counts only what is durable", async () => {
    const p = await led();
    const admitting = p.list.admit(place(1));
    expect([p.list.nodes.length, p.list.version, p.list.counts(idOf(1))]).toEqual([1, 1, false]);
    await admitting;
    expect([p.list.nodes.length, p.list.version, p.list.counts(idOf(1))]).toEqual([2, 2, true]);
  });

  it("has room for so many and no more, and hears of those on it only", async () => {
    const p = await led();
    for (let number = 1; number < PEERS_MAX; number++) expect(await p.list.admit(place(number))).toBe(true);
    expect(await p.list.admit(place(PEERS_MAX))).toBe(false);
    expect(await p.list.admit(place(1, 2))).toBe(true);
    p.list.heardOf(idOf(PEERS_MAX), offset(5), 1);
    expect(p.list.lastHeard(idOf(PEERS_MAX))).toBeUndefined();
    p.list.heardOf(idOf(1), offset(5), 1);
    expect(p.list.lastHeard(idOf(1))).toEqual({ durable: 5, at: 1 });
  });
});

describe("an address", () => {
  const at = (listens: string, http: string | undefined, host: string | undefined) => {
    const { listen, http: there } = placedAt({ listen: { host: listens, port: 1 }, http }, host);
    return [listen?.host, there];
  };

  it("that is every address of a host is the one that the node was reached at", () => {
    expect(at("0.0.0.0", "http://0.0.0.0:2", "10.0.0.7")).toEqual(["10.0.0.7", "http://10.0.0.7:2"]);
    expect(at("::", "https://[::]:2", "north")).toEqual(["north", "https://north:2"]);
    expect(at("::", "http://[::]:2", "fe80::1")).toEqual(["fe80::1", "http://[fe80::1]:2"]);
    expect(at("::", "http://[::]:2", undefined)).toEqual([undefined, undefined]);
    expect(at("north", "http://north:2", "10.0.0.7")).toEqual(["north", "http://north:2"]);
    expect(at("north", "http://[::1]:2", "10.0.0.7")).toEqual(["north", "http://[::1]:2"]);
    expect(at("north", "http://0.0.0.0:2", "10.0.0.7")).toEqual(["north", "http://north:2"]);
    expect(at("127.0.0.1", "http://0.0.0.0:2", "10.0.0.7")).toEqual(["127.0.0.1", "http://10.0.0.7:2"]);
    for (const all of ["::0", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0"])
      expect(at(all, `http://[${all}]:2`, "10.0.0.7")).toEqual(["10.0.0.7", "http://10.0.0.7:2"]);
    expect(at("0", "http://0:2", "10.0.0.7")).toEqual(["10.0.0.7", "http://10.0.0.7:2"]);
    expect(at("::10", "http://[::10]:2", "10.0.0.7")).toEqual(["::10", "http://[::10]:2"]);
    expect(at("north", undefined, "10.0.0.7")).toEqual(["north", undefined]);
    expect(hostOf("10.0.0.7:42")).toBe("10.0.0.7");
    expect(hostOf("[fe80::1]:42")).toBe("fe80::1");
    expect(hostOf("peer 4")).toBeUndefined();
  });

  it("of a zone reaches the replication port, and is no part of an HTTP address", () => {
    const zoned = "fe80::1%eth0";
    expect(at("::", "http://[::]:2", zoned)).toEqual([zoned, undefined]);
    expect(at("::", "http://north:2", zoned)).toEqual([zoned, "http://north:2"]);
  });
});
