/** What is passed on of nodes behind others: what of it is believed, and what a link does whose feeder is only late. */
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { DIRECTORY_FORMAT_VERSION, epoch, offset } from "../../log/index.js";
import type { Leadership } from "../../replication/leadership-order.js";
import { LEASE_MS } from "../../replication/lease.js";
import type { Below, NodeStatement } from "../../replication/messages.js";
import { belowOf, Relayed } from "../../replication/relay.js";
import { ReplicaSet } from "../../replication/replica-set.js";
import type { LinkNodeDouble } from "../support/link-node.js";
import { primaryWith, replicaOf, same, type WithPrimary } from "../support/link-world.js";
import { id } from "../support/protocol-samples.js";
import { RawPeer } from "../support/raw-peer.js";
import { addressOf, type SetNode, SetWorld } from "../support/set-node.js";
import { appendMany } from "../support/test-log.js";

const higher = (number: number): Leadership => ({ epoch: epoch(number), lineageId: "ab".repeat(16) });
const BEHIND = id("be");
/** Of the list of a primary that is alone on it. */
const OWN_VERSION = 1;

describe("a node that follows", () => {
  it("passes on how far those are that it was told of, and nobody else", () => {
    const said: unknown[] = [];
    const relayed = new Relayed();
    const node = { nodeId: BEHIND, name: "behind", listen: undefined, http: undefined, follows: id("aa") };
    const below = { ...node, version: OWN_VERSION, durable: offset(3), silentMs: 0 };
    relayed.state({ type: "below", under: undefined, nodes: [below] }, "between:1", 0, true);
    const set = new ReplicaSet({
      local: { leads: false },
      upstream: () => ({ say: (message: unknown) => said.push(message) }),
    } as never);
    const held = (nodeId: string) => ({ nodeId, durable: offset(4) });
    set.held({ relayed } as never, { type: "held", nodes: [held(id("ce"))] });
    expect(said).toEqual([]);
    set.held({ relayed } as never, { type: "held", nodes: [held(id("ce")), held(BEHIND)] });
    expect(said).toEqual([{ type: "held", nodes: [held(BEHIND)] }]);
  });
});

