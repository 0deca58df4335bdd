/** Finds a named restore point among the records of a backup, the newest segments first: names stand in the log itself. */
import { type Offset, offset } from "../../log/index.js";
import { restorePointNames } from "../../projections/index.js";
import { segmentsOf } from "./manifest.js";
import { type FindPoint, readSegment } from "./restore-plan.js";

/** @throws BackupError BACKUP_DAMAGED. */
export const findRestorePoint: FindPoint = async (store, manifest, name) => {
  for (const segment of segmentsOf(manifest).toReversed()) {
    let found: Offset | undefined;
    await readSegment(store, segment, (records) => {
      for (const record of records)
        if (restorePointNames(record).includes(name)) found = offset(record.offset);
    });
    if (found !== undefined) return found;
  }
  return undefined;
};
