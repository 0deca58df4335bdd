/**
 * What two states have that differs, key by key, queue by queue, stream by stream: as their digests see it. Names come in order
 * within a kind; a name that both have alike is not told.
 */
import type { Fold } from "./fold.js";
import type { KvEntry } from "./kv/contract.js";
import { fingerprintOf as queueFingerprint } from "./queue/digest.js";
import { fingerprintOf as streamFingerprint } from "./stream/digest.js";

export type DifferenceKind = "key" | "queue" | "stream";

export interface Difference {
  readonly kind: DifferenceKind;
  readonly name: string;
  readonly change: "added" | "changed" | "removed";
  /** Of a changed key: its value and type are what they were; it was written again, or its expiry moved. */
  readonly sameValue?: true;
}

/** Each state is judged at its time (ms since 1970), at the earliest at its own clock. */
export function* differences(before: Fold, after: Fold, beforeAt = 0, afterAt = 0): Generator<Difference> {
  const [was, is] = [judged(before, beforeAt), judged(after, afterAt)];
  yield* keyDifferences(was, is);
  yield* namedDifferences("queue", queueFingerprints(was), queueFingerprints(is));
  yield* namedDifferences("stream", streamFingerprints(before), streamFingerprints(after));
}

interface Judged {
  readonly fold: Fold;
  readonly time: number;
}

const judged = (fold: Fold, at: number): Judged => ({ fold, time: Math.max(at, fold.clock) });

function* keyDifferences(before: Judged, after: Judged): Generator<Difference> {
  const names = new Set([...liveKeys(before), ...liveKeys(after)]);
  for (const name of [...names].sort()) {
    const [was, is] = [before.fold.kv.get(name, before.time), after.fold.kv.get(name, after.time)];
    if (is === undefined) yield { kind: "key", name, change: "removed" };
    else if (was === undefined) yield { kind: "key", name, change: "added" };
    else if (was.revision !== is.revision || was.expiresAt !== is.expiresAt || !isSameValue(was, is)) {
      const changed = { kind: "key", name, change: "changed" } as const;
      yield isSameValue(was, is) ? { ...changed, sameValue: true } : changed;
    }
  }
}

function isSameValue(was: KvEntry, is: KvEntry): boolean {
  return was.bytes === is.bytes && was.contentType === is.contentType;
}

function* liveKeys({ fold, time }: Judged): Generator<string> {
  const { table } = fold.kv;
  for (const slot of table.slots()) {
    const key = table.isExpired(slot, time) ? undefined : table.keyAt(slot);
    if (key !== undefined) yield key;
  }
}

function queueFingerprints({ fold: { queue }, time }: Judged): Map<string, string> {
  return new Map([...queue.queues()].map((each) => [each.name, queueFingerprint(each, queue, time)]));
}

function streamFingerprints({ stream }: Fold): Map<string, string> {
  return new Map([...stream.streams.values()].map((each) => [each.name, streamFingerprint(each)]));
}

function* namedDifferences(
  kind: DifferenceKind,
  before: ReadonlyMap<string, string>,
  after: ReadonlyMap<string, string>,
): Generator<Difference> {
  for (const name of [...new Set([...before.keys(), ...after.keys()])].sort()) {
    if (!after.has(name)) yield { kind, name, change: "removed" };
    else if (!before.has(name)) yield { kind, name, change: "added" };
    else if (before.get(name) !== after.get(name)) yield { kind, name, change: "changed" };
  }
}
