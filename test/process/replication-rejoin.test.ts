/**
 * Old primaries that return. One that is cut off goes on answering with its own disk alone, gets further than the one that replaces it, and returns: it follows, and
 * what only it had is kept, readable: just what it had answered, done or not confirmed. One that was stopped finds what had come to it before. Once in the suite; ANNALS_PROPS_FACTOR=50 makes 20 returns.
 */
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { factor, seed } from "../../props/run-settings.js";
import { runAnnals } from "../support/annals-command.js";
import { errorCodeOf } from "../support/http-client.js";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";
import { checkSet } from "../support/set-checks.js";
import { ProxiedSet, promoteOneOf, rounds } from "../support/set-faults.js";
import { type AnsweredWrite, SetHistory } from "../support/set-history.js";
import { SetLoad, valueFor } from "../support/set-load.js";
import { endOf, follows, hasAll, listed, until } from "../support/set-waits.js";

let set: ReplicaSet;
let proxied: ProxiedSet | undefined;
afterEach(async () => {
  await set.end();
  await proxied?.close();
  proxied = undefined;
});

interface WrittenAlone {
  readonly answered: readonly AnsweredWrite[];
  /** Keys of what nobody confirmed. */
  readonly unconfirmed: readonly string[];
}

/** What is written at this node while it is alone, until so many are answered; now and then somebody asks for a confirmation. */
async function writesAlone(
  node: SetNode,
  history: SetHistory,
  count: number,
  acks: readonly number[] = [0],
): Promise<WrittenAlone> {
  const before = history.answered.length;
  const load = new SetLoad(node, { acks, clients: 4, history });
  await until(`${node.name} has answered`, async () => load.answered.length >= count);
  await load.end();
  return { answered: history.answered.slice(before), unconfirmed: load.unconfirmed };
}

/** As many confirmations as they ask for. */
const ONE_IN_TWENTY = Array.from({ length: 20 }, (_, at) => (at === 1 ? 1 : 0));

interface DumpedEvent {
  readonly type: string;
  readonly key: string;
  readonly value: string;
}

/** Offsets, keys and values of what was put aside last. */
async function dumpNewest(node: SetNode): Promise<Map<number, DumpedEvent>> {
  const { diverged } = await node.json("/api/replication/diverged");
  const { directory } = (diverged as { directory: string }[]).at(-1)!;
  const { code, stdout, stderr } = await runAnnals(["dump", join(node.directory, directory)]);
  expect(code, stderr).toBe(0);
  const lines = stdout.trim().split("\n");
  return new Map(
    lines.map((line) => {
      const { offset, events } = JSON.parse(line);
      return [offset, events[0]];
    }),
  );
}

describe("an old primary with a longer log", () => {
  it("returns as a replica, and what it had answered alone is kept as it was answered, or not confirmed", {
    timeout: 180_000 * Math.max(1, factor),
  }, async () => {
    set = await ReplicaSet.begin();
    const network = await ProxiedSet.of(set, ["one", "two"]);
    proxied = network;
    const history = new SetHistory();
    let [old, next] = network.nodes as [SetNode, SetNode];
    const rejoins = rounds(1, 20);
    let kept = 0;
    for (let round = 0; round < rejoins; round += 1) {
      const common = new SetLoad(old, { acks: [1], clients: 4, history });
      await until("something is confirmed", async () => common.answered.length > 20);
      await common.end();
      await hasAll(next, old);
      network.isolate(old);
      const { answered: alone, unconfirmed } = await writesAlone(old, history, 60, ONE_IN_TWENTY);
      expect(unconfirmed.length).toBeGreaterThan(0);
      await promoteOneOf([next], history);
      await writesAlone(next, history, 10);
      expect(await endOf(old)).toBeGreaterThan(await endOf(next));

      network.heal();
      await follows(old);
      await hasAll(old, next);
      const dumped = await dumpNewest(old);
      for (const { offset, body: key } of alone)
        expect(dumped.get(offset)).toMatchObject({ type: "kv.set", key, value: valueFor(key) });
      const keys = [...dumped.values()].map(({ key }) => key);
      expect(keys).toEqual(expect.arrayContaining([...unconfirmed]));
      expect(dumped.size).toBe(alone.length + unconfirmed.length);
      kept += alone.length;
      await listed([old], next);
      [old, next] = [next, old];
    }
    const checked = await checkSet([old, next], history);
    expect(checked.aside).toBe(kept);
    if (factor > 1) console.log(JSON.stringify({ rejoins, ...checked, lost: 0, seed }));
  });
});

const sentBy = async (node: SetNode): Promise<number> =>
  Number(/records_total\{direction="sent"\} (\d+)/.exec((await node.get("/metrics")).text)?.[1]);

const signal = (node: SetNode, name: NodeJS.Signals): void => {
  process.kill(-node.server.pid, name);
};

describe("a primary that was stopped while a confirmation was on its way", () => {
  it("confirms nothing by what had come to it before, and follows the one that replaced it", async () => {
    set = await ReplicaSet.begin();
    // For less than anybody takes to miss it: replica_timeout_secs is 30.
    const one = await set.primary("one", [], { ANNALS_REPLICATION_ACK_TIMEOUT_MS: "20000" });
    const two = await set.replica("two", one);
    await listed([two], one);
    await hasAll(two, one);
    signal(two, "SIGSTOP");
    const [before, sentBefore] = [await endOf(one), await sentBy(one)];
    const asked = one.client.put("key", "value", { "x-annals-acks": "1" });
    await until("it is on its way", async () => (await sentBy(one)) > sentBefore);
    signal(one, "SIGSTOP");
    signal(two, "SIGCONT");
    // Its acknowledgement lies before the door of a process that does not look.
    await until("the replica has it", async () => (await endOf(two)) > before);
    const promoted = await two.post("/api/replication/promote");
    expect(promoted.status, promoted.text).toBe(200);
    signal(one, "SIGCONT");
    const answer = await asked;
    expect([answer.status, errorCodeOf(answer)]).toEqual([504, "REPLICATION_NOT_CONFIRMED"]);
    await follows(one);
    await hasAll(one, two);
    // It was never lost: only nobody could know.
    expect((await two.client.get("key")).text).toBe("value");
  });
});
