/** The entry of the thread that archives: one request after the other, with the store opened by the first. */
import { parentPort, workerData } from "node:worker_threads";
import { assert, offset, realFileSystem } from "../../log/index.js";
import { type ArchiveSettings, type FromArchiver, failureOf, type ToArchiver } from "./archive-job.js";
import { AskedLocks } from "./archive-lock.js";
import { type ArchiveReport, ArchiveWriter } from "./archive-writer.js";
import { openObjectStore } from "./open-object-store.js";

assert(parentPort !== null, "this file is the entry of a thread");
const port = parentPort;
const { url, dataDirectory, keepDays, keepSnapshots } = workerData as ArchiveSettings;
const post = (message: FromArchiver): void => port.postMessage(message);
const locks = new AskedLocks(post);
let writer: ArchiveWriter | undefined;
let before: Promise<void> = Promise.resolve();

port.on("message", (message: ToArchiver) => {
  // At once: it is what a request waits for.
  if (message.type === "lockDone") locks.hear(message);
  else before = before.then(() => answer(message));
});

async function answer({ id, last }: Extract<ToArchiver, { type: "bringUpTo" }>): Promise<void> {
  try {
    post({ type: "done", id, report: await bringUpTo(last) });
  } catch (error) {
    post({ type: "failed", id, failure: failureOf(error) });
  }
}

async function bringUpTo(last: number): Promise<ArchiveReport | undefined> {
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
  return writer.bringUpTo(offset(last));
}
