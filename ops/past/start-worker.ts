/** Starts the thread that looks back, with bounds of its own: past them it ends, and the process goes on. */
import { Worker } from "node:worker_threads";
import type { Thread } from "./past-thread.js";
import type { PastThreadSettings } from "./question.js";

/** What the thread takes beside the states that it keeps. */
const HEAP_BESIDE_MIB = 512;

export function startWorker(settings: PastThreadSettings): Thread {
  const worker = new Worker(new URL("./worker.js", import.meta.url), {
    name: "annals-past",
    workerData: settings,
    resourceLimits: { maxOldGenerationSizeMb: settings.values["past.memory_mb"] + HEAP_BESIDE_MIB },
  });
  // Whoever waits for an answer has a connection that keeps the process; the thread alone must not.
  worker.unref();
  return worker;
}