describe("what a replica tells of nodes behind it", () => {
  let world: SetWorld;
  let primary: SetNode;
  beforeEach(async () => {
    world = new SetWorld();
    primary = world.add("a");
    await primary.start();
    for (let i = 0; i < 5; i++) primary.write(`record ${i}`);
    await primary.required.whenCommitted(primary.required.endOffset);
  });
  afterEach(() => world.stop());

  /** A replica that says whatever the test wants; with everything, or with a log that leaves the primary's. */
  async function replica(
    how: "has all" | "has left",
    nodeId = id("aa"),
    incarnation?: string,
  ): Promise<RawPeer> {
    const { node, required: log } = primary;
    const { clusterId } = node.stats();
    const end = await log.positionAt(log.endOffset);
    const statement: NodeStatement = {
      clusterId,
      nodeId,
      name: "between",
      listen: undefined,
      http: undefined,
      format: DIRECTORY_FORMAT_VERSION,
      own: node.own,
      heard: node.own,
      firstOffset: offset(1),
      leads: false,
      primary: undefined,
      end: how === "has all" ? end : { ...end, crc: (end.crc ^ 1) >>> 0 },
    };
    const peer = RawPeer.dial(world.network, world.clock, addressOf("a"));
    await peer.greet(statement, { incarnation });
    await peer.hears(how === "has all" ? "continue" : "probe");
    return peer;
  }

  const below = (changes: Partial<Below> = {}, version = OWN_VERSION): Below => ({
    type: "below",
    under: primary.node.own && { epoch: primary.node.own.epoch, lineageId: primary.node.own.lineageId },
    nodes: [
      {
        nodeId: BEHIND,
        name: "behind",
        listen: { host: "behind", port: 1 },
        http: undefined,
        follows: id("aa"),
        version,
        durable: offset(4),
        silentMs: 0,
      },
    ],
    ...changes,
  });

  const names = (): string[] => primary.node.stats().peers.map(({ name }) => name);
  const holders = async (): Promise<number> => (await primary.node.confirmed(offset(4), 9, 0)).confirmed;

  /** It comes onto the list itself, and both know the list that there is then; it acknowledges nothing of its own. */
  async function joins(peer: RawPeer): Promise<void> {
    const { own } = primary.node;
    const says = (version: number): void => {
      const kept = { peers: [], peersVersion: version, peersUnder: own, primary: undefined, time: undefined };
      const log = { end: offset(0), durable: offset(0), firstOffset: offset(1) };
      peer.say({ type: "heartbeat", own, ...log, ...kept });
    };
    says(OWN_VERSION + 1);
    await world.clock.until(() => names().includes("between"), "it is listed");
    says(OWN_VERSION + 2);
    peer.say(below({}, OWN_VERSION + 2));
    await world.clock.until(() => names().length === 3, "both are known");
    await answers(peer);
  }

  async function answers(peer: RawPeer): Promise<void> {
    const beats = peer.heard.flatMap((message) => (message.type === "heartbeat" ? [message.sentAt] : []));
    const none = { received: primary.required.endOffset, committed: offset(0), durable: offset(0) };
    peer.say({ type: "ack", bytes: 0, ...none, answers: beats.at(-1) });
    await world.clock.advance(10);
  }

  it("brings them onto the list, and counts what they hold, when the link streams", async () => {
    const peer = await replica("has all");
    peer.say(below());
    await world.clock.until(() => names().includes("behind"), "it is listed");
    // Of a node that nobody would ask before another leads, nothing counts.
    await answers(peer);
    expect(await holders()).toBe(0);
    await joins(peer);
    expect(await holders()).toBe(1);
    peer.say({ type: "held", nodes: [{ nodeId: BEHIND, durable: offset(3) }] });
    await world.clock.advance(10);
    expect(await holders()).toBe(0);
  });

  it("counts no longer than the lease of the one that passes it on", async () => {
    const peer = await replica("has all");
    peer.say(below());
    await world.clock.until(() => names().includes("behind"), "it is listed");
    await joins(peer);
    await world.clock.advance(LEASE_MS);
    expect(await holders()).toBe(0);
    // Who waits has it renewed.
    const confirmed = primary.node.confirmed(offset(4), 1, 100);
    await world.clock.advance(10);
    await answers(peer);
    expect(await confirmed).toEqual({ confirmed: 1, wanted: 1 });
    expect(await holders()).toBe(1);
  });

  it("does not count what they hold of a log that is about to be cut", async () => {
    const peer = await replica("has left");
    peer.say(below());
    await world.clock.until(() => names().includes("behind"), "it is listed");
    peer.say({ type: "held", nodes: [{ nodeId: BEHIND, durable: offset(4) }] });
    await world.clock.advance(10);
    expect(await holders()).toBe(0);
    await isCut(peer);
    // Also not when the link streams then, and somebody else is told of.
    peer.say({ type: "held", nodes: [{ nodeId: id("ce"), durable: offset(4) }] });
    await world.clock.advance(10);
    expect(await holders()).toBe(0);
    await joins(peer);
    expect(await holders()).toBe(1);
  });

  /** Answers probes as a log that leaves the primary's with its last record, and is cut. */
  async function isCut(peer: RawPeer): Promise<void> {
    const { required: log } = primary;
    for (let asked = 0; peer.heard.every(({ type }) => type !== "cut"); ) {
      const probes = peer.heard.flatMap((message) => (message.type === "probe" ? [message.offset] : []));
      const at = probes[asked];
      if (at === undefined) await world.clock.advance(1);
      else {
        const position = await log.positionAt(at);
        const isLast = at === log.endOffset;
        peer.say({
          type: "mark",
          position: isLast ? { ...position, crc: (position.crc ^ 1) >>> 0 } : position,
        });
        asked += 1;
      }
    }
    const { after } = await peer.hears("cut");
    peer.say({ type: "cutDone", end: after });
    await peer.hears("continue");
  }

  it("does not take a list of another leadership for this one's", async () => {
    const peer = await replica("has all");
    for (const under of [undefined, higher(1)]) peer.say(below({ under }));
    peer.say(below({}, OWN_VERSION + 1));
    await world.clock.advance(50);
    expect(names()).toEqual(["a"]);
    // Once it is listed, too: its word on a list counts under this leadership only.
    peer.say(below());
    await world.clock.until(() => names().includes("behind"), "it is listed");
    const newcomer = world.add("b");
    await newcomer.start({ role: "replica", masterAddress: addressOf("a") });
    await world.clock.until(() => names().includes("b"), "the newcomer is listed");
    const counts = () => primary.node.stats().peers.find(({ name }) => name === "b")?.counts;
    peer.say(below({ under: higher(1) }, 3));
    await world.clock.advance(50);
    expect(counts()).toBe(false);
    peer.say(below({}, 3));
    await world.clock.until(() => counts() === true, "it is known to all");
  });

  /** Of a process of the node behind, which is told of at some address. */
  const process = (incarnation: string | undefined, host: string, nodeId = BEHIND): Below => {
    const [note] = below().nodes;
    return below({ nodes: [{ ...note!, nodeId, listen: { host, port: 1 }, incarnation }] });
  };

  /** So long each of these says all the time what it says. */
  async function goesOn(ms: number, ...words: readonly (readonly [RawPeer, Below])[]): Promise<Set<string>> {
    const seen = new Set<string>();
    for (let passed = 0; passed < ms; passed += 500) {
      for (const [peer, word] of words) {
        peer.say(word);
        await world.clock.advance(500 / words.length);
        const address = primary.node.stats().peers.find(({ nodeId }) => nodeId === BEHIND)?.address;
        if (address !== undefined) seen.add(address);
      }
    }
    return seen;
  }

  const TWICE_MS = 3 * 10_000 + 1_000;

  it("as of two processes tells of a copy, once both have gone on for longer than one that is gone is told of", async () => {
    const [one, two] = [await replica("has all"), await replica("has all", id("bb"))];
    const [first, copy] = [process(id("11"), "behind"), process(id("22"), "elsewhere")];
    expect(await goesOn(5_000, [one, first])).toEqual(new Set(["behind:1"]));
    const places = await goesOn(25_000, [one, first], [two, copy]);
    expect(primary.node.stats().twins).toEqual([]);
    expect(places, "who is told of in turns is not listed in turns").toEqual(new Set(["behind:1"]));
    await goesOn(6_000, [one, first], [two, copy]);
    expect(primary.node.stats().twins).toMatchObject([
      { nodeId: BEHIND, name: "behind", stays: "behind:1", refused: "elsewhere:1" },
    ]);
    const told = primary.words.filter((words) => words.includes("is a copy of the other's"));
    expect(told.length, "not with each word").toBe(1);
    await goesOn(6 * 60_000, [one, first], [two, below({ nodes: [] })]);
    expect(primary.node.stats().twins).toEqual([]);
  });

  it("as of another process than the one that follows itself tells of a copy, and the one that follows is believed", async () => {
    const [between, itself] = [await replica("has all"), await replica("has all", BEHIND, id("22"))];
    const nothing = below({ nodes: [] });
    await goesOn(TWICE_MS, [between, process(id("11"), "elsewhere")], [itself, nothing]);
    const [twin] = primary.node.stats().twins;
    expect(twin).toMatchObject({ nodeId: BEHIND, refused: "elsewhere:1" });
    expect(primary.node.stats().replicas.map(({ remote }) => remote)).toContain(twin?.stays);
    expect(itself.isClosed).toBe(false);
  });

  it.each([
    ["that has moved from one to the other", id("11"), id("11")],
    ["of a release that does not say which process it is", undefined, id("22")],
  ])("by two, of a node %s, tells of no copy", async (_, before, after) => {
    const [one, two] = [await replica("has all"), await replica("has all", id("bb"))];
    await goesOn(TWICE_MS, [one, process(before, "behind")], [two, process(after, "behind")]);
    expect(primary.node.stats().twins).toEqual([]);
  });

  it("of a node that was started again elsewhere is forgotten with the link that it came by", async () => {
    const [one, two] = [await replica("has all"), await replica("has all", id("bb"))];
    const [before, after] = [process(id("11"), "behind"), process(id("22"), "elsewhere")];
    await goesOn(9_000, [one, before], [two, after]);
    const places = await goesOn(TWICE_MS, [one, below({ nodes: [] })], [two, after]);
    expect([...places].at(-1)).toBe("elsewhere:1");
    expect(primary.node.stats().twins).toEqual([]);
  });

  it("of one with this node's own id moves nobody's place, holds nothing, and is told of as a copy", async () => {
    const { nodeId } = primary;
    const peer = await replica("has all");
    await goesOn(TWICE_MS, [peer, process(id("11"), "elsewhere", nodeId)]);
    const own = primary.node.stats().peers.find(({ isSelf }) => isSelf);
    expect(own?.address).toBe("a:1");
    await answers(peer);
    expect(await holders()).toBe(0);
    expect(primary.node.stats().twins).toMatchObject([{ nodeId, refused: "elsewhere:1" }]);
  });

  it("is passed on with the list that they keep under the leadership that is told, and no other", () => {
    const relayed = new Relayed();
    relayed.state(below({ under: higher(1) }, 7), "10.0.0.9:1", 1_000, true);
    const versionUnder = (under: Leadership): number | undefined =>
      belowOf(relayed.nodes, under, 1_500).nodes[0]?.version;
    expect([versionUnder(higher(1)), versionUnder(higher(2))]).toEqual([7, 0]);
    expect(belowOf(relayed.nodes, undefined, 1_500).nodes[0]).toMatchObject({ version: 0, silentMs: 500 });
  });
});

