/** A store on a log on a simulated disk, as one process of a simulated world sees it. */
import { type EventLog, type FsyncMode, openLog, SNAPSHOT_DIRECTORY } from "../../log/index.js";
import {
  DEFAULT_IDEMPOTENCY_RULES,
  DEFAULT_QUEUE_RULES,
  DEFAULT_STREAM_RULES,
  type OpenedStore,
  openStore,
  type SnapshotError,
  type StoreRules,
} from "../../projections/index.js";
import { DATA_DIRECTORY, worldLogOptions } from "./log-settings.js";
import type { SeededClock } from "./seeded-world.js";
import type { SimulatedDisk, SimulatedMount } from "./simulated-file-system.js";

export const WORLD_RULES: StoreRules = {
  kv: {
    maxMemoryBytes: 64 * 1024 * 1024,
    evictionPolicy: "noeviction",
    allowFlush: false,
    keyBytesMax: 4096,
    valueBytesMax: 64 * 1024,
  },
  queue: DEFAULT_QUEUE_RULES,
  stream: DEFAULT_STREAM_RULES,
  idempotency: DEFAULT_IDEMPOTENCY_RULES,
};

/** Where the snapshots of a world lie. */
export const SNAPSHOTS = `${DATA_DIRECTORY}/${SNAPSHOT_DIRECTORY}`;

export interface WorldStore {
  readonly log: EventLog;
  readonly store: OpenedStore;
  /** Whether it began with a snapshot. */
  readonly begunWith?: "snapshot" | undefined;
  /** Snapshots that it could not begin with. */
  readonly passedOver?: readonly SnapshotError[];
}

/** Opens log and store, in `always` unless told. `disguise` may put something between them: that is how bugs are planted in tests of tests. */
export async function openWorldStore(
  disk: SimulatedDisk,
  files: SimulatedMount,
  clock: SeededClock,
  disguise: (log: EventLog) => EventLog = (log) => log,
  fsyncMode: FsyncMode = "always",
): Promise<WorldStore> {
  const { log } = await openLog(worldLogOptions(disk, files, clock, fsyncMode));
  let begunWith: "snapshot" | undefined;
  const passedOver: SnapshotError[] = [];
  const store = await openStore({
    log: disguise(log),
    rules: WORLD_RULES,
    snapshots: { files, directory: SNAPSHOTS },
    onProgress: ({ step }) => {
      if (step === "snapshot") begunWith = "snapshot";
    },
    onWarning: (problem) => passedOver.push(problem),
    onDead: fail,
  });
  return { log, store, begunWith, passedOver };
}

function fail(error: Error): never {
  throw error;
}

/** A log that lets every answer go at once, as if nobody waited for the disk. */
export function withoutWaiting(log: EventLog): EventLog {
  return new Proxy(log, {
    get: (target, name) => {
      if (name === "committedOffset") return target.endOffset;
      if (name === "whenCommitted") return () => Promise.resolve();
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}
