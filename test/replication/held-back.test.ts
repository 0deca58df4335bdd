/** When records leave for a replica, and how often it answers: together while nobody waits, at once when somebody does. */
import { describe, expect, it } from "vitest";
import type { Sender } from "../../replication/sender.js";
import { primaryWith, replicaOf, same } from "../support/link-world.js";
import { appendMany } from "../support/test-log.js";
import { turns } from "../support/virtual-clock.js";

/** A replica that has everything, and for which nothing is held back any more. */
async function streaming(segmentBytes = 1 << 23) {
  const set = await primaryWith(10, { log: { segmentBytes } });
  const replica = await replicaOf(set);
  await set.world.clock.advance(100);
  const [sender] = set.primary.listener?.senders ?? [];
  if (sender === undefined) throw new Error("there is a sender");
  const before = sender.progress.recordsSent;
  const sent = (of: Sender = sender): number => of.progress.recordsSent - before;
  /** Records that are committed one by one, while no time passes. */
  const write = async (count: number): Promise<void> => {
    for (let each = 0; each < count; each++) await appendMany(set.primary.required, 1);
    await turns(60);
  };
  return { ...set, replica, sender, sent, write };
}

describe("records for a replica", () => {
  it("leave at once when the last ones left a while ago, and those that follow leave together, a little later", async () => {
    const { primary, replica, world, sent, write } = await streaming();
    await write(1);
    expect(sent()).toBe(1);
    await write(5);
    expect(sent()).toBe(1);
    let acks = 0;
    primary.onAcknowledged = () => void acks++;
    await world.clock.advance(5);
    expect([sent(), acks]).toEqual([6, 1]);
    await same(primary, replica);
  });

  it("leave one by one while somebody waits for confirmations, also those that were held back before", async () => {
    const { primary, sender, sent, write } = await streaming();
    await write(1);
    await write(2);
    expect(sent()).toBe(1);
    primary.isAwaited = true;
    sender.hurry();
    await turns(60);
    expect(sent()).toBe(3);
    await write(1);
    expect(sent()).toBe(4);
  });

  it.each([
    ["in large segments", 1 << 23, 25],
    ["in small ones", 4096, 3],
  ])("are not held back from one that was away, %s", async (_, segmentBytes, hundreds) => {
    const { primary, replica, world } = await streaming(segmentBytes);
    await replica.receiver?.stop();
    for (let each = 0; each < hundreds; each++) await appendMany(primary.required, 100, 1_000);
    const since = world.clock.now();
    replica.receiver?.start();
    for (let each = 0; each < 300 && replica.end < primary.end; each++) await turns(20);
    expect(replica.end).toBe(primary.end);
    expect(world.clock.now()).toBe(since);
  });

  it("held back when the link ends leave with the next one", async () => {
    const { primary, replica, write } = await streaming();
    await write(1);
    await write(5);
    await replica.receiver?.stop();
    replica.receiver?.start();
    await same(primary, replica);
  });
});
