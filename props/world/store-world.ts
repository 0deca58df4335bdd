/** A store on a log on a simulated disk, as one process of a simulated world sees it. */
import { type EventLog, type FsyncMode, openLog } from "../../log/index.js";
import {
  DEFAULT_IDEMPOTENCY_RULES,
  DEFAULT_QUEUE_RULES,
  DEFAULT_STREAM_RULES,
  type OpenedStore,
  openStore,
  REMOVED_KEYS_BYTES_MAX,
  type StoreRules,
} from "../../projections/index.js";
import { worldLogOptions } from "./log-settings.js";
import type { SeededClock } from "./seeded-world.js";
import type { SimulatedDisk, SimulatedMount } from "./simulated-file-system.js";

export const WORLD_RULES: StoreRules = {
  kv: {
    maxMemoryBytes: 64 * 1024 * 1024,
    evictionPolicy: "noeviction",
    allowFlush: false,
    keyBytesMax: 4096,
    valueBytesMax: 64 * 1024,
    removedKeysBytesMax: REMOVED_KEYS_BYTES_MAX,
  },
  queue: DEFAULT_QUEUE_RULES,
  stream: DEFAULT_STREAM_RULES,
  idempotency: DEFAULT_IDEMPOTENCY_RULES,
};

export interface WorldStore {
  readonly log: EventLog;
  readonly store: OpenedStore;
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
  const store = await openStore({ log: disguise(log), rules: WORLD_RULES, onDead: fail });
  return { log, store };
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
