/** Which snapshots stay. Decides and touches nothing. */
import type { Offset } from "../../log/index.js";

export interface Candidate {
  readonly name: string;
  readonly offset: Offset;
  /** Ms since 1970, of its last record. */
  readonly timestamp: number;
  /** Its ends hold, and the log continues it. */
  readonly usable: boolean;
}

export interface KeepingRules {
  /** Newest usable ones that stay. */
  readonly max: number;
  /** Those that stay whatever else holds, by name. */
  readonly anchors: ReadonlySet<string>;
  /** The window in which every moment is to stay within reach; undefined: none. */
  readonly window: { readonly beginsAt: number; readonly lengthMs: number } | undefined;
}

/**
 * Names of those that may go, oldest first; `candidates` are oldest first.
 *
 * Inside the window they are thinned out to `max` beside the newest ones, evenly in time, so that as the window moves there is
 * always one near its beginning: the log must be kept from there. What cannot be used goes once it is older than all that stay:
 * until then somebody may want to look at it.
 */
export function superfluous(candidates: readonly Candidate[], rules: KeepingRules): string[] {
  const usable = candidates.filter((candidate) => candidate.usable);
  const kept = new Set(rules.anchors);
  for (const { name } of usable.slice(-rules.max)) kept.add(name);
  for (const { name } of spread(usable, rules)) kept.add(name);
  const oldestKept = candidates.find(({ name }) => kept.has(name));
  return candidates
    .filter(({ name, usable: isUsable, offset }) => {
      if (kept.has(name)) return false;
      return isUsable || (oldestKept !== undefined && offset < oldestKept.offset);
    })
    .map(({ name }) => name);
}

/** The last one before the window, and from there one whenever a share of the window has passed since the one before. */
function spread(usable: readonly Candidate[], { window, max }: KeepingRules): Candidate[] {
  if (window === undefined) return [];
  const apart = window.lengthMs / max;
  const first = usable.findLastIndex(({ timestamp }) => timestamp < window.beginsAt);
  const taken: Candidate[] = [];
  for (const candidate of usable.slice(Math.max(0, first))) {
    const before = taken.at(-1);
    if (before === undefined || candidate.timestamp - before.timestamp >= apart) taken.push(candidate);
  }
  return taken;
}
