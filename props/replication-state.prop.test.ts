/**
 * Promise: what a replicated set holds – keys, queues, streams, folded by the real projections, put into place by the host that a server
 * has – is the same on every node when faults stop, whatever happened to the nodes and between them: each record applied once, none
 * missing, from a snapshot or from the log; and everything that `replication-faults` promises of the log holds there, too.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { factor } from "./run-settings.js";
import { liveThrough } from "./world/cluster-lives.js";
import { fakeTimers, realTimers } from "./world/cluster-scenario.js";
import { StoreHost } from "./world/store-host.js";

beforeAll(fakeTimers);
afterAll(realTimers);

describe("the state of a replicated set", () => {
  test("is the same on every node, whatever happens to its nodes and between them", async () => {
    const { seen } = await liveThrough(2, (options) => new StoreHost(options));
    const rare = factor >= 10 ? ["write: answered", "retain: retained", "promote: promoted"] : [];
    for (const what of ["installs", "segments", ...rare])
      expect(seen.get(what) ?? 0, what).toBeGreaterThan(0);
  });
});
