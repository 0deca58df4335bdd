/** A primary whose process is stopped while a confirmation is on its way to it, replaced meanwhile, and goes on as if nothing had been. */
import { afterEach, describe, expect, it } from "vitest";
import { errorCodeOf } from "../support/http-client.js";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";
import { QUICK } from "../support/set-faults.js";
import { endOf, follows, hasAll, listed, sleep, until } from "../support/set-waits.js";

let set: ReplicaSet;
afterEach(() => set.end());

const signal = (node: SetNode, name: NodeJS.Signals): void => {
  process.kill(-node.server.pid, name);
};

describe("a primary that was stopped for longer than replica_timeout_secs", () => {
  it("confirms nothing by what had come to it before, and follows the one that replaced it", {
    timeout: 60_000,
  }, async () => {
    set = await ReplicaSet.begin();
    const one = await set.primary("one", [], { ...QUICK, ANNALS_REPLICATION_ACK_TIMEOUT_MS: "20000" });
    const two = await set.replica("two", one, [], QUICK);
    await listed([two], one);
    await hasAll(two, one);
    signal(two, "SIGSTOP");
    const before = await endOf(one);
    const asked = one.client.put("key", "value", { "x-annals-acks": "1" });
    await until("it is stored", async () => (await endOf(one)) > before);
    signal(one, "SIGSTOP");
    signal(two, "SIGCONT");
    // Its acknowledgement lies before the door of a process that does not look.
    await until("the replica has it", async () => (await endOf(two)) > before);
    const promoted = await two.post("/api/replication/promote");
    expect(promoted.status, promoted.text).toBe(200);
    await sleep(1200);
    signal(one, "SIGCONT");
    const answer = await asked;
    expect([answer.status, errorCodeOf(answer)]).toEqual([504, "REPLICATION_NOT_CONFIRMED"]);
    await follows(one);
    await hasAll(one, two);
    // It was never lost: only nobody could know.
    expect((await two.client.get("key")).text).toBe("value");
  });
});
