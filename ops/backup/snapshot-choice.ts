/**
 * Which snapshot goes with a backup. One is enough: a start loads it and reads the records after it. A newer one is sent only
 * when it is no larger than the records that it saves to read, so that snapshots never cost more than the log itself.
 */
import { errnoOf, type FileSystem, type LogView, type Offset, SNAPSHOT_DIRECTORY } from "../../log/index.js";
import { snapshotNames, verifySnapshot } from "../../projections/index.js";
import { BackupError } from "./errors.js";
import type { Manifest, SnapshotEntry } from "./manifest.js";
import { type SendOptions, type SentFile, sendSnapshot } from "./send.js";

export type SnapshotNote = NonNullable<Manifest["snapshot"]>;

export interface ChosenSnapshot {
  readonly mark: SnapshotNote;
  readonly file: SentFile<SnapshotEntry>;
}

export interface SnapshotChoice {
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly view: LogView;
  /** What the newest backup has; it may be another log's. */
  readonly previous: Manifest | undefined;
  /** Up to here this log and that of the newest backup are known to be the same. */
  readonly agreedOffset: number;
  readonly send: SendOptions;
  readonly onWarning: (warning: string) => void;
}

interface Candidate {
  readonly name: string;
  readonly offset: Offset;
  readonly bytes: number;
}

/**
 * Undefined when there is none and the log can do without.
 * @throws BackupError BACKUP_SNAPSHOT_MISSING when it can't.
 */
export async function chooseSnapshot(choice: SnapshotChoice): Promise<ChosenSnapshot | undefined> {
  const known = knownSnapshot(choice);
  for (const candidate of await candidates(choice)) {
    if (known !== undefined && !isWorthIt(choice, candidate, known.file.entry)) break;
    const chosen = await tryToSend(choice, candidate);
    if (chosen !== undefined) return chosen;
  }
  if (known === undefined && choice.view.firstOffset > 1) throw await missing(choice);
  return known;
}

/** `newer`: of a snapshot beyond what is backed up. Those that reached up to it have gone meanwhile, for that one. */
async function missing({ files, dataDirectory, view }: SnapshotChoice): Promise<BackupError> {
  const { firstOffset, endOffset } = view;
  const names = await snapshotNames(files, `${dataDirectory}/${SNAPSHOT_DIRECTORY}`);
  const newer = names.find(({ offset }) => offset > endOffset)?.offset;
  return new BackupError(
    "BACKUP_SNAPSHOT_MISSING",
    `the log begins at offset ${firstOffset} and there is no snapshot that reaches up to it`,
    { directory: dataDirectory, firstOffset, newer },
  );
}

/** The snapshot of the newest backup, if it is of this log and reaches what is left of it. */
function knownSnapshot({ previous, agreedOffset, view, send }: SnapshotChoice): ChosenSnapshot | undefined {
  const mark = previous?.snapshot ?? undefined;
  if (mark === undefined || mark.offset > agreedOffset || mark.offset < view.firstOffset - 1)
    return undefined;
  const entry = previous?.files.find((file) => file.kind === "snapshot" && file.name === mark.name);
  if (entry?.kind !== "snapshot" || send.there.get(entry.name) !== entry.bytes) return undefined;
  return { mark, file: { entry, how: "there" } };
}

/** Of the data directory, newest first. */
async function candidates({ files, dataDirectory, view }: SnapshotChoice): Promise<Candidate[]> {
  const directory = `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
  const found: Candidate[] = [];
  for (const { name, offset } of await snapshotNames(files, directory)) {
    if (offset > view.endOffset || offset < view.firstOffset - 1) continue;
    const status = await files.stat(`${directory}/${name}`);
    if (status !== undefined) found.push({ name, offset, bytes: status.bytes });
  }
  return found.sort((a, b) => b.offset - a.offset);
}

function isWorthIt({ view }: SnapshotChoice, candidate: Candidate, known: SnapshotEntry): boolean {
  if (candidate.offset <= known.offset) return false;
  return candidate.bytes <= bytesBetween(view, known.offset, candidate.offset);
}

/** About how many bytes of records lie in (after, last]. */
function bytesBetween(view: LogView, after: number, last: number): number {
  let bytes = 0;
  for (const extent of view.extents) {
    const records = extent.lastOffset - extent.firstOffset + 1;
    const within = Math.min(last, extent.lastOffset) - Math.max(after, extent.firstOffset - 1);
    if (within > 0) bytes += (extent.bytes * within) / records;
  }
  return bytes;
}

/** Only what is whole and of this log goes with a backup: a start would pass over the rest. */
async function tryToSend(choice: SnapshotChoice, candidate: Candidate): Promise<ChosenSnapshot | undefined> {
  const { files, dataDirectory, view, onWarning } = choice;
  const directory = `${dataDirectory}/${SNAPSHOT_DIRECTORY}`;
  try {
    const { info, problem } = await verifySnapshot(files, `${directory}/${candidate.name}`);
    if (info === undefined || !(await view.agrees(info))) {
      onWarning(`snapshot ${candidate.name} was passed over: ${problem?.message ?? "it is of another log"}`);
      return undefined;
    }
    const file = await sendSnapshot(choice.send, directory, candidate.name, candidate.offset);
    const { offset, crc, clock, digests } = info;
    return { mark: { name: file.entry.name, offset, crc, clock, digests: { ...digests } }, file };
  } catch (error) {
    // The server keeps its newest ones only; an older one may go while we read it.
    if (errnoOf(error) !== "ENOENT") throw error;
    onWarning(`snapshot ${candidate.name} was removed while it was read`);
    return undefined;
  }
}
