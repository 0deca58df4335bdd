/** A primary's side and a replica's side over a network in memory, real logs on simulated disks. */
import { describe, expect, it } from "vitest";
import type { OpenLogOptions } from "../../log/index.js";
import type { LinkSettings } from "../../replication/link-ports.js";
import { LinkNodeDouble, type LinkWorld } from "../support/link-node.js";
import { MemoryNetwork } from "../support/memory-network.js";
import { appendMany } from "../support/test-log.js";
import { VirtualClock } from "../support/virtual-clock.js";

function newWorld(): LinkWorld {
  return { network: new MemoryNetwork(), clock: new VirtualClock() };
}

const streams = (node: LinkNodeDouble): boolean => node.receiver?.progress.phase === "streaming";

/** Until the replica has everything durably, and the primary knows. */
async function same(primary: LinkNodeDouble, replica: LinkNodeDouble): Promise<void> {
  await primary.world.clock.until(
    () =>
      streams(replica) &&
      replica.end === primary.end &&
      replica.required.durableOffset === primary.required.durableOffset &&
      primary.acknowledged >= primary.required.durableOffset,
    "the replica has everything",
  );
  expect(await replica.segments()).toEqual(await primary.segments());
}

async function primaryWith(
  records: number,
  settings: Partial<LinkSettings> = {},
  overrides: Partial<OpenLogOptions> = {},
): Promise<{ world: LinkWorld; primary: LinkNodeDouble; address: { host: string; port: number } }> {
  const world = newWorld();
  const primary = new LinkNodeDouble(world, overrides, settings);
  await primary.lead(records);
  return { world, primary, address: await primary.listen() };
}

describe("joining", () => {
  it("an empty node gets the whole log, and goes on with what is appended", async () => {
    const { world, primary, address } = await primaryWith(200);
    const replica = new LinkNodeDouble(world);
    replica.follow(address);
    await same(primary, replica);
    expect(replica.installs).toBe(1);
    await appendMany(primary.required, 100);
    await same(primary, replica);
    expect(primary.listener?.senders[0]?.progress).toMatchObject({
      phase: "streaming",
      lagMs: 0,
      bytesInFlight: 0,
    });
  });

  it("a replica that was away is continued, not sent everything", async () => {
    const { world, primary, address } = await primaryWith(50);
    const replica = new LinkNodeDouble(world);
    replica.follow(address);
    await same(primary, replica);
    await replica.receiver?.stop();
    await appendMany(primary.required, 100);
    replica.receiver?.start();
    await same(primary, replica);
    expect(replica.installs).toBe(1);
    expect(replica.receiver?.progress).toMatchObject({ fullSyncs: 1, partialSyncs: 1, cuts: 0 });
  });
});
