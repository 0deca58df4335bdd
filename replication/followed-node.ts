/** Makes the link to the node that is followed, and says what its events mean for the others of this node's parts. */
import type { Breakers } from "./breaker.js";
import type { Counters } from "./counters.js";
import { ReplicationError } from "./errors.js";
import type { LinkContext } from "./link-ports.js";
import type { LinkListener } from "./listener.js";
import type { LocalNode } from "./local-node.js";
import type { ReplicationNodeOptions } from "./node-options.js";
import { type Address, describeAddress } from "./ports.js";
import type { Seeker } from "./seeker.js";
import { Upstream } from "./upstream.js";

/** A fenced primary, or a replica that lost its own, looks around after this at the latest. */
export const LOOK_SOON_MS = 1_000;

export interface FollowedNodeParts {
  readonly options: Pick<ReplicationNodeOptions, "network" | "host" | "logger">;
  readonly link: LinkContext;
  readonly local: LocalNode;
  readonly breakers: Breakers;
  readonly counters: Counters;
  readonly seeker: Seeker;
  readonly listener: LinkListener | undefined;
}

export function followedNode(address: Address, parts: FollowedNodeParts): Upstream {
  const { options, link, local, breakers, counters, seeker, listener } = parts;
  const { network, host, logger } = options;
  const breaker = breakers.of(describeAddress(address));
  const upstream: Upstream = new Upstream({
    address,
    network,
    context: link,
    host,
    breaker,
    events: {
      logChanges: async () => {
        const words = "this node's log gives way to its primary's";
        await listener?.stopSenders(new ReplicationError("REPLICATION_STOPPING", words));
      },
      diverged: (kept) => {
        counters.diverged(kept);
        logger.error(
          { ...kept },
          `the records ${kept.first} to ${kept.last} are kept in ${kept.directory}: the primary lacks some of them, or all, as far as this node can tell`,
        );
      },
      failed: (error) => {
        counters.failed(error);
        seeker.consider();
        seeker.lookIn(LOOK_SOON_MS);
      },
      streaming: () => {
        upstream.beat();
        local.soon(local.keepNodeId());
      },
    },
  });
  return upstream;
}
