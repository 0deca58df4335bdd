/** Reads a snapshot back into a state, and looks through the snapshots of a directory. */
import { assert, errnoOf, type FileSystem, type Offset, parseSnapshotName } from "../../log/index.js";
import { ProjectionError } from "../errors.js";
import type { Fold } from "../fold.js";
import { type GiveWay, goOn } from "../give-way.js";
import type { SectionReader } from "../section.js";
import { BodyReader } from "../wire.js";
import type {
  ListedSnapshot,
  ReadSnapshotOptions,
  SnapshotCounts,
  SnapshotFacts,
  VerifiedSnapshot,
} from "./contract.js";
import { SnapshotError } from "./errors.js";
import { countsOf, SECTIONS } from "./sections.js";
import { damaged, readEnds, type TakeRows, walkSnapshot } from "./walk.js";

/**
 * Reads the state into a fold that has read nothing. When this throws, the fold holds a part of something and must not be used.
 * @throws SnapshotError SNAPSHOT_DAMAGED, SNAPSHOT_VERSION_UNKNOWN, SNAPSHOT_FOREIGN; `signal.reason`; what the file system throws.
 */
export async function readSnapshot(
  files: FileSystem,
  path: string,
  fold: Fold,
  options: ReadSnapshotOptions = {},
): Promise<SnapshotFacts> {
  const state = new StateReader(fold, options.giveWay);
  const name = path.slice(path.lastIndexOf("/") + 1);
  try {
    const info = await walkSnapshot(files, path, state.take, options);
    state.end();
    const counts = countsOf(fold);
    if (!areEqual(counts, info.counts)) {
      throw damaged(name, info.bytes, JSON.stringify(info.counts), JSON.stringify(counts));
    }
    fold.standAt(info.offset, info.clock);
    return info;
  } catch (error) {
    // Its checksums hold, so whoever wrote it wrote it so.
    if (error instanceof ProjectionError) throw damaged(name, 0, "rows of a state", error.message, error);
    throw error;
  }
}

/** Its header and its end. @throws as `readSnapshot`. */
export function inspectSnapshot(files: FileSystem, path: string): Promise<SnapshotFacts> {
  return readEnds(files, path);
}

/** Looks at every byte and builds no state. @throws what the file system throws. */
export async function verifySnapshot(
  files: FileSystem,
  path: string,
  options: ReadSnapshotOptions = {},
): Promise<VerifiedSnapshot> {
  try {
    return { info: await walkSnapshot(files, path, () => undefined, options) };
  } catch (error) {
    if (error instanceof SnapshotError) return { problem: error };
    throw error;
  }
}

/** Every file that has a snapshot's name, oldest first; none if there is no such directory. @throws what the file system throws. */
export async function listSnapshots(files: FileSystem, directory: string): Promise<ListedSnapshot[]> {
  const listed: ListedSnapshot[] = [];
  for (const { name, offset } of await snapshotNames(files, directory)) {
    try {
      listed.push({ name, offset, ...(await lookAt(files, `${directory}/${name}`)) });
    } catch (error) {
      // Somebody removed it since.
      if (errnoOf(error) !== "ENOENT") throw error;
    }
  }
  return listed;
}

/** The names alone, oldest first. */
export async function snapshotNames(
  files: FileSystem,
  directory: string,
): Promise<{ name: string; offset: Offset }[]> {
  if (!(await files.exists(directory))) return [];
  const names = (await files.list(directory)).flatMap((name) => {
    const parsed = parseSnapshotName(name);
    return parsed === undefined ? [] : [{ name, ...parsed }];
  });
  return names.sort((a, b) => a.offset - b.offset || a.timestamp - b.timestamp);
}

async function lookAt(
  files: FileSystem,
  path: string,
): Promise<{ bytes: number; info: SnapshotFacts } | { bytes: number; problem: SnapshotError }> {
  const bytes = await sizeOf(files, path);
  try {
    return { bytes, info: await readEnds(files, path) };
  } catch (error) {
    if (error instanceof SnapshotError) return { bytes, problem: error };
    throw error;
  }
}

async function sizeOf(files: FileSystem, path: string): Promise<number> {
  const handle = await files.open(path, "read");
  try {
    return await handle.size();
  } finally {
    await handle.close();
  }
}

/** Gives each section's rows to its projection. */
class StateReader {
  readonly #readers: ReadonlyMap<number, SectionReader>;
  readonly #body = new BodyReader();
  readonly #giveWay: GiveWay;

  constructor(fold: Fold, giveWay: GiveWay = goOn) {
    this.#giveWay = giveWay;
    assert(fold.offset === 0, "a snapshot is read into a fold that has read nothing");
    this.#readers = new Map(SECTIONS.map(({ number, reader }) => [number, reader(fold)]));
  }

  readonly take: TakeRows = (section, rows, formatVersion) => {
    const reader = this.#readers.get(section);
    assert(reader !== undefined, "a section is known");
    const body = this.#body;
    body.begin(rows);
    while (!body.isAtEnd) {
      reader.row(body, formatVersion);
      this.#giveWay();
    }
  };

  end(): void {
    for (const reader of this.#readers.values()) reader.end();
  }
}

function areEqual(a: SnapshotCounts, b: SnapshotCounts): boolean {
  return (
    a.keys === b.keys &&
    a.queues === b.queues &&
    a.messages === b.messages &&
    a.streams === b.streams &&
    a.answers === b.answers
  );
}
