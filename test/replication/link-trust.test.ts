/** Whom the two sides of a link believe: who knows the secret, who is of the same cluster, who leads. */
import { describe, expect, it } from "vitest";
import { epoch } from "../../log/index.js";
import { encodeFrame, FRAME_TYPES } from "../../replication/frames.js";
import type { Leadership } from "../../replication/leadership-order.js";
import { LinkNodeDouble, SETTINGS } from "../support/link-node.js";
import { primaryWith, replicaOf, same } from "../support/link-world.js";
import { rawReplica, withReplica } from "../support/raw-links.js";
import { RawPeer } from "../support/raw-peer.js";
import { appendMany } from "../support/test-log.js";

const SECRET = Buffer.from("open sesame");
const NEWER = Buffer.from("open poppy");
const higher = (number: number): Leadership => ({ epoch: epoch(number), lineageId: "ab".repeat(16) });

const codesOf = (errors: readonly { readonly code: string }[]): string[] => [
  ...new Set(errors.map(({ code }) => code)),
];

describe("a shared secret", () => {
  it("lets in who knows it, and is never on the way", async () => {
    const seen: Buffer[] = [];
    const set = await primaryWith(10, { settings: { secrets: () => [SECRET] } });
    set.world.network.faults.onWay = (bytes) => {
      seen.push(Buffer.from(bytes));
      return bytes;
    };
    await replicaOf(set, { settings: { secrets: () => [SECRET] } });
    expect(Buffer.concat(seen).includes(SECRET)).toBe(false);
  });

  it.each([
    ["another one", [SECRET], [Buffer.from("open sesamf")]],
    ["none at the replica", [SECRET], []],
    ["none at the primary", [], [SECRET]],
    ["none at the replica, of two", [SECRET, NEWER], []],
    ["none at the primary, where the replica has two", [], [NEWER, SECRET]],
    ["others than all that the other side knows", [NEWER, SECRET], [Buffer.from("a"), Buffer.from("b")]],
    ["the beginning of one that the other side knows", [NEWER, SECRET], [SECRET.subarray(0, 4)]],
  ])("%s is refused in the same word on both sides", async (_, ofPrimary, ofReplica) => {
    const set = await primaryWith(10, { settings: { secrets: () => ofPrimary } });
    const replica = new LinkNodeDouble(set.world, { settings: { secrets: () => ofReplica } });
    replica.follow(set.address);
    await set.world.clock.until(() => replica.failures.length > 1, "it was refused twice");
    expect(codesOf(replica.failures)).toEqual(["REPLICATION_SECRET_WRONG"]);
    expect(set.primary.listener?.senders).toEqual([]);
    expect(replica.heard).toBeUndefined();
    expect(set.primary.heard).toEqual(set.primary.own);
  });

  it.each([
    ["only the primary has both yet", [NEWER, SECRET], [SECRET]],
    ["only the replica has both yet", [SECRET], [NEWER, SECRET]],
    ["both have both", [NEWER, SECRET], [NEWER, SECRET]],
    ["both have both, in another order", [SECRET, NEWER], [NEWER, SECRET]],
    ["only the primary has no more than the newer", [NEWER], [NEWER, SECRET]],
    ["only the replica has no more than the newer", [SECRET, NEWER], [NEWER]],
    ["it is the last of four", [NEWER], [SECRET, Buffer.from("a"), Buffer.from("b"), NEWER]],
  ])("that gives way to another one lets in: %s", async (_, ofPrimary, ofReplica) => {
    const set = await primaryWith(10, { settings: { secrets: () => ofPrimary } });
    const replica = await replicaOf(set, { settings: { secrets: () => ofReplica } });
    expect(replica.failures).toEqual([]);
  });

  it("may be joined by another one while a link is there, which goes on", async () => {
    let [ofPrimary, ofReplica] = [[SECRET], [SECRET]];
    const set = await primaryWith(10, { settings: { secrets: () => ofPrimary } });
    const replica = await replicaOf(set, { settings: { secrets: () => ofReplica } });
    ofPrimary = [NEWER, Buffer.from(SECRET)];
    ofReplica = [NEWER, Buffer.from(SECRET)];
    await set.world.clock.advance(60_000);
    await appendMany(set.primary.required, 5);
    await same(set.primary, replica);
    expect(replica.failures).toEqual([]);
  });

  it.each(["primary", "replica"])(
    "taken out at the %s ends a link that began with it, and the next one follows at once",
    async (where) => {
      let [ofPrimary, ofReplica] = [[SECRET], [SECRET]];
      const patient = { reconnectDelayMs: 4_000 };
      const set = await primaryWith(10, { settings: { secrets: () => ofPrimary } });
      const replica = await replicaOf(set, { settings: { ...patient, secrets: () => ofReplica } });
      ofPrimary = [NEWER, SECRET];
      ofReplica = [NEWER, SECRET];
      await set.world.clock.advance(5_000);
      if (where === "primary") ofPrimary = [NEWER];
      else ofReplica = [NEWER];
      await set.world.clock.advance(SETTINGS.heartbeatIntervalMs + 100);
      expect(codesOf(replica.failures)).toEqual(["REPLICATION_SECRET_RETIRED"]);
      expect(codesOf(set.primary.senderEnds)).toEqual(["REPLICATION_SECRET_RETIRED"]);
      expect(replica.receiver?.progress.phase).toBe("streaming");
      [ofPrimary, ofReplica] = [[NEWER], [NEWER]];
      await set.world.clock.advance(60_000);
      await appendMany(set.primary.required, 5);
      await same(set.primary, replica);
      expect(replica.failures.length).toBe(1);
    },
  );

  it("taken out ends the links of those who know no other one, whatever they wanted", async () => {
    let known = [SECRET];
    const set = await primaryWith(10, { settings: { secrets: () => known } });
    const replica = await replicaOf(set, { settings: { secrets: () => [SECRET] } });
    const asking = RawPeer.dial(set.world.network, set.world.clock, set.address);
    const node = { ...(await replica.statement()), nodeId: "ef".repeat(16) };
    await asking.greet(node, { purpose: "ask" }, SECRET);
    known = [NEWER];
    const { end } = replica;
    await set.world.clock.advance(SETTINGS.heartbeatIntervalMs + 100);
    expect(await asking.refusal()).toBe("REPLICATION_SECRET_RETIRED");
    await appendMany(set.primary.required, 5);
    await set.world.clock.advance(60_000);
    expect(codesOf(replica.failures)).toEqual(["REPLICATION_SECRET_RETIRED", "REPLICATION_SECRET_WRONG"]);
    expect([replica.end, set.primary.listener?.senders]).toEqual([end, []]);
  });

  it("of before serves nobody who was dialled, once it is given up", async () => {
    let known = [NEWER, SECRET];
    const set = await primaryWith(10, { settings: { secrets: () => known } });
    const replica = await replicaOf(set, { settings: { secrets: () => known } });
    await replica.receiver?.stop();
    const peers = await RawPeer.listen(set.world.network, set.world.clock, { host: "impostor", port: 1 });
    const answered = async (secret: Buffer): Promise<string> => {
      const count = peers.length;
      replica.follow({ host: "impostor", port: 1 });
      await set.world.clock.until(() => peers.length > count, "it dials");
      const node = { ...(await set.primary.statement()), nodeId: "ef".repeat(16) };
      const [refused] = await Promise.all([
        Promise.race([peers[count]!.refusal(), peers[count]!.hears("heartbeat").then(() => "greeted")]),
        peers[count]!.welcome(node, secret),
      ]);
      await replica.receiver?.stop();
      return refused;
    };
    expect(await answered(SECRET)).toBe("greeted");
    known = [NEWER];
    expect(await answered(SECRET)).toBe("REPLICATION_SECRET_WRONG");
    expect(await answered(NEWER)).toBe("greeted");
  });

  it("is asked of whoever is dialled, too", async () => {
    const set = await primaryWith(10, { settings: { secrets: () => [SECRET] } });
    const replica = await replicaOf(set, { settings: { secrets: () => [SECRET] } });
    await replica.receiver?.stop();
    const peers = await RawPeer.listen(set.world.network, set.world.clock, { host: "impostor", port: 1 });
    replica.follow({ host: "impostor", port: 1 });
    await set.world.clock.until(() => peers.length > 0, "it dials");
    await peers[0]!.welcome({ ...(await set.primary.statement()), heard: higher(99) }, Buffer.from("guess"));
    expect(await peers[0]!.refusal()).toBe("REPLICATION_SECRET_WRONG");
    expect(replica.heard).toEqual(set.primary.own);
  });

  it.each([
    ["with a secret", SECRET, "REPLICATION_SECRET_WRONG"],
    ["without one", undefined, "REPLICATION_MESSAGE_UNEXPECTED"],
  ])("a hello that is said again by who listened is refused, %s", async (_, secret, code) => {
    const settings = secret === undefined ? {} : { settings: { secrets: () => [secret] } };
    const set = await primaryWith(10, settings);
    let hello: Buffer | undefined;
    set.world.network.faults.onWay = (bytes, { from }) => {
      if (from === "dialler") hello ??= Buffer.from(bytes);
      return bytes;
    };
    const replica = await replicaOf(set, settings);
    await replica.receiver?.stop();
    expect(hello?.readUInt8(8)).toBe(FRAME_TYPES.hello);
    const peer = RawPeer.dial(set.world.network, set.world.clock, set.address);
    await peer.hears("challenge");
    peer.sayBytes(hello!);
    expect(await peer.refusal()).toBe(code);
  });

  it("proved by a node is not taken from that node's own mouth", async () => {
    const set = await primaryWith(10, { settings: { secrets: () => [SECRET] } });
    const { clock, network } = set.world;
    const trap = { host: "trap", port: 1 };
    const caught = await RawPeer.listen(network, clock, trap);
    set.primary.follow(trap);
    const outside = RawPeer.dial(network, clock, set.address);
    const challenge = await outside.hears("challenge");
    await clock.until(() => caught.length > 0, "it dials the trap");
    caught[0]!.say(challenge);
    const hello = await caught[0]!.hears("hello");
    outside.say(hello);
    expect(await outside.refusal()).toBe("REPLICATION_SELF");
    caught[0]!.say({ type: "welcome", body: hello.body, proof: hello.proof });
    expect(await caught[0]!.refusal()).toBe("REPLICATION_SECRET_WRONG");
  });

  it("covers every byte of what a node says of itself", async () => {
    const set = await primaryWith(10, { settings: { secrets: () => [SECRET] } });
    set.world.network.faults.onWay = (bytes, { from }) => {
      // Raises the epoch that the hello states, and makes the frame whole again.
      const at = Buffer.from(bytes).indexOf(Buffer.from("a5686561726482a565706f6368", "hex"));
      if (from !== "dialler" || at < 0) return bytes;
      const changed = Buffer.from(bytes);
      changed.writeUInt8(9, at + 13);
      return Buffer.concat(encodeFrame("hello", 0, [changed.subarray(16)]));
    };
    const replica = new LinkNodeDouble(set.world, { settings: { secrets: () => [SECRET] } });
    await replica.lead(3);
    await replica.required.beginFollowing();
    replica.follow(set.address);
    await set.world.clock.until(() => replica.failures.length > 0, "it was refused");
    expect(codesOf(replica.failures)).toEqual(["REPLICATION_SECRET_WRONG"]);
    expect(set.primary.heard?.epoch).toBe(1);
  });
});

