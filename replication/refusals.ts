/** Why a node does not do what it was asked to, in words that say what to do instead. */
import { ReplicationError } from "./errors.js";
import { describeLeadership } from "./leadership-order.js";
import type { LocalNode } from "./local-node.js";
import { type Address, describeAddress } from "./ports.js";

const at = (address: Address | undefined): string =>
  address === undefined ? "another node" : describeAddress(address);

export const readOnly = (primary: string | undefined, following: Address | undefined): ReplicationError =>
  new ReplicationError(
    "REPLICATION_READ_ONLY",
    `this node is a replica of ${at(following)}; ${primary === undefined ? "where its primary takes writes is not known yet" : `writes go to ${primary}`}`,
    { primary },
  );

export function fenced(local: LocalNode): ReplicationError {
  const { heard, own, leadership } = local;
  const { from, primary } = leadership;
  const where = primary === undefined ? "" : `; the primary is ${primary.name}`;
  return new ReplicationError(
    "REPLICATION_FENCED",
    `this node led under ${describeLeadership(own)}, and ${describeLeadership(heard)} was heard of from ${from}${where}`,
    { epoch: heard?.epoch, own: own?.epoch, from, primary: primary?.http },
  );
}

export const changing = (what: string): ReplicationError =>
  new ReplicationError("REPLICATION_CHANGING", `this node ${what}; try again in a moment`, { what });

export const handsOver = (nodeId: string): ReplicationError => changing(`hands over to node ${nodeId}`);

export const yieldsNot = (why: string): ReplicationError =>
  new ReplicationError("REPLICATION_NOT_YIELDED", `this node does not give way: ${why}`, { why });

export const mendsLog = (): ReplicationError =>
  new ReplicationError("REPLICATION_STOPPING", "this node mends its log");

export const stopping = (): ReplicationError =>
  new ReplicationError("REPLICATION_STOPPING", "this node stops");

export const followsNow = (following: Address | undefined): ReplicationError =>
  new ReplicationError("REPLICATION_ROLE_WRONG", `this node is a replica of ${at(following)}`, {
    following: following && describeAddress(following),
  });

export const followsNobody = (): ReplicationError =>
  new ReplicationError(
    "REPLICATION_ROLE_WRONG",
    "this node follows nobody; only a replica can take everything anew",
  );

export const leadsAlready = (local: LocalNode): ReplicationError =>
  new ReplicationError(
    "REPLICATION_ROLE_WRONG",
    `this node is the primary already, under ${describeLeadership(local.own)}`,
    { epoch: local.own?.epoch },
  );

export const isThere = (nodeId: string): ReplicationError =>
  new ReplicationError(
    "REPLICATION_ROLE_WRONG",
    `node ${nodeId} is connected; only one that is gone can be forgotten`,
    {
      nodeId,
    },
  );

export const installing = (): ReplicationError =>
  new ReplicationError("REPLICATION_NOT_READY", "a full sync into this node is under way");

export const noLog = (): ReplicationError =>
  new ReplicationError(
    "REPLICATION_NOT_READY",
    "this node has no log yet: its first full sync was not finished",
  );

/** Damage took it up to the beginning of its last leadership: no other can begin behind that. */
export const nothingIsLeft = (): ReplicationError =>
  new ReplicationError(
    "REPLICATION_NOT_READY",
    "nothing is left of this node's log under its last leadership: it has to follow before it can lead",
  );

export const noLender = (): ReplicationError =>
  new ReplicationError(
    "REPLICATION_CONNECTION_FAILED",
    "no node is known from which records could be fetched",
  );

export const owes = (): ReplicationError =>
  new ReplicationError(
    "REPLICATION_LOG_DAMAGED",
    "this node lost records that it may have confirmed, and does not have all of them again. With force it leads all the same",
    { owes: true },
  );

export const noAddress = (): ReplicationError =>
  new ReplicationError(
    "REPLICATION_ROLE_WRONG",
    "a replica needs the address of whom it follows: set master_address",
  );
