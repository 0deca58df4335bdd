/** Replicas of replicas between real servers: the one in the middle goes, and what hung on it goes on elsewhere; or it is promoted, and takes it along. */
import { afterEach, describe, expect, it } from "vitest";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";
import { checkSet } from "../support/set-checks.js";
import { QUICK } from "../support/set-faults.js";
import { SetHistory } from "../support/set-history.js";
import { SetLoad } from "../support/set-load.js";
import { expectOne, follows, hasAll, until } from "../support/set-waits.js";

let set: ReplicaSet;
afterEach(() => set.end());

/** `three` follows `two` follows `one`, and has what was written to `one`. */
async function chain(): Promise<[SetNode, SetNode, SetNode]> {
  set = await ReplicaSet.begin();
  const one = await set.primary("one", [], QUICK);
  const two = await set.replica("two", one, [], QUICK);
  const three = await set.replica("three", two, [], QUICK);
  await hasAll(two, one);
  await hasAll(three, one);
  return [one, two, three];
}

async function writtenSome(load: SetLoad): Promise<void> {
  const before = load.answered.length;
  await until("something is written", async () => load.answered.length > before + 20);
}

const masterOf = async (node: SetNode): Promise<unknown> =>
  ((await node.stats())["master"] as { address?: string } | null)?.address;

describe("a replica of a replica", () => {
  it("goes on at the primary when the one between them is gone, and that one comes back", {
    timeout: 60_000,
  }, async () => {
    const [one, two, three] = await chain();
    const history = new SetHistory();
    const load = new SetLoad(one, { acks: [0], clients: 2, history });
    await writtenSome(load);
    await two.kill();
    await writtenSome(load);
    const moved = await three.post("/api/replication/follow", { address: one.address });
    expect(moved.status, moved.text).toBe(200);
    await until("it follows the primary", async () => {
      return (await masterOf(three)) === one.address && (await three.stats())["connected"] === true;
    });
    await writtenSome(load);
    await set.restart(two);
    await load.end();
    for (const node of [two, three]) await hasAll(node, one);
    for (const node of [two, three]) expect(await load.missingOn(node)).toEqual([]);
    const written = await one.client.put("both", "have it", { "x-annals-acks": "2" });
    expect(written.status, written.text).toBe(201);
    await checkSet([one, two, three], history);
    // Only what it did not have was sent.
    expect(await three.stats()).toMatchObject({ divergences: 0 });
  });

  it("follows the new primary when the one that it follows is promoted, and the old one does, too", {
    timeout: 60_000,
  }, async () => {
    const [one, two, three] = await chain();
    const history = new SetHistory();
    const load = new SetLoad(one, { acks: [1], clients: 2, history });
    await writtenSome(load);
    await one.kill();
    // It may know the one behind it, or not: force promotes it in either case, and both have everything that was confirmed.
    const promoted = await two.post("/api/replication/promote", { force: true });
    expect(promoted.status, promoted.text).toBe(200);
    history.began("two", promoted);
    load.turnTo(two);
    await writtenSome(load);
    await set.restart(one);
    await follows(one);
    await load.end();
    for (const node of [one, three]) await hasAll(node, two);
    for (const node of [one, two, three]) expect(await load.missingOn(node)).toEqual([]);
    await expectOne(two, one, three);
    await checkSet([two, one, three], history);
  });
});
