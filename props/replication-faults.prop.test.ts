/**
 * Promise: whatever happens to the nodes of a set and to the network between them –
 *
 *   1. each log is a prefix of its primary's history, leadership by leadership
 *   2. one node writes under one leadership
 *   3. what at least one replica confirmed is never lost, unless a promotion was forced, or all that had it were forgotten
 *   4. nothing of an older leadership is confirmed after a newer one began; a node that heard of one acknowledges nothing under the older,
 *      writes nothing more, and tells at once whoever waits there
 *   5. a confirmation is a disk: when a write is answered, so many other nodes hold it durably, in every mode of syncing, and of a quorum
 *      more than half
 *   6. with `min_replicas_for_write` no write is taken by whoever has not heard of as many replicas lately
 *   7. a primary that hands over its lead loses nothing that it answered
 *   8. a read with a token sees what the token tells of, on every node
 *   9. when faults stop all nodes reach the same state, go by the primary's clock, and are on its list, each once
 *  10. and the same bytes
 *  11. what was answered and is in no log any more lies under `diverged/` of the node that answered it
 *  12. what changes on a disk is never sent on, never read as data, and costs a replica nothing but the time to fetch it again; a primary says
 *      so, and another one takes its place; nobody leads who knows of damage; two sound logs never compare as different
 *
 * Whoever does not sync each write may lose it with its power: what was answered by nobody else's disk is not asked for then.
 *
 * The world is `props/world/cluster.ts`: the real log and the real replication on simulated machines, disks and network.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { factor } from "./run-settings.js";
import { liveThrough } from "./world/cluster-lives.js";
import { fakeTimers, realTimers } from "./world/cluster-scenario.js";

beforeAll(fakeTimers);
afterAll(realTimers);

describe("replication", () => {
  test("a set keeps its promises whatever happens to its nodes and between them", async () => {
    const { seen } = await liveThrough(3);
    // Some runs may be without what is rare; `replication-scenarios` and `replication-commands` have it in every run.
    const rare =
      factor >= 10
        ? [
            ...["acknowledged", "promote: promoted", "diverged", "aside", "repeated"],
            ...["damage replica sealed", "damage primary sealed"],
          ]
        : [];
    for (const what of ["write: answered", "segments", ...rare])
      expect(seen.get(what) ?? 0, what).toBeGreaterThan(0);
  });
});
