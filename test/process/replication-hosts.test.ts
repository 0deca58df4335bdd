/**
 * Replication between hosts of their own, where packets vanish without a word: a cable is pulled, one direction is dead, a line is so narrow that it
 * loses what it cannot take. One fail-over in the suite; ANNALS_PROPS_FACTOR=50 makes 20 such cuts and 10 fail-overs.
 */
import { afterEach, describe, expect, it } from "vitest";
import { factor, seed, seededRandom } from "../../props/run-settings.js";
import { type Host, Hosts, whyNoHosts } from "../support/hosts.js";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";
import { checkSet } from "../support/set-checks.js";
import { promoteOneOf, QUICK, rounds } from "../support/set-faults.js";
import { SetHistory } from "../support/set-history.js";
import { SetLoad } from "../support/set-load.js";
import { endOf, follows, hasAll, listed, sleep, until } from "../support/set-waits.js";

const random = seededRandom(seed);
const isLong = factor > 1;
const PACE = isLong ? { pauseMs: 5 } : {};
const why = whyNoHosts();
if (why !== undefined) console.log(`not tried between hosts: ${why}`);

let set: ReplicaSet;
let hosts: Hosts | undefined;
afterEach(async () => {
  await set?.end();
  hosts?.end();
  hosts = undefined;
});

async function threeNodes(): Promise<[SetNode, SetNode, SetNode]> {
  set = await ReplicaSet.begin();
  hosts = await Hosts.begin(set.directory, 3);
  const one = await set.on(hosts.at(0), "one", ["--role", "master"], QUICK);
  const following = ["--role", "replica", "--master-address", one.address];
  const [two, three] = await Promise.all([
    set.on(hosts.at(1), "two", following, QUICK),
    set.on(hosts.at(2), "three", following, QUICK),
  ]);
  await listed([two, three], one);
  return [one, two, three];
}

const CUTS = ["unplugged", "mute", "deaf", "narrow"] as const;

function harm(network: Hosts, host: Host, how: (typeof CUTS)[number]): void {
  switch (how) {
    case "unplugged":
      host.unplug();
      break;
    case "mute":
      network.lose(host, network.all);
      break;
    case "deaf":
      for (const other of network.all) network.lose(other, [host]);
      break;
    case "narrow":
      host.narrow(64);
  }
}

/** It has answered something that none of them has, nor will: after so long nothing is on its way any more. */
async function isAlone(old: SetNode, others: SetNode[], history: SetHistory): Promise<boolean> {
  const last = history.answered.findLast(({ node }) => node === old.name)?.offset ?? 0;
  await sleep(300);
  const ends = await Promise.all(others.map(endOf));
  return ends.every((end) => end < last);
}

describe.skipIf(why !== undefined)("replication between hosts", () => {
  it("packets vanish: nothing confirmed is missing, a primary that is cut off confirms nothing, and all come together", {
    timeout: 180_000 * Math.max(1, factor),
  }, async () => {
    const nodes = await threeNodes();
    const network = hosts!;
    const hostOf = new Map(nodes.map((node, place) => [node, network.at(place)]));
    let [primary] = nodes;
    const others = () => nodes.filter((node) => node !== primary);
    const history = new SetHistory();
    const load = new SetLoad(primary, { acks: [1], clients: 4, history, ...PACE });
    const goesOn = () => {
      const before = load.answered.length;
      return until("writes are confirmed", async () => load.answered.length > before + 4);
    };

    const cuts = rounds(0, 20);
    const kinds: Record<string, number> = {};
    for (let cut = 0; cut < cuts; cut += 1) {
      await goesOn();
      const how = CUTS[(cut + seed) % CUTS.length] ?? "deaf";
      kinds[how] = (kinds[how] ?? 0) + 1;
      const node = nodes[Math.floor(random() * nodes.length)] ?? primary;
      harm(network, hostOf.get(node)!, how);
      await sleep(isLong ? 1000 + random() * 19_000 : 300);
      network.heal();
    }
    await goesOn();

    const promotions = rounds(1, 10);
    const promotionMs: number[] = [];
    for (let round = 0; round < promotions; round += 1) {
      const old = primary;
      await listed(others(), primary);
      harm(network, hostOf.get(old)!, CUTS[(round + seed) % 3] ?? "deaf");
      const behind = new SetLoad(old, { acks: [0, 1, 1], clients: 3, history, pauseMs: 5 });
      await until("the old one goes on alone", () => isAlone(old, others(), history));
      await sleep(isLong ? random() * 3000 : 0);
      const since = performance.now();
      primary = await promoteOneOf(others(), history);
      promotionMs.push(Math.round(performance.now() - since));
      load.turnTo(primary);
      await goesOn();
      network.heal();
      await follows(old);
      await behind.end();
    }
    await load.end();
    for (const node of others()) await hasAll(node, primary);
    for (const node of nodes) expect(await load.missingOn(node)).toEqual([]);
    const checked = await checkSet([primary, ...others()], history);
    expect(checked.confirmed).toBeGreaterThan(0);
    // What was answered behind the cut, alone.
    expect(checked.aside).toBeGreaterThan(0);
    if (isLong) {
      const longestPromotionMs = Math.max(...promotionMs);
      console.log(JSON.stringify({ cuts, kinds, promotions, longestPromotionMs, ...checked, lost: 0, seed }));
    }
  });
});
