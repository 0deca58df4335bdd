/** What a node is put together from: the world that it lives in, and whoever owns its log and state. */
import type { FileSystem } from "../log/index.js";
import type { ReplicationHost } from "./host.js";
import type { RoleAndAddress } from "./leadership-file.js";
import type { Clock, Network, Random, ReplicationLogger } from "./ports.js";
import type { ReplicationSettings } from "./settings.js";

export interface ReplicationNodeOptions {
  readonly settings: ReplicationSettings;
  /** What the settings make of this node now: what it is told overrules that, until it changes. Missing: as at the start. */
  readonly configured?: () => RoleAndAddress;
  readonly network: Network;
  readonly clock: Clock;
  readonly random: Random;
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly logger: ReplicationLogger;
  readonly host: ReplicationHost;
  /** Called in the turn in which this node stops to take writes for good: it was fenced, or follows from now on. */
  readonly rests?: () => void;
}
