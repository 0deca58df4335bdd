/** What a node is when it starts: asked before its log is opened, for a replica's log is opened otherwise. */
import { type FileSystem, readIdentity } from "../log/index.js";
import { followedLast, roleAtStart } from "./leadership.js";
import { readLeadership } from "./leadership-file.js";
import type { Address } from "./ports.js";
import type { ReplicationSettings, Role } from "./settings.js";

export interface StartingRole {
  /** What the settings say, unless the node was told otherwise since they were changed last. */
  readonly role: Role;
  readonly masterAddress: Address | undefined;
  /**
   * Whether the log is opened `following`. Also of a replica that its settings now make a primary: it has to win a leadership before it
   * writes, and `ReplicationNode.start` sees to that.
   */
  readonly opens: "leading" | "following";
  /** It never was in a set: nobody has heard of it, nor it of anybody. */
  readonly isNew: boolean;
  /** As which a node without a log is known to others already, if it was started before. */
  readonly nodeId: string | undefined;
}

/** @throws ReplicationError REPLICATION_LEADERSHIP_DAMAGED. */
export async function startingRole(
  files: FileSystem,
  dataDirectory: string,
  settings: ReplicationSettings,
): Promise<StartingRole> {
  const content = await readLeadership(files, dataDirectory);
  const { role, address } = roleAtStart(settings, content);
  const opens = role === "replica" || followedLast(content) ? "following" : "leading";
  const isNew = content.lived === undefined && content.heard === undefined;
  // A log that was cut to nothing, for damage, leaves its identity: others know this node by it.
  const nodeId = content.nodeId ?? (await readIdentity(files, dataDirectory))?.nodeId;
  return { role, masterAddress: address, opens, isNew, nodeId };
}