/** Processes of one replica, which follow as they are told. */
async function following() {
  const set = await primaryWith(10);
  const replica = await replicaOf(set);
  await replica.receiver?.stop();
  const node = await replica.statement();
  const from = async (incarnation: string | undefined): Promise<RawPeer> => {
    const peer = RawPeer.dial(set.world.network, set.world.clock, set.address);
    await peer.greet(node, { incarnation });
    return peer;
  };
  return { set, replica, from, gone: (peer: RawPeer) => peer.refusal() };
}

describe("strangers", () => {
  it("of another cluster are refused on both sides, and nothing of theirs is heard", async () => {
    const set = await primaryWith(10);
    const stranger = new LinkNodeDouble(set.world);
    await stranger.lead(5);
    await stranger.required.beginFollowing();
    stranger.follow(set.address);
    await set.world.clock.until(() => stranger.failures.length > 1, "it was refused twice");
    expect(codesOf(stranger.failures)).toEqual(["REPLICATION_CLUSTER_FOREIGN"]);
    expect(stranger.failures[0]?.message).toContain("belongs to cluster");
    expect(stranger.end).toBe(6);
    expect(set.primary.heard).toEqual(set.primary.own);
  });

  it("a copy of a node's data directory is refused by name, and the node follows on", async () => {
    const { set, replica, from, gone } = await following();
    const [own, copy] = ["aa".repeat(16), "bb".repeat(16)];
    const first = await from(own);
    const second = await from(copy);
    // That may be the node, started again.
    expect(await gone(first)).toBe("REPLICATION_STOPPING");
    expect(set.primary.listener?.twins).toEqual([]);
    const third = await from(own);
    expect(await gone(second)).toBe("REPLICATION_TWIN");
    expect(await gone(await from(copy))).toBe("REPLICATION_TWIN");
    expect(set.primary.listener?.senders.length).toBe(1);
    expect(third.isClosed).toBe(false);
    const [twin, ...others] = set.primary.listener?.twins ?? [];
    expect(others).toEqual([]);
    expect(twin).toMatchObject({ nodeId: replica.nodeId, name: replica.name });
    expect(set.primary.warnings).toContainEqual({
      code: "REPLICATION_TWIN",
      message: expect.stringMatching(/was not let in: .* is a copy .* start it in an empty directory$/),
    });
    // The node itself is gone for good: whoever is left may follow, and nobody is told of for ever.
    third.close();
    await set.world.clock.until(() => set.primary.listener?.senders.length === 0, "it is gone");
    const last = await from(copy);
    await set.world.clock.advance(5 * 60_000 + 1_000);
    expect([last.isClosed, set.primary.listener?.twins]).toEqual([true, []]);
  });

  it.each([
    ["started again and again", ["a1", "b2", "c3", "d4"]],
    ["that connects again after its connection broke", ["a1", "a1", "a1"]],
    ["started again, with connections that break", ["a1", "a1", "b2", "b2", "c3", "c3"]],
    ["of a release that does not say which process it is", [undefined, "a1", undefined, "a1", undefined]],
  ])("a node %s is taken for no copy", async (_, incarnations) => {
    const { set, from, gone } = await following();
    let before: RawPeer | undefined;
    for (const incarnation of incarnations) {
      const next = await from(incarnation?.repeat(16));
      // Its end has not come to the primary yet.
      if (before !== undefined) expect(await gone(before)).toBe("REPLICATION_STOPPING");
      before = next;
    }
    expect(set.primary.listener?.twins).toEqual([]);
    expect(set.primary.listener?.senders.length).toBe(1);
  });

  it("a node that reached itself says so", async () => {
    const set = await primaryWith(10);
    set.primary.follow(set.address);
    await set.world.clock.until(() => set.primary.failures.length > 0, "it was refused");
    expect(codesOf(set.primary.failures)).toEqual(["REPLICATION_SELF"]);
  });

  it("of another protocol are told which one is spoken", async () => {
    const set = await primaryWith(10);
    const peer = RawPeer.dial(set.world.network, set.world.clock, set.address);
    await peer.hears("challenge");
    peer.say({ type: "hello", protocol: 2, body: new Uint8Array(0), proof: new Uint8Array(0) });
    expect(await peer.refusal()).toBe("REPLICATION_PROTOCOL_UNKNOWN");
    expect((await peer.hears("refused")).message).toContain("protocol 1");
  });

  it("that don't greet are let go, and hold nothing", async () => {
    const set = await primaryWith(10);
    const silent = RawPeer.dial(set.world.network, set.world.clock, set.address);
    expect(await silent.refusal()).toBe("REPLICATION_TIMEOUT");
  });

  it("one replica is served once: a second connection ends the first", async () => {
    const { set, replica } = await withReplica();
    const first = await rawReplica(set, replica);
    await first.hears("run");
    const second = await rawReplica(set, replica);
    await second.hears("run");
    expect(await first.refusal()).toBe("REPLICATION_STOPPING");
    expect(set.primary.listener?.senders.length).toBe(1);
    expect(second.isClosed).toBe(false);
  });

  it("in a crowd keep no replica out: who has not greeted for longest goes", async () => {
    const set = await primaryWith(10);
    const first = await replicaOf(set);
    const dial = (): RawPeer => RawPeer.dial(set.world.network, set.world.clock, set.address);
    const crowd = Array.from({ length: 255 }, dial);
    await set.world.clock.until(() => crowd.every(({ isOpen }) => isOpen), "all are there");
    const second = await replicaOf(set);
    expect(await crowd[0]!.refusal()).toBe("REPLICATION_TOO_MANY_CONNECTIONS");
    expect(crowd.filter(({ isClosed }) => isClosed).length).toBe(1);
    expect([...first.failures, ...second.failures]).toEqual([]);
  });
});

