/** The entry of the thread that archives: one request after the other, with the store opened by the first. */
import { parentPort, workerData } from "node:worker_threads";
import { assert, offset, realFileSystem } from "../../log/index.js";
import { makeThreadNice } from "../niceness.js";
import { type ArchiveSettings, type FromArchiver, failureOf, type ToArchiver } from "./archive-job.js";
import { AskedLocks } from "./archive-lock.js";
import { type ArchiveReport, ArchiveWriter } from "./archive-writer.js";
import { BoundedBreaks, type Breaks } from "./breaks.js";
import { openObjectStore } from "./open-object-store.js";

assert(parentPort !== null, "this file is the entry of a thread");
const port = parentPort;
const { url, dataDirectory, keepDays, keepSnapshots, niceness } = workerData as ArchiveSettings;
const post = (message: FromArchiver): void => port.postMessage(message);
/** Requests that wait or run. */
const resting = new Set<BoundedBreaks>();
const locks = new AskedLocks(post);
makeThreadNice(niceness);
let writer: ArchiveWriter | undefined;
let before: Promise<void> = Promise.resolve();

port.on("message", (message: ToArchiver) => {
  // At once: a request waits for the one, and rests until the other.
  if (message.type === "lockDone") locks.hear(message);
  else if (message.type === "hurry") for (const breaks of resting) breaks.hurry();
  else before = before.then(request(message));
});

function request({ id, last, restMsMax }: Extract<ToArchiver, { type: "bringUpTo" }>): () => Promise<void> {
  const breaks = new BoundedBreaks(restMsMax, () => performance.now());
  resting.add(breaks);
  return async () => {
    try {
      post({ type: "done", id, report: await bringUpTo(last, breaks) });
    } catch (error) {
      post({ type: "failed", id, failure: failureOf(error) });
    } finally {
      resting.delete(breaks);
    }
  };
}

async function bringUpTo(last: number, breaks: Breaks): Promise<ArchiveReport | undefined> {
  writer ??= new ArchiveWriter({
    files: realFileSystem,
    dataDirectory,
    store: await openObjectStore(url, process.env),
    rules: { keepDays, keepSnapshots },
    lock: locks.lock,
    now: Date.now,
    onUpload: (kind, bytes) => post({ type: "uploaded", kind, bytes }),
    onWarning: (warning) => post({ type: "warning", warning }),
  });
  return writer.bringUpTo(offset(last), breaks);
}
