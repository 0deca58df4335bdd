/** Epochs are counted, not believed: one word of a stranger must not use up all that there are. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { epoch } from "../../log/index.js";
import { EPOCH_JUMP_MAX } from "../../replication/leadership.js";
import { bare, id } from "../support/protocol-samples.js";
import { RawPeer } from "../support/raw-peer.js";
import { addressOf, type SetNode, SetWorld } from "../support/set-node.js";

let world: SetWorld;
let primary: SetNode;

beforeEach(async () => {
  world = new SetWorld();
  primary = world.add("a");
  await primary.start();
});

afterEach(() => world.stop());

const led = (number: number) => ({ epoch: epoch(number), lineageId: id("5e") });

/** Somebody who reached the port, and needs no secret. */
async function stranger(to: SetNode): Promise<RawPeer> {
  const peer = RawPeer.dial(world.network, world.clock, addressOf(to.name));
  await peer.greet(bare, { purpose: "ask" });
  return peer;
}

describe("an epoch that no promotions can have led to", () => {
  it("fences nobody: it is refused, and the primary goes on", async () => {
    for (const absurd of [2 ** 32 - 1, 1 + EPOCH_JUMP_MAX + 1]) {
      const peer = await stranger(primary);
      peer.say({ type: "fence", leadership: led(absurd) });
      expect(await peer.refusal()).toBe("REPLICATION_EPOCH_ABSURD");
    }
    expect(primary.node.writeRefusal()).toBeUndefined();
    expect(primary.node.heard?.epoch).toBe(1);
  });

  it("is not heard with a heartbeat either", async () => {
    const peer = await stranger(primary);
    const nowhere = bare.firstOffset;
    const at = { end: nowhere, durable: nowhere, firstOffset: nowhere };
    const words = { ...at, time: undefined, primary: undefined, peers: [], peersVersion: 0 };
    peer.epoch = 2 ** 32 - 1;
    peer.say({ type: "heartbeat", own: led(2 ** 32 - 1), ...words, peersUnder: undefined });
    expect(await peer.refusal()).toBe("REPLICATION_EPOCH_ABSURD");
    expect(primary.node.writeRefusal()).toBeUndefined();
  });

  it("is one past the bound; up to it a fence is a fence, and the next promotion goes above it", async () => {
    const peer = await stranger(primary);
    peer.say({ type: "fence", leadership: led(1 + EPOCH_JUMP_MAX) });
    await peer.hears("fenced");
    expect(primary.node.writeRefusal()?.code).toBe("REPLICATION_FENCED");
    const promoting = primary.node.promote();
    await world.clock.advance(3_000);
    expect((await promoting).epoch).toBe(EPOCH_JUMP_MAX + 2);
  });

  it("is taken by a node that knows nothing yet, which then is refused and has to join anew", async () => {
    const fresh = world.add("b");
    await fresh.start({ role: "replica", masterAddress: addressOf("nobody") });
    const peer = await stranger(fresh);
    peer.say({ type: "fence", leadership: led(2 ** 32 - 1) });
    await peer.hears("fenced");
    await fresh.node.follow(addressOf("a"));
    await world.clock.until(
      () => fresh.node.stats().upstream?.error?.code === "REPLICATION_EPOCH_ABSURD",
      "it is refused",
    );
    expect(primary.node.writeRefusal()).toBeUndefined();
    await expect(fresh.node.promote({ force: true })).rejects.toMatchObject({
      code: "REPLICATION_NOT_READY",
    });
  });
});
