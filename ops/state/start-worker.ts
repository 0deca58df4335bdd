/**
 * Starts the threads of the state workers, with bounds of their own: past them a thread ends, and the process goes on. Whoever waits for
 * one has a connection that keeps the process; the thread alone must not.
 */
import { getHeapStatistics } from "node:v8";
import { Worker } from "node:worker_threads";
import type { PastThreadSettings } from "../past/question.js";
import type { WorkerSettings } from "./jobs.js";
import type { WorkerThread } from "./state-worker.js";

const MIB = 1_048_576;
/** What a thread takes beside the states that it keeps. */
const HEAP_BESIDE_MIB = 512;

/** For snapshots. Its heap may take what the server's own may: the state that it folds is as large. */
export function startSnapshotThread(niceness: number): WorkerThread {
  return start("annals-state", { niceness }, Math.ceil(getHeapStatistics().heap_size_limit / MIB));
}

/** For looks at the past. Somebody waits for each, so it has the priority of everything else. */
export function startPastThread(past: PastThreadSettings): WorkerThread {
  return start("annals-past", { niceness: 0, past }, past.values["past.memory_mb"] + HEAP_BESIDE_MIB);
}

function start(name: string, workerData: WorkerSettings, maxOldGenerationSizeMb: number): WorkerThread {
  const entry = new URL("./worker.js", import.meta.url);
  const worker = new Worker(entry, { name, workerData, resourceLimits: { maxOldGenerationSizeMb } });
  worker.unref();
  return worker;
}
