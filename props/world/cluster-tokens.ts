/** Tokens as a node judges them: by the API's own rule, from its log and from what it knows of the set; and what stands there. */
import { judged, lineageOf } from "../../api/lineage.js";
import { offset as asOffset, type EventLog } from "../../log/index.js";
import { hasPrimarysLog, isBehind } from "../../replication/behind.js";
import type { ReplicationNode } from "../../replication/node.js";
import { type AppendedWrite, bodyText } from "./cluster-history.js";

export function judgedAt(
  node: ReplicationNode,
  log: EventLog,
  token: AppendedWrite,
): ReturnType<typeof judged> {
  const stats = node.stats();
  const asked = { offset: token.offset, lineage: lineageOf(token) };
  return judged(log, asked, { isBehind: isBehind(stats), hasPrimarysLog: hasPrimarysLog(stats) });
}

export async function bodyAt(log: EventLog, at: number): Promise<string | undefined> {
  if (at < log.firstOffset) return undefined;
  for await (const batch of log.read(asOffset(at), { last: asOffset(at) }))
    for (const record of batch) return bodyText(record.body);
  return undefined;
}
