/** The archive of a server, put together from its settings. */
import { resolve } from "node:path";
import type { OpenedLog } from "../../log/index.js";
import type { ConfigValues } from "../config/settings.js";
import type { Logger } from "../logging.js";
import { ContinuousArchive } from "./archive.js";
import { ArchiveSweep } from "./archive-sweep.js";
import { ArchiveThread, startArchiveWorker } from "./archive-thread.js";
import { openObjectStore } from "./open-object-store.js";

export interface ServerArchiveOptions {
  readonly values: ConfigValues;
  readonly dataDirectory: string;
  readonly opened: OpenedLog;
  readonly now: () => number;
  readonly stopwatch: () => number;
  readonly logger: Logger;
}

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
  };
  let swept: Promise<ArchiveSweep> | undefined;
  // Here and not in the archiver's thread: the lock of a directory is the main thread's to take.
  const openSweep = async (): Promise<ArchiveSweep> => {
    const store = await openObjectStore(url, process.env);
    return new ArchiveSweep(store, {
      holder: `annals serve, pid ${process.pid}`,
      stopwatch,
      graceMs: GRACE_MS,
    });
  };
  return new ContinuousArchive({
    url,
    log: opened.log,
    usage: opened.usage,
    intervalMs: values["archive.interval_secs"] * 1000,
    start: (events) => new ArchiveThread(() => startArchiveWorker(settings), events),
    sweep: async () => {
      swept ??= openSweep();
      return (await swept).run();
    },
    now,
    stopwatch,
    logger,
  });
}
