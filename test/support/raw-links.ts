/** A real node on one side of a link, and on the other one that says what a test wants. */
import { offset, type RecordRun } from "../../log/index.js";
import type { LinkNodeDouble } from "./link-node.js";
import { primaryWith, replicaOf, type WithPrimary } from "./link-world.js";
import { RawPeer } from "./raw-peer.js";
import { appendMany } from "./test-log.js";

/** A replica that the primary knows as a real node does, but that says what the test wants. */
export async function rawReplica({ world, address }: WithPrimary, like: LinkNodeDouble): Promise<RawPeer> {
  const peer = RawPeer.dial(world.network, world.clock, address);
  await peer.greet(await like.statement());
  return peer;
}

/** What a replica meets that dials something that says what the test wants. */
export async function rawPrimary(
  set: WithPrimary,
  replica: LinkNodeDouble,
): Promise<{ peer: RawPeer; runs: RecordRun[] }> {
  await replica.receiver?.stop();
  replica.failures.length = 0;
  const address = { host: "impostor", port: 1 };
  const peers = await RawPeer.listen(set.world.network, set.world.clock, address);
  replica.follow(address);
  await set.world.clock.until(() => peers.length > 0, "it dials");
  const peer = peers[0]!;
  await peer.welcome(await set.primary.statement());
  const runs: RecordRun[] = [];
  for await (const run of set.primary.required.ship(offset(replica.end + 1))) {
    runs.push(run);
    if (run.last >= set.primary.required.durableOffset) break;
  }
  return { peer, runs };
}

export async function withReplica(
  records = 20,
  more = 60,
): Promise<{ set: WithPrimary; replica: LinkNodeDouble }> {
  const set = await primaryWith(records);
  const replica = await replicaOf(set);
  await replica.receiver?.stop();
  await appendMany(set.primary.required, more);
  return { set, replica };
}