describe("leaderships", () => {
  it("a replica that heard of a higher one acknowledges nothing more to the lower, and takes nothing from it", async () => {
    const set = await primaryWith(10);
    const replica = await replicaOf(set);
    const before = { end: replica.end, acknowledged: set.primary.acknowledged };
    void replica.onHeard(higher(5));
    await appendMany(set.primary.required, 5);
    await set.world.clock.until(() => replica.failures.length > 0, "the link ended");
    expect(codesOf(replica.failures)).toEqual(["REPLICATION_PRIMARY_STALE"]);
    await set.world.clock.until(() => set.primary.heard?.epoch === 5, "the primary has heard of it");
    expect(codesOf(set.primary.senderEnds)[0]).toBe("REPLICATION_PRIMARY_STALE");
    await set.world.clock.advance(10_000);
    expect({ end: replica.end, acknowledged: set.primary.acknowledged }).toEqual(before);
  });

  it("heard between receiving and syncing stop the acknowledgement of what was received before", async () => {
    const set = await primaryWith(10);
    const replica = await replicaOf(set, { disk: { syncTurnsMax: 40 } });
    const { acknowledged } = set.primary;
    const { end } = replica;
    await appendMany(set.primary.required, 1);
    await set.world.clock.until(() => replica.end > end, "it has come");
    expect(replica.required.durableOffset).toBe(end);
    void replica.onHeard(higher(5));
    await set.world.clock.until(() => replica.failures.length > 0, "the link ended");
    await set.world.clock.advance(5_000);
    expect(replica.required.durableOffset).toBeGreaterThan(end);
    expect(set.primary.acknowledged).toBe(acknowledged);
  });

  it("a sender whose node hears of a higher one stops, and says so", async () => {
    const set = await primaryWith(10);
    const replica = await replicaOf(set);
    const { end } = replica;
    void set.primary.onHeard(higher(5));
    await appendMany(set.primary.required, 5);
    await set.world.clock.until(() => replica.failures.length > 1, "the link ended, and the next one");
    expect(codesOf(set.primary.senderEnds)).toEqual(["REPLICATION_FENCED"]);
    expect(replica.end).toBe(end);
    // It learnt why in the greeting.
    expect(replica.heard).toEqual(higher(5));
  });

  it("are heard durably before anything that comes under them is acted upon", async () => {
    const set = await primaryWith(10);
    const replica = new LinkNodeDouble(set.world);
    let note: (() => void) | undefined;
    replica.noting = () =>
      new Promise((resolve) => {
        note = resolve;
      });
    replica.follow(set.address);
    await set.world.clock.until(() => note !== undefined, "it is being noted");
    await set.world.clock.advance(5_000);
    expect(replica.receiver?.progress.phase).toBe("greeting");
    expect(replica.end).toBe(0);
    note?.();
    await same(set.primary, replica);
  });

  it("that change while records stream are heard durably before the first record under them is taken", async () => {
    const set = await primaryWith(10);
    const replica = await replicaOf(set);
    const { end } = replica;
    let note: (() => void) | undefined;
    replica.noting = () =>
      new Promise((resolve) => {
        note = resolve;
      });
    await set.primary.required.startEpoch({ above: epoch(6) });
    await set.world.clock.until(() => note !== undefined, "it is being noted");
    await set.world.clock.advance(5_000);
    expect(replica.end).toBe(end);
    note?.();
    await same(set.primary, replica);
    expect(replica.own?.epoch).toBe(7);
    expect(replica.failures).toEqual([]);
  });

  it("that frames carry must be those that were stated", async () => {
    const { set, replica } = await withReplica();
    const peer = await rawReplica(set, replica);
    peer.epoch = 2;
    peer.say({ type: "mark", position: undefined });
    expect(await peer.refusal()).toBe("REPLICATION_MESSAGE_BAD");
  });

  it("fence a node that is asked to: it answers when that is durable, and from then on its replicas get nothing", async () => {
    const set = await primaryWith(10);
    const replica = await replicaOf(set);
    let note: (() => void) | undefined;
    set.primary.noting = () =>
      new Promise((resolve) => {
        note = resolve;
      });
    const candidate = new LinkNodeDouble(set.world);
    const peer = RawPeer.dial(set.world.network, set.world.clock, set.address);
    await peer.greet(await candidate.statement(), { purpose: "ask" });
    peer.say({ type: "fence", leadership: higher(7) });
    await set.world.clock.until(() => note !== undefined, "it is being noted");
    await appendMany(set.primary.required, 1);
    await set.world.clock.advance(2_000);
    expect(peer.heard.some(({ type }) => type === "fenced")).toBe(false);
    expect(replica.end).toBe(set.primary.end - 1);
    note?.();
    const { node } = await peer.hears("fenced");
    expect(node.heard).toEqual(higher(7));
    expect(node.end?.offset).toBe(set.primary.end);
    expect(codesOf(set.primary.senderEnds)).toEqual(["REPLICATION_FENCED"]);
  });
});
