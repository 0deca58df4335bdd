/**
 * The one place where an event of an earlier version becomes one of the newest: a table of every kind that has had more than one
 * version, and one small function for each step from a version to the next. An upgrade takes a body and gives a body: it says the
 * same in the newer words, and what the older did not say it does not invent. It is never removed: every log is read for ever.
 *
 *   kind   event           from   what becomes of it
 *   1      epoch.started   1      the empty body says what it meant: the log was created
 *
 * To change the shape of an event: raise the version in its codec, make the reading of the old shape an upgrade here, let the codec
 * read through `upgraded`, and raise the version of the directory (`log/directory-format.ts`). A version that is raised without an
 * upgrade does not start: see `eventVersions`.
 */
import { assert, EPOCH_START_VERSION, EPOCH_STARTED, upgradeEpochStart1 } from "../log/index.js";
import { ProjectionError } from "./errors.js";

/** An event as it stands in the log. */
export interface StoredEvent {
  readonly kind: number;
  readonly version: number;
  readonly body: Uint8Array;
}

/** The body of one version as that of the next. */
type Upgrade = (body: Uint8Array) => Uint8Array;

export interface EventVersions {
  /** The one that is written. */
  readonly newest: number;
  /** The first leads from version 1 to 2, and so on, to the newest. */
  readonly upgrades: readonly Upgrade[];
}

const UPGRADES: ReadonlyMap<number, readonly Upgrade[]> = new Map([[EPOCH_STARTED, [upgradeEpochStart1]]]);

/** The versions of each kind, the log's own too; `written`: what the codecs write. */
export function eventVersions(written: Iterable<readonly [number, number]>): Map<number, EventVersions> {
  const all = new Map([[EPOCH_STARTED, EPOCH_START_VERSION], ...written]);
  return new Map(
    [...all].map(([kind, newest]) => {
      const upgrades = UPGRADES.get(kind) ?? [];
      assert(upgrades.length === newest - 1, `events of kind ${kind} can be read in every version`);
      return [kind, { newest, upgrades }];
    }),
  );
}

/**
 * The event in the newest version of its kind; the same object where it is that already.
 * @throws ProjectionError PROJECTION_EVENT_UNKNOWN.
 */
export function upgraded<Event extends StoredEvent>(
  event: Event,
  versions: ReadonlyMap<number, EventVersions>,
): Event {
  const known = versions.get(event.kind);
  if (known === undefined || event.version < 1 || event.version > known.newest) throw unknown(event, known);
  if (event.version === known.newest) return event;
  const steps = known.upgrades.slice(event.version - 1);
  const body = steps.reduce((older, upgrade) => upgrade(older), event.body);
  return { ...event, version: known.newest, body };
}

function unknown({ kind, version }: StoredEvent, known: EventVersions | undefined): ProjectionError {
  const reads = known === undefined ? "no event of that kind" : `versions 1 to ${known.newest}`;
  return new ProjectionError(
    "PROJECTION_EVENT_UNKNOWN",
    `event kind ${kind} version ${version} is not known to this release, which reads ${reads}`,
    { kind, version, expected: known?.newest },
  );
}