describe("a feeder that is late", () => {
  /** The one between has a log that follows; what comes to it comes by hand. */
  async function chain(
    changes = {},
  ): Promise<{ set: WithPrimary; between: LinkNodeDouble; last: LinkNodeDouble }> {
    const set = await primaryWith(10);
    const between = await replicaOf(set);
    await between.receiver?.stop();
    const address = await between.listen();
    const last = await replicaOf({ world: set.world, primary: between, address }, changes);
    return { set, between, last };
  }

  async function feed({ set, between }: { set: WithPrimary; between: LinkNodeDouble }): Promise<void> {
    await appendMany(set.primary.required, 5);
    for await (const run of set.primary.required.ship(offset(between.end + 1))) {
      await between.required.receive(run);
      if (run.last >= set.primary.end) break;
    }
  }

  it("sends nothing while it has heard of what its log does not have, and its links stay", async () => {
    const { set, between, last } = await chain();
    const { end } = last;
    void between.onHeard(higher(5));
    await feed({ set, between });
    await set.world.clock.advance(5_000);
    expect([last.end, last.failures, between.senderEnds]).toEqual([end, [], []]);
    await between.required.startEpoch({ above: epoch(4), lineageId: higher(5).lineageId });
    await same(between, last);
    expect([last.own, last.failures]).toEqual([higher(5), []]);
  });

  it("has nothing cut of what it lacks itself, also when more comes to it while the two compare", async () => {
    const { set, between, last } = await chain();
    const { address } = last.receiver!;
    await last.receiver?.stop();
    last.follow(set.address);
    for (let i = 0; i < 4; i += 1) await appendMany(set.primary.required, 5);
    await same(set.primary, last);
    await last.receiver?.stop();
    const log = between.required;
    let coming = Promise.resolve();
    const comes = (count: number): Promise<void> => {
      coming = coming.then(async () => {
        const until = Math.min(log.endOffset + count, set.primary.end);
        if (log.endOffset === until) return;
        for await (const run of set.primary.required.ship(offset(log.endOffset + 1), 1)) {
          await log.receive(run);
          if (run.last >= until) break;
        }
      });
      return coming;
    };
    await comes(3);
    const positionAt = log.positionAt.bind(log);
    vi.spyOn(log, "positionAt").mockImplementation(async (at) => {
      const position = await positionAt(at);
      await comes(1);
      return position;
    });
    last.follow(address);
    await set.world.clock.until(() => between.end > 15, "they compare, and more has come");
    await set.world.clock.advance(1_000);
    vi.restoreAllMocks();
    expect([between.end < set.primary.end, last.cuts, last.kept, last.end]).toEqual([
      true,
      [],
      [],
      set.primary.end,
    ]);
    await comes(100);
    await same(between, last);
  });

  it("is acknowledged nothing that became durable after its follower was fenced", async () => {
    const { set, between, last } = await chain({ disk: { syncTurnsMax: 40 } });
    const { end } = last;
    await feed({ set, between });
    await set.world.clock.until(() => last.end > end, "it has come");
    expect(last.required.durableOffset).toBe(end);
    void last.onHeard(higher(5));
    await set.world.clock.advance(5_000);
    expect(last.required.durableOffset).toBeGreaterThan(end);
    expect([between.acknowledged, last.failures]).toEqual([end, []]);
  });

  it("that sends records under what is over is not followed", async () => {
    const { set, between, last } = await chain();
    const { end } = last;
    void last.onHeard(higher(5));
    await feed({ set, between });
    await set.world.clock.until(() => last.failures.length > 0, "the link ended");
    expect(last.failures[0]?.code).toBe("REPLICATION_PRIMARY_STALE");
    expect(last.end).toBe(end);
    // The greeting tells it.
    await set.world.clock.until(() => between.heard?.epoch === 5, "it has heard, too");
  });
});
