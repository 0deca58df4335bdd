/** A simulated set as those see it that do something to it: its steps, and whoever brings it together. */
import type { ReplicationSettings } from "../../replication/settings.js";
import type { ClusterHistory } from "./cluster-history.js";
import type { ClusterNode } from "./cluster-node.js";
import type { Random } from "./fate.js";
import type { SimulatedNetwork } from "./simulated-network.js";
import type { VirtualTime } from "./virtual-time.js";

export interface ClusterView {
  readonly time: VirtualTime;
  readonly network: SimulatedNetwork;
  readonly random: Random;
  readonly history: ClusterHistory;
  readonly nodes: readonly ClusterNode[];
  /** Whoever leads under the highest leadership of all. */
  readonly leader: ClusterNode | undefined;
  node(index: number): ClusterNode;
  add(settings?: Partial<ReplicationSettings>): ClusterNode;
  /** Its log is the leader's, and durable. */
  hasAll(node: ClusterNode): boolean;
  /** So is everybody's. */
  areOne(): boolean;
  /** @throws what broke meanwhile, or that it was waited in vain. */
  must(what: string, holds: () => boolean, msMax?: number): Promise<void>;
  /** A promise was broken where nobody waits. */
  breaks(error: unknown): void;
  /** Of what happened: how often, and in words. */
  tally(what: string): void;
  note(line: string): void;
  describe(): string;
}
