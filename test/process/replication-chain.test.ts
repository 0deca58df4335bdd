/** Replicas of replicas between real servers: the one in the middle goes, and what hung on it goes on elsewhere; or it is promoted, and takes it along. */
import { afterEach, describe, expect, it } from "vitest";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";
import { checkSet } from "../support/set-checks.js";
import { QUICK } from "../support/set-faults.js";
import { SetHistory } from "../support/set-history.js";
import { SetLoad } from "../support/set-load.js";
import { follows, hasAll, until } from "../support/set-waits.js";

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

async function turnsTo(node: SetNode, primary: SetNode): Promise<void> {
  const { status, text } = await node.post("/api/replication/follow", { address: primary.address });
  expect(status, text).toBe(200);
  await until(`${node.name} follows ${primary.name}`, async () => {
    return (await masterOf(node)) === primary.address && (await node.stats())["connected"] === true;
  });
}

const masterOf = async (node: SetNode): Promise<unknown> =>
  ((await node.stats())["master"] as { address?: string } | null)?.address;

describe("a replica of a replica", () => {
  it("goes on at the primary when the one between them is gone, and under that one when it is back and promoted", async () => {
    const [one, two, three] = await chain();
    const history = new SetHistory();
    const load = new SetLoad(one, { acks: [0], clients: 2, history });
    await writtenSome(load);
    await two.kill();
    await writtenSome(load);
    await turnsTo(three, one);
    await writtenSome(load);
    await load.end();
    await set.restart(two);
    await hasAll(two, one);
    await turnsTo(three, two);

    const confirmed = new SetLoad(one, { acks: [1], clients: 2, history });
    await writtenSome(confirmed);
    await one.kill();
    // It may know the one behind it, or not: force promotes it in either case, and it has everything that was confirmed.
    const promoted = await two.post("/api/replication/promote", { force: true });
    expect(promoted.status, promoted.text).toBe(200);
    history.began("two", promoted);
    confirmed.turnTo(two);
    await writtenSome(confirmed);
    await set.restart(one);
    await follows(one);
    await confirmed.end();
    for (const node of [one, three]) await hasAll(node, two);
    for (const node of [one, two, three])
      expect([await load.missingOn(node), await confirmed.missingOn(node)]).toEqual([[], []]);
    await checkSet([two, one, three], history);
    expect(await three.stats()).toMatchObject({ divergences: 0 });
  });
});
