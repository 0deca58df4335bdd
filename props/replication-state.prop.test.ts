/**
 * Promise: what a replicated set holds – keys, queues, streams, folded by the real projections, put into place by the host that a server
 * has – is the same on every node when faults stop, whatever happened to the nodes and between them: each record applied once, none
 * missing, from a snapshot or from the log; and everything that `replication-faults` promises of the log holds there, too.
 */
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { factor, runs } from "./run-settings.js";
import { Cluster } from "./world/cluster.js";
import { checkCluster } from "./world/cluster-checks.js";
import { anyClusterSetting, anyClusterSteps } from "./world/cluster-step.js";
import { StoreHost } from "./world/store-host.js";

beforeAll(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout", "setInterval", "clearInterval"] });
});
afterAll(() => {
  vi.useRealTimers();
});

const world = fc.noShrink(fc.integer({ min: 1, max: 2 ** 26 }));

describe("the state of a replicated set", () => {
  test("is the same on every node, whatever happens to its nodes and between them", async () => {
    const seen = new Map<string, number>();
    const add = (what: string, count: number): void => void seen.set(what, (seen.get(what) ?? 0) + count);
    await fc.assert(
      fc.asyncProperty(world, anyClusterSetting, anyClusterSteps, async (seed, setting, taken) => {
        const cluster = new Cluster({
          ...{ seed, ...setting },
          host: (options) => new StoreHost(options),
          moved: (by) => void vi.advanceTimersByTime(by),
        });
        try {
          await cluster.begin();
          await cluster.run(taken);
          const checked = await checkCluster(cluster, await cluster.converge());
          for (const [what, count] of cluster.outcomes) add(what, count);
          for (const [what, count] of Object.entries({ ...checked, ...cluster.hostCounts })) add(what, count);
        } catch (error) {
          throw cluster.withTrace(error);
        } finally {
          cluster.end();
          vi.clearAllTimers();
        }
      }),
      {
        ...runs(2),
        interruptAfterTimeLimit: Math.min(120_000 * factor, 1_500_000),
        markInterruptAsFailure: true,
      },
    );
    if (process.env["ANNALS_PROPS_TALLY"] !== undefined) console.log([...seen].sort());
    const rare = factor >= 10 ? ["write: answered", "retain: retained", "promote: promoted"] : [];
    for (const what of ["installs", "segments", ...rare])
      expect(seen.get(what) ?? 0, what).toBeGreaterThan(0);
  });
});
