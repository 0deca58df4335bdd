/** Starts the thread of a state worker. What its heap may take is what the server's own may: the state that it folds is as large. */
import { getHeapStatistics } from "node:v8";
import { Worker } from "node:worker_threads";
import type { WorkerSettings } from "./jobs.js";
import type { WorkerThread } from "./state-worker.js";

const MIB = 1_048_576;

export function startStateWorker(settings: WorkerSettings): WorkerThread {
  return new Worker(new URL("./worker.js", import.meta.url), {
    name: "annals-state",
    workerData: settings,
    resourceLimits: { maxOldGenerationSizeMb: Math.ceil(getHeapStatistics().heap_size_limit / MIB) },
  });
}
