/** A planned change of the primary between real servers: under load, refused, with a lost answer, and crossed by another word on who leads. */
import { afterEach, describe, expect, it } from "vitest";
import { TcpProxy } from "../../ops/demo/tcp-proxy.js";
import { runAnnals } from "../support/annals-command.js";
import { errorCodeOf } from "../support/http-client.js";
import { ReplicaSet, switchedOver, write } from "../support/replica-set.js";
import { expectOne, hasAll } from "../support/set-waits.js";

const ONE = { "x-annals-acks": "1" };
let set: ReplicaSet;
let proxy: TcpProxy | undefined;
afterEach(async () => {
  await set.end();
  await proxy?.close();
  proxy = undefined;
});

describe("a switchover", () => {
  it("under writes loses none that was answered, and holds them for a moment only", async () => {
    set = await ReplicaSet.begin();
    const one = await set.primary("one");
    const [two, three] = await Promise.all([set.replica("two", one), set.replica("three", one)]);
    const four = await set.replica("four", three);
    for (const node of [two, three, four])
      await expect.poll(async () => (await node.stats())["listed"]).toBe(true);
    const answered: string[] = [];
    let [writing, leader, longestMs] = [true, one, 0];
    const writer = async (name: string): Promise<void> => {
      let since = performance.now();
      for (let count = 0; writing; count += 1) {
        const key = `${name}-${count}`;
        const { status, headers } = await write(leader, key);
        // Another one leads, or will in a moment.
        if (headers["x-annals-primary"] === two.http) leader = two;
        if (status !== 200) continue;
        answered.push(key);
        longestMs = Math.max(longestMs, performance.now() - since);
        since = performance.now();
      }
    };
    const writers = Promise.all(["a", "b", "c", "d"].map(writer));
    try {
      await expect.poll(() => answered.length).toBeGreaterThan(20);
      const moved = await switchedOver(one, "two");
      // The fourth one stays behind the third.
      expect(moved).toMatchObject({ success: true, to: "two", repointed: ["three"], not_repointed: [] });
      expect(moved["epoch"]).toBe((await two.stats())["epoch"]);
      const before = answered.length;
      await expect.poll(() => answered.length).toBeGreaterThan(before + 20);
    } finally {
      writing = false;
      await writers;
    }
    expect(leader).toBe(two);
    // Not until it ran out of time, on the slowest of machines.
    expect(longestMs).toBeLessThan(20_000);
    const { values } = JSON.parse((await two.post("/kv/mget", { keys: answered })).text);
    expect(values).toEqual(answered.map((key) => `value of ${key}`));
    for (const node of [one, three, four]) await hasAll(node, two);
    await expectOne(one, two, three, four);
    const tree = async () => {
      const shown = await runAnnals(["status", four.http]);
      return shown.stdout.split("\n").map((line) => /^\s*(└ )?\w+/.exec(line)?.[0]);
    };
    await expect
      .poll(async () => (await tree()).slice(0, 5))
      .toEqual([...["NAME", "two", "└ one", "└ three", "  └ four"]]);
    expect((await write(two, "last", { "x-annals-acks": "3" })).status).toBe(200);
    // Nothing was only there.
    expect((await one.json("/api/replication/diverged"))["count"]).toBe(0);
  });

  it("to a node that is not known changes nothing; when the other's answer is lost, or the primary is told to follow, that is said", async () => {
    set = await ReplicaSet.begin();
    const one = await set.primary("one");
    let port = 0;
    proxy = await TcpProxy.open(() => port);
    const reached = { ANNALS_REPLICATION_ADVERTISED_HTTP_ADDRESS: `http://127.0.0.1:${proxy.port}` };
    const two = await set.replica("two", one, [], reached);
    ({ port } = two.server);
    await expect.poll(async () => (await two.stats())["listed"]).toBe(true);
    expect(errorCodeOf(await one.post("/api/replication/switchover", { to: "six" }))).toBe(
      "API_NODE_UNKNOWN",
    );
    expect(errorCodeOf(await two.post("/api/replication/switchover", { to: "one" }))).toBe(
      "REPLICATION_ROLE_WRONG",
    );
    expect((await write(one, "a")).status).toBe(200);
    proxy.silence("out");
    const moving = one.post("/api/replication/switchover", { to: "two" });
    await expect.poll(async () => errorCodeOf(await write(one, "held"))).toBe("REPLICATION_CHANGING");
    expect((await one.post("/api/replication/follow", { address: "127.0.0.1:1" })).status).toBe(200);
    const lost = await moving;
    expect([errorCodeOf(lost), lost.text]).toEqual([
      "REPLICATION_ROLE_WRONG",
      expect.stringContaining("told to follow another one meanwhile"),
    ]);
    expect((await runAnnals(["promote", one.http])).code).toBe(0);
    proxy.heal();
    await expect.poll(async () => (await two.stats())["listed"]).toBe(true);
    proxy.silence("back");
    const moved = await switchedOver(one, "two");
    expect(moved).toMatchObject({ success: true, to: "two", not_repointed: [] });
    expect(errorCodeOf(await write(one, "b"))).toBe("REPLICATION_READ_ONLY");
    expect((await write(two, "b", ONE)).status).toBe(200);
  });
});
