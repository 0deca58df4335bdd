/**
 * Which history an offset belongs to. After a restore, or after the promotion of a replica that did not have everything, the numbers
 * go on from an earlier one, so an offset that was told before may name another record now. Every epoch has a lineage id that is
 * drawn at random; its first eight digits stand beside an offset in `X-Annals-Lineage`, and may be sent back with it. No two
 * epochs share a lineage, so a token needs no number of its epoch.
 */
import type { EpochEntry } from "../log/index.js";
import type { Replication } from "./replication.js";

const DIGITS = 8;

type Entry = Pick<EpochEntry, "epoch" | "first" | "lineageId">;
export type Epochs = readonly Entry[];

/** `lineage`: the first eight digits of the lineage id under which the offset was told. */
export interface MinOffset {
  readonly offset: number;
  readonly lineage: string | undefined;
}

/** Of the epoch that wrote, or will write, the record at `offset`; undefined when the log no longer knows. */
export function epochAt(epochs: Epochs, offset: number): Entry | undefined {
  return epochs.findLast(({ first }) => first <= offset);
}

export function lineageAt(epochs: Epochs, offset: number): string | undefined {
  const entry = epochAt(epochs, offset);
  return entry === undefined ? undefined : lineageOf(entry);
}

export function lineageOf({ lineageId }: Pick<Entry, "lineageId">): string {
  return lineageId.slice(0, DIGITS);
}

/**
 * Whether an offset that was told without its lineage may be of a lost history: of a release that did not tell it yet. Offsets
 * below the newest epoch's first are in every history that this log goes on from; the first epoch had none before it.
 */
export function mayBeLost(epochs: Epochs, offset: number): boolean {
  const newest = epochs[epochs.length - 1];
  return newest !== undefined && newest.epoch > 1 && offset >= newest.first;
}

/**
 * Whether the record that was told as `<offset>@<lineage>` is in this log, or will be. `lost`: a restore or a promotion has left it behind.
 * `unknown`: the log has nothing of that lineage; to a log that follows another it may still come, of any other it is lost.
 */
function standingOf(epochs: Epochs, offset: number, lineage: string): "ours" | "lost" | "unknown" {
  // What lies before every record lies in every history.
  if (offset === 0) return "ours";
  const at = epochs.findIndex(({ lineageId }) => lineageId.startsWith(lineage));
  const [oldest] = epochs;
  // Epochs that ended before the oldest record that is kept are forgotten: such an offset cannot be judged, and is in the past.
  if (at < 0) return oldest !== undefined && offset < oldest.first ? "ours" : "unknown";
  const [entry, next] = [epochs[at], epochs[at + 1]];
  const isLost = entry === undefined || offset < entry.first || (next !== undefined && offset >= next.first);
  return isLost ? "lost" : "ours";
}

/** Where nothing comes from another node: whether the record is not, and will not be, in this log. */
export function isLost(epochs: Epochs, offset: number, lineage: string): boolean {
  return standingOf(epochs, offset, lineage) !== "ours";
}

/**
 * What a node can say of the record that was told so: it is here, and may be shown; it is coming, of a lineage that the log has; its lineage
 * may be one that has not been heard of yet; or it is lost. Of a lineage that its log does not have a node that follows says the last
 * only when another record of the primary's is in that place.
 */
export function judged(
  { epochs, committedOffset }: { readonly epochs: Epochs; readonly committedOffset: number },
  { offset, lineage }: MinOffset,
  node: Pick<Replication, "isBehind" | "hasPrimarysLog"> | undefined,
): "here" | "coming" | "unheard" | "lost" {
  const standing = lineage === undefined ? "ours" : standingOf(epochs, offset, lineage);
  if (standing === "lost") return "lost";
  const isReached = offset <= committedOffset;
  if (standing === "ours") return isReached ? "here" : "coming";
  if (node?.isBehind !== true) return "lost";
  return isReached && node.hasPrimarysLog ? "lost" : "unheard";
}
