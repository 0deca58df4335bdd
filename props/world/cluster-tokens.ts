/** Tokens as the API judges them: whether a log has what one tells of, by the epochs that it knows; and what stands there. */
import { offset as asOffset, type EventLog } from "../../log/index.js";
import { type AppendedWrite, bodyText } from "./cluster-history.js";

export function standingOf({ epochs }: EventLog, token: AppendedWrite): "ours" | "lost" | "unknown" {
  const at = epochs.findIndex(({ lineageId }) => lineageId === token.lineageId);
  const [oldest] = epochs;
  if (at < 0) return oldest !== undefined && token.offset < oldest.first ? "ours" : "unknown";
  const [entry, next] = [epochs[at], epochs[at + 1]];
  const isLost =
    entry === undefined || token.offset < entry.first || (next !== undefined && token.offset >= next.first);
  return isLost ? "lost" : "ours";
}

export async function bodyAt(log: EventLog, at: number): Promise<string | undefined> {
  if (at < log.firstOffset) return undefined;
  for await (const batch of log.read(asOffset(at), { last: asOffset(at) }))
    for (const record of batch) return bodyText(record.body);
  return undefined;
}
