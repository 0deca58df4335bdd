/** Lets simulated sets live through whatever is drawn, brings each together again and holds it to everything; and counts what happened to them. */
import fc from "fast-check";
import { factor, runs } from "../run-settings.js";
import type { Cluster } from "./cluster.js";
import { checkCluster } from "./cluster-checks.js";
import type { ClusterHostOptions, WorldHost } from "./cluster-host.js";
import { inWorld } from "./cluster-scenario.js";
import { anyClusterSetting, anyClusterSteps } from "./cluster-step.js";

const world = fc.noShrink(fc.integer({ min: 1, max: 2 ** 26 }));

export interface ClusterLives {
  /** Of all worlds together, by what it was. */
  readonly seen: ReadonlyMap<string, number>;
  /** Of the longest one. */
  readonly most: { readonly turns: number; readonly ms: number };
}

/** So many worlds in the short form. Timers are faked. `host` owns log and state of each node; without it a stand-in does. */
export async function liveThrough(
  shortRuns: number,
  host?: (options: ClusterHostOptions) => WorldHost,
): Promise<ClusterLives> {
  const seen = new Map<string, number>();
  const most = { turns: 0, ms: 0 };
  const add = (what: string, count: number): void => void seen.set(what, (seen.get(what) ?? 0) + count);
  await fc.assert(
    fc.asyncProperty(world, anyClusterSetting, anyClusterSteps, async (seed, setting, taken) => {
      const live = async (cluster: Cluster): Promise<void> => {
        await cluster.begin();
        await cluster.run(taken);
        const checked = await checkCluster(cluster, await cluster.converge());
        most.turns = Math.max(most.turns, cluster.time.turns);
        most.ms = Math.max(most.ms, cluster.time.ms);
        for (const [what, count] of cluster.outcomes) add(what, count);
        const { hostCounts, network } = cluster;
        const counts = { ...checked, ...hostCounts, ...network.duplicates.counts };
        for (const [what, count] of Object.entries(counts)) add(what, count);
      };
      const { secret, ...others } = setting.settings;
      const settings = { ...others, secrets: () => (secret === undefined ? [] : [secret]) };
      await inWorld(seed, live, setting.nodes, {
        ...setting,
        settings,
        ...(host === undefined ? {} : { host }),
      });
    }),
    // Whoever fails has to be told of it: shrinking ends before the test does. And a run that was not ended shows nothing.
    {
      ...runs(shortRuns),
      interruptAfterTimeLimit: Math.min(120_000 * factor, 1_500_000),
      markInterruptAsFailure: true,
    },
  );
  if (process.env["ANNALS_PROPS_TALLY"] !== undefined) console.log([...seen].sort(), most);
  return { seen, most };
}
