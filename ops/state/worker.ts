/**
 * The entry of a state worker's thread: runs jobs, and tells of their progress and their ends. It reads and writes files only; what that
 * costs, memory and time, the thread that serves does not feel.
 */
import { parentPort, workerData } from "node:worker_threads";
import { assert, realFileSystem } from "../../log/index.js";
import { makeThreadNice, shortStretches } from "../niceness.js";
import { pastService } from "../past/past-service.js";
import type { FromWorker, Job, JobResult, ToWorker, WorkerSettings } from "./jobs.js";
import { perform, type Workplace } from "./perform.js";

assert(parentPort !== null, "this file is the entry of a thread");
const port = parentPort;
const { niceness, past } = workerData as WorkerSettings;
const service = past === undefined ? undefined : pastService(past);
makeThreadNice(niceness);
/** A thread of the server's own priority is as important as that. */
const beside = niceness === 0 ? {} : { giveWay: shortStretches(() => performance.now()) };

const PROGRESS_MS = 200;
const running = new Map<number, AbortController>();
const post = (message: FromWorker): void => port.postMessage(message);

port.on("message", (message: ToWorker) => {
  if (message.type === "cancel") running.get(message.id)?.abort();
  else void run(message);
});

function resultOf(job: Job, place: Workplace & { readonly signal: AbortSignal }): Promise<JobResult> {
  if (job.type !== "past") return perform(job, place);
  assert(service !== undefined, "a thread that looks back was started for it");
  return service.answer(job, place.signal);
}

async function run({ id, job }: ToWorker & { type: "run" }): Promise<void> {
  const cancel = new AbortController();
  running.set(id, cancel);
  let toldAt = performance.now();
  try {
    const result = await resultOf(job, {
      files: realFileSystem,
      now: Date.now,
      stopwatch: () => performance.now(),
      signal: cancel.signal,
      ...beside,
      onProgress: (progress) => {
        if (performance.now() - toldAt < PROGRESS_MS) return;
        toldAt = performance.now();
        post({ type: "progress", id, progress });
      },
    });
    post({ type: "done", id, result });
  } catch (error) {
    const { message, stack } = error instanceof Error ? error : new Error(String(error));
    const found: unknown = error instanceof Error && "code" in error ? error.code : undefined;
    post({ type: "failed", id, message, stack, code: typeof found === "string" ? found : undefined });
  } finally {
    running.delete(id);
  }
}
