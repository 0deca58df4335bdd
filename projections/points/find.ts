/** Restore points in the log itself, for whoever has no state: a restore that looks for a name in a backup. */
import { decodeEvents, type EncodedRecord, SEVERAL_KIND } from "../events.js";
import { POINT_KIND } from "./codec.js";

/** The names that a record gives; mostly none, and then without decoding it. @throws ProjectionError. */
export function restorePointNames(record: EncodedRecord): readonly string[] {
  if (record.kind !== POINT_KIND && record.kind !== SEVERAL_KIND) return [];
  return decodeEvents(record).events.flatMap((event) => (event.type === "point.named" ? [event.name] : []));
}
