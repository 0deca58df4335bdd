/** What settings make of a node: the replicas that it must have, its role, and what SIGHUP makes of a change. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { errorCodeOf } from "../support/http-client.js";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";

let set: ReplicaSet;
afterEach(() => set.end());

const write = (node: SetNode, key: string) => node.post("/kv/set", { key, value: `value of ${key}` });

describe("a primary without the replicas that it must have", () => {
  it("says in its health that it takes no writes, stays ready for reads, and is well when they are there", async () => {
    set = await ReplicaSet.begin();
    const one = await set.primary("one", [], { ANNALS_REPLICATION_MIN_REPLICAS_FOR_WRITE: "1" });
    const health = async () => (await one.json("/health"))["components"];
    expect(errorCodeOf(await write(one, "a"))).toBe("REPLICATION_TOO_FEW_REPLICAS");
    expect(await health()).toMatchObject({
      replication: expect.stringMatching(/^writes are refused: 0 replicas/),
    });
    expect((await one.get("/readyz")).status).toBe(200);
    await set.replica("two", one);
    await expect.poll(health).toMatchObject({ replication: "ok" });
  });
});

/** A replica that has its role from a file, and what writes another role into that. */
async function followerByFile(
  set: ReplicaSet,
  name: string,
  primary: SetNode,
): Promise<{ node: SetNode; configure: (role: string) => Promise<void> }> {
  const file = join(set.directory, `${name}.yml`);
  const configure = (role: string): Promise<void> =>
    writeFile(file, `replication: { role: ${role}, master_address: "${primary.address}" }\n`);
  await configure("replica");
  return { node: await set.configured(name, file), configure };
}

describe("a role that was changed in the file", () => {
  it("is taken at SIGHUP: the replica is promoted, and told back it follows", async () => {
    set = await ReplicaSet.begin();
    const one = await set.primary("one");
    const { node: two, configure } = await followerByFile(set, "two", one);
    await one.post("/queue/jobs");
    await expect.poll(async () => (await two.stats())["listed"]).toBe(true);
    // Longer than the client waits for an answer.
    const consumed = (node: SetNode) => node.get("/queue/jobs/consume/me?wait_secs=60");
    const waits = async (node: SetNode) =>
      (await node.get("/metrics")).text.includes('annals_requests_waiting{type="queue"} 1\n');
    const atOne = consumed(one);
    await expect.poll(() => waits(one)).toBe(true);
    await configure("master");
    two.signal("SIGHUP");
    const roleOf = async (node: SetNode) => (await node.stats())["role"];
    await expect.poll(() => roleOf(two)).toBe("master");
    await expect.poll(async () => (await write(two, "a")).status).toBe(200);
    // The old one has heard of it, and follows.
    await expect.poll(() => roleOf(one)).toBe("replica");
    expect(errorCodeOf(await atOne)).toMatch(/^REPLICATION_(FENCED|READ_ONLY)$/);
    expect(two.output).toContain("the role was changed");
    const atTwo = consumed(two);
    await expect.poll(() => waits(two)).toBe(true);
    await configure("replica");
    two.signal("SIGHUP");
    await expect.poll(() => roleOf(two)).toBe("replica");
    expect(errorCodeOf(await atTwo)).toBe("REPLICATION_READ_ONLY");
    expect(errorCodeOf(await write(two, "b"))).toBe("REPLICATION_READ_ONLY");
  });

  it("and refused is tried again by the next SIGHUP, and a role that a start takes is not said to be applied", async () => {
    set = await ReplicaSet.begin();
    const one = await set.primary("one");
    const { node: two, configure } = await followerByFile(set, "two", one);
    const three = await set.replica("three", one);
    for (const node of [two, three]) await expect.poll(async () => (await node.stats())["listed"]).toBe(true);
    await three.kill();
    await configure("master");
    two.signal("SIGHUP");
    await expect.poll(() => two.output).toContain("the role was not changed: not reached: three");
    await set.restart(three);
    await configure("standalone");
    two.signal("SIGHUP");
    await expect.poll(() => two.output).toContain("these changes need a restart");
    await configure("master");
    two.signal("SIGHUP");
    await expect.poll(async () => (await two.stats())["role"]).toBe("master");
  });
});
