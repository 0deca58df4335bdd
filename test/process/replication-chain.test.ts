/** Replicas of replicas between real servers: the one in the middle goes, and what hung on it goes on elsewhere; or it is promoted, and takes it along. */
import { afterEach, describe, expect, it } from "vitest";
import { AnnalsCommand } from "../support/annals-command.js";
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

/** `lost` goes while two watch the set, one of them by asking that very node; Ctrl-C ends a watch well, whatever it shows. */
async function seenToGo(lost: SetNode, asked: SetNode): Promise<void> {
  const [json, table] = [["--json", asked.http] as const, [lost.http] as const].map(
    (args) => new AnnalsCommand(["status", "--watch", ...args]),
  ) as [AnnalsCommand, AnnalsCommand];
  const lastLook = (): unknown[] => {
    const look = json.stdout.split("\n").at(-2) ?? '{"nodes":[]}';
    const { nodes } = JSON.parse(look) as { nodes: { name: string; problem?: string }[] };
    return nodes.map(({ name, problem }) => (problem === undefined ? name : `no ${name}`));
  };
  const rows = (): string[] => table.stdout.split(/^NAME .*$/m).slice(1);
  try {
    await until("all are seen", async () => lastLook().length === 3 && rows().length > 1);
    expect(lastLook()).toEqual(["one", "two", "three"]);
    expect(rows()[0]).toMatch(/^\s*one +master .*\n└ two +replica .*\n {2}└ three +replica .*\n$/);
    await lost.kill();
    await until("it is missed", async () => lastLook().includes(`no ${lost.name}`));
    expect(lastLook().sort()).toEqual([`no ${lost.name}`, "one", "three"].sort());
    const isMissed = new RegExp(`${lost.name} +\\? `);
    await until("it is missed there, too", async () => isMissed.test(rows().at(-1) ?? ""));
    expect(rows().at(-1)).toMatch(/^one +master /m);
    for (const watch of [json, table]) watch.signal("SIGINT");
    for (const { ended } of [json, table]) expect(await ended).toMatchObject({ code: 0, stderr: "" });
  } finally {
    for (const watch of [json, table]) await watch.end();
  }
}

describe("a replica of a replica", () => {
  it("goes on at the primary when the one between them is gone, and under that one when it is back and promoted", async () => {
    const [one, two, three] = await chain();
    const history = new SetHistory();
    const load = new SetLoad(one, { acks: [0], clients: 2, history });
    await writtenSome(load);
    await seenToGo(two, one);
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
