/**
 * What in a data directory is of an older format than this release writes. All of it is read as it is; nothing here changes anything.
 */
import {
  DIRECTORY_FORMAT_VERSION,
  type FileSystem,
  FORMAT_FILE,
  type LogReader,
  type LogRecord,
  SNAPSHOT_DIRECTORY,
} from "../../log/index.js";
import { listSnapshots, newestForm, SNAPSHOT_FORMAT_VERSION } from "../../projections/index.js";

export interface OlderPart {
  /** Below the data directory, or the event's kind. */
  readonly part: string;
  readonly version: number;
  readonly newest: number;
  /** How many there are of it. */
  readonly count: number;
}

/** @throws what the file system throws. */
export async function olderFiles(
  files: FileSystem,
  dataDirectory: string,
  formatVersion: number,
): Promise<OlderPart[]> {
  const parts: OlderPart[] = [];
  const newest = DIRECTORY_FORMAT_VERSION;
  if (formatVersion < newest) parts.push({ part: FORMAT_FILE, version: formatVersion, newest, count: 1 });
  for (const { name, info } of await listSnapshots(files, `${dataDirectory}/${SNAPSHOT_DIRECTORY}`)) {
    const version = info?.formatVersion ?? SNAPSHOT_FORMAT_VERSION;
    if (version === SNAPSHOT_FORMAT_VERSION) continue;
    parts.push({
      part: `${SNAPSHOT_DIRECTORY}/${name}`,
      version,
      newest: SNAPSHOT_FORMAT_VERSION,
      count: 1,
    });
  }
  return parts;
}

/** Events of older versions, counted as records pass by. */
export class OlderEvents {
  readonly #found = new Map<string, OlderPart>();

  /** Gives back the record in its newest form. @throws ProjectionError PROJECTION_EVENT_UNKNOWN. */
  see(record: LogRecord): LogRecord {
    const newest = newestForm(record);
    if (newest === record) return record;
    const { kind, version } = record;
    const key = `${kind}.${version}`;
    const count = (this.#found.get(key)?.count ?? 0) + 1;
    this.#found.set(key, { part: `events of kind ${kind}`, version, newest: newest.version, count });
    return newest;
  }

  get parts(): OlderPart[] {
    return [...this.#found.values()];
  }
}

/**
 * Those that a start can tell of without reading the log: of the records that begin an epoch, the only ones so far that have had
 * another version.
 */
export async function olderBeginnings(log: LogReader): Promise<OlderPart[]> {
  const older = new OlderEvents();
  for (const { first } of log.epochs) {
    if (first < log.firstOffset) continue;
    for await (const batch of log.read(first, { last: first })) batch.map((record) => older.see(record));
  }
  return older.parts;
}

export const partText = ({ part, version, newest, count }: OlderPart): string =>
  `${part}: version ${version} of ${newest}${count === 1 ? "" : `, ${count} of them`}`;
