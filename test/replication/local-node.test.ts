import { describe, expect, it } from "vitest";
import { epoch, offset } from "../../log/index.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { LeadershipFile, readLeadership } from "../../replication/leadership-file.js";
import type { Leadership } from "../../replication/leadership-order.js";
import { LocalNode } from "../../replication/local-node.js";
import type { Heartbeat, NodeStatement, PeerNote } from "../../replication/messages.js";
import { SetWorld } from "../support/set-node.js";

const led = (number: number): Leadership => ({ epoch: epoch(number), lineageId: "a".repeat(32) });

const NORTH: PeerNote = {
  nodeId: "1".repeat(32),
  name: "north",
  listen: { host: "0.0.0.0", port: 7 },
  http: "http://north",
  since: 1,
  confirmed: 1,
};

const statement = (changes: Partial<NodeStatement> = {}): NodeStatement => ({
  ...NORTH,
  clusterId: undefined,
  format: 1,
  own: led(1),
  heard: led(1),
  end: undefined,
  firstOffset: offset(1),
  leads: true,
  primary: undefined,
  ...changes,
});

const heartbeat = (changes: Partial<Heartbeat> = {}): Heartbeat => ({
  type: "heartbeat",
  own: led(1),
  time: 1_000,
  end: offset(5),
  durable: offset(5),
  firstOffset: offset(1),
  primary: NORTH,
  peers: [NORTH],
  peersVersion: 4,
  peersUnder: led(1),
  ...changes,
});

/** A replica without a log, on a slow disk. */
async function replica() {
  const world = new SetWorld();
  const host = world.add("x");
  const disk = new SimulatedDisk(9, { syncTurnsMax: 9 });
  const file = new LeadershipFile(disk.mount(), "/disk");
  await file.load();
  const words: string[] = [];
  const local = new LocalNode({
    settings: host.settings,
    clock: world.clock,
    logger: { info: () => undefined, warn: () => undefined, error: () => undefined },
    host,
    file,
    events: {
      heard: ({ epoch: number }) => words.push(`heard ${number}`),
      yields: () => undefined,
      primaryKnown: () => words.push("primary"),
      listChanged: () => words.push("list"),
      heartbeat: () => undefined,
    },
  });
  local.role = "replica";
  local.upstream = () => ({ nodeId: NORTH.nodeId, host: "10.0.0.1" });
  const kept = async (): Promise<number | undefined> =>
    (await readLeadership(disk.mount(), "/disk")).heard?.epoch;
  return { local, file, words, kept, clock: world.clock };
}

describe("what a node hears", () => {
  it("lets nobody act upon a higher leadership before no restart forgets it", async () => {
    const { local, kept, words } = await replica();
    const written = local.onHeard(led(2), statement());
    expect([local.heard?.epoch, words]).toEqual([2, ["heard 2"]]);
    // The same word on another link must wait as well.
    const again = local.onHeard(led(2), statement());
    expect([written, again]).toEqual([expect.any(Promise), expect.any(Promise)]);
    await again;
    expect(await kept()).toBe(2);
    await written;
    expect(local.onHeard(led(2), statement())).toBeUndefined();
    expect(local.onHeard(led(1), statement())).toBeUndefined();
    expect(words).toEqual(["heard 2"]);
  });

  it("of the primary is believed under the highest leadership only, and when it says where it is", async () => {
    const { local, words } = await replica();
    await local.onHeard(led(2), statement());
    const south = { ...NORTH, name: "south", nodeId: "2".repeat(32), listen: { host: "south", port: 7 } };
    await local.onHeard(led(1), statement({ heard: led(1), primary: south }));
    expect(local.primary).toBeUndefined();
    // From somebody else than the one that listens everywhere, that is no address.
    await local.onHeard(led(2), statement({ nodeId: "3".repeat(32), heard: led(2), primary: NORTH }));
    expect(local.primary).toBeUndefined();
    await local.onHeard(led(2), statement({ heard: led(2), primary: south }));
    expect([local.primary?.name, words.at(-1)]).toEqual(["south", "primary"]);
  });

  it("of list and clock is taken from the node that is followed, under the highest leadership", async () => {
    const { local, file } = await replica();
    await local.onHeard(led(1), statement());
    local.onHeartbeat(heartbeat({ peersVersion: 9 }), statement({ nodeId: "3".repeat(32) }));
    await file.settled();
    expect([local.list.version, local.primaryTime]).toEqual([0, undefined]);
    local.onHeartbeat(heartbeat(), statement());
    await file.settled();
    expect(local.heartbeat()).toMatchObject({ peersVersion: 4, time: 1_000 });
    expect(local.list.of(NORTH.nodeId)?.listen).toEqual({ host: "10.0.0.1", port: 7 });
    expect(local.primary?.listen).toEqual({ host: "10.0.0.1", port: 7 });
    await local.onHeard(led(2), statement());
    local.onHeartbeat(heartbeat({ peersVersion: 5 }), statement());
    await file.settled();
    expect(local.heartbeat()).toMatchObject({ peersVersion: 0, peers: [] });
  });

  it("of the primary's clock is told in whole milliseconds, though the stopwatch counts parts of them", async () => {
    const { local, clock } = await replica();
    await clock.advance(0.25);
    local.onHeartbeat(heartbeat(), statement());
    await clock.advance(2.5);
    expect([local.primaryTime, local.heartbeat().time]).toEqual([1_002, 1_002]);
  });
});
