/**
 * The one way to a state at an offset: the newest snapshot that this log agrees with, then the records behind it; or every record.
 * A start, a new snapshot and a look at the past begin here alike.
 *
 * A snapshot is believed when its bytes are whole and the log, at the snapshot's offset, is the one that it was taken of. One that is
 * not is passed over with a warning for the one before it. What is never done is to begin empty where the log does not begin at
 * its first record: a state with a hole would be served as the truth.
 */
import { assert, errnoOf, LogError, type LogReader, type Offset, offset } from "../../log/index.js";
import { Fold } from "../fold.js";
import { goOn } from "../give-way.js";
import type {
  FoldedState,
  FoldProgress,
  FoldToOptions,
  SnapshotDirectory,
  SnapshotFacts,
} from "./contract.js";
import { SnapshotError } from "./errors.js";
import { inspectSnapshot, readSnapshot, snapshotNames } from "./read.js";

/**
 * @throws SnapshotError SNAPSHOT_MISSING when neither snapshots nor log reach back; ProjectionError when a record cannot be read;
 * LogError as `LogReader.read`; `signal.reason`.
 */
export async function foldTo(
  log: LogReader,
  snapshots: SnapshotDirectory | undefined,
  options: FoldToOptions,
): Promise<FoldedState> {
  const { fold, from } = await beginFold(log, snapshots, options);
  try {
    await readOn(log, fold, options.last ?? log.endOffset, options);
  } catch (error) {
    fold.close();
    throw error;
  }
  return { fold, from };
}

/** The state that the newest snapshot up to `last` gives, or the empty one; no record behind it is read. @throws as `foldTo`. */
export async function beginFold(
  log: LogReader,
  snapshots: SnapshotDirectory | undefined,
  options: FoldToOptions,
): Promise<FoldedState> {
  const last = options.last ?? log.endOffset;
  const passedOver: string[] = [];
  const begun =
    snapshots === undefined ? undefined : await fromSnapshot(log, snapshots, last, options, passedOver);
  if (begun === undefined && log.firstOffset > 1) throw missing(log.firstOffset, last, passedOver);
  return begun ?? { fold: new Fold(options), from: undefined };
}

async function fromSnapshot(
  log: LogReader,
  { files, directory }: SnapshotDirectory,
  last: Offset,
  options: FoldToOptions,
  passedOver: string[],
): Promise<{ fold: Fold; from: SnapshotFacts } | undefined> {
  // What the log has retired cannot be bridged by an older snapshot.
  const reach = offset(log.firstOffset - 1);
  const names = (await snapshotNames(files, directory)).filter(({ offset: at }) => at <= last && at >= reach);
  for (const { name } of names.reverse()) {
    const path = `${directory}/${name}`;
    const fold = new Fold(options);
    try {
      const found = await inspectSnapshot(files, path);
      if (!(await log.agrees(found))) throw foreign(name, found);
      const from = await readSnapshot(files, path, fold, {
        ...(options.signal === undefined ? {} : { signal: options.signal }),
        ...(options.giveWay === undefined ? {} : { giveWay: options.giveWay }),
        onProgress: (done, total) => options.onProgress?.({ step: "snapshot", done, total }),
      });
      return { fold, from };
    } catch (error) {
      fold.close();
      if (options.signal?.aborted === true || error instanceof LogError) throw error;
      const problem = error instanceof SnapshotError ? error : unreadable(name, error);
      passedOver.push(name);
      options.onWarning?.(problem);
    }
  }
  return undefined;
}

async function readOn(
  log: LogReader,
  fold: Fold,
  last: Offset,
  { signal, onProgress, giveWay = goOn }: FoldToOptions,
): Promise<void> {
  if (fold.offset >= last) return;
  const told: FoldProgress = { step: "log", done: 0, total: last };
  for await (const batch of readAhead(log.read(offset(fold.offset + 1), { last }))) {
    signal?.throwIfAborted();
    for (const record of batch) {
      fold.take(record);
      giveWay();
    }
    fold.reclaimExpired(fold.clock, batch.length);
    onProgress?.({ ...told, done: fold.offset });
  }
  assert(fold.offset === last, `the replay ended at ${fold.offset}, the log at ${last}`);
}

/** The next batch is on its way from the disk while the last one is folded. One batch ahead, never more. */
async function* readAhead<Batch>(batches: AsyncIterable<Batch>): AsyncGenerator<Batch, void> {
  const source = batches[Symbol.asyncIterator]();
  let next = source.next();
  try {
    for (;;) {
      const { done, value } = await next;
      if (done === true) return;
      next = source.next();
      // Whoever awaits it is told; nobody does when the fold ends early.
      next.catch(() => undefined);
      yield value;
    }
  } finally {
    await source.return?.();
  }
}

/** The disk does not give it back, or it was removed just now. What is no error of the system is a bug, and stays one. */
function unreadable(name: string, error: unknown): SnapshotError {
  const errno = errnoOf(error);
  if (errno === undefined) throw error;
  return new SnapshotError("SNAPSHOT_DAMAGED", `${name} cannot be read (${errno})`, { file: name }, error);
}

function foreign(name: string, { offset: at, crc, lineageId }: SnapshotFacts): SnapshotError {
  return new SnapshotError(
    "SNAPSHOT_FOREIGN",
    `${name} is not of this log: the record ${at} with crc ${crc} of lineage ${lineageId.slice(0, 8)} is not in it; move the file elsewhere`,
    { file: name, offset: at },
  );
}

function missing(first: Offset, last: Offset, passedOver: readonly string[]): SnapshotError {
  const tried =
    passedOver.length === 0 ? "there is none" : `these could not be used: ${passedOver.join(", ")}`;
  const least = first - 1;
  const of = least === last ? `${last}` : `${least} to ${last}`;
  // Of a moment before that no snapshot helps: the records behind it are gone.
  const why =
    last < least
      ? `and the state at offset ${last} lies before all that is known`
      : `and a snapshot of offset ${of} is needed to know what was before; ${tried}`;
  return new SnapshotError("SNAPSHOT_MISSING", `the log begins at offset ${first}, ${why}`, { first, last });
}
