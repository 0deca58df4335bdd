/** The archive of a server, put together from its settings. */
import { resolve } from "node:path";
import type { OpenedLog } from "../../log/index.js";
import type { ConfigValues } from "../config/settings.js";
import type { Logger } from "../logging.js";
import { ContinuousArchive } from "./archive.js";
import type { TakeLock } from "./archive-lock.js";
import { ArchiveSweep } from "./archive-sweep.js";
import { ArchiveThread, startArchiveWorker } from "./archive-thread.js";
import type { ObjectStore } from "./object-store.js";
import { openObjectStore } from "./open-object-store.js";

export interface ServerArchiveOptions {
  readonly values: ConfigValues;
  readonly dataDirectory: string;
  readonly opened: OpenedLog;
  readonly now: () => number;
  readonly stopwatch: () => number;
  readonly logger: Logger;
}

/** Behind the thread that serves, and still with a share when the machine is busy: what is not archived holds the log. */
const NICENESS = 5;
/** How long an object has had no name before it is removed. */
const GRACE_MS = 6 * 60 * 60 * 1000;

/** Undefined when the server has no archive. */
export function startArchive(options: ServerArchiveOptions): ContinuousArchive | undefined {
  const { values, dataDirectory, opened, now, stopwatch, logger } = options;
  const url = values["archive.url"];
  if (url === "") return undefined;
  const settings = {
    url,
    dataDirectory: resolve(dataDirectory),
    keepDays: values["archive.keep_days"],
    keepSnapshots: values["archive.keep_snapshots"],
    niceness: NICENESS,
  };
  let store: ObjectStore | undefined;
  let swept: ArchiveSweep | undefined;
  // Here and not in the archiver's thread: the lock of a directory is the main thread's to take.
  const open = async (): Promise<ObjectStore> => {
    store ??= await openObjectStore(url, process.env);
    return store;
  };
  const takeLock: TakeLock = async (holder, owner) => (await open()).lock(holder, owner);
  const sweepOptions = { holder: `annals serve, pid ${process.pid}`, stopwatch, graceMs: GRACE_MS };
  return new ContinuousArchive({
    url,
    log: opened.log,
    usage: opened.usage,
    intervalMs: values["archive.interval_secs"] * 1000,
    start: (events) => new ArchiveThread(() => startArchiveWorker(settings), events, takeLock),
    sweep: async () => {
      swept ??= new ArchiveSweep(await open(), sweepOptions);
      return swept.run();
    },
    now,
    stopwatch,
    logger,
  });
}
