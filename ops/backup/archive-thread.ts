/**
 * Archives in a thread of its own. However the thread ends, the process goes on: whoever waits is told, and the next request
 * starts another, which finds in the archive how far the last one came.
 */
import { Worker } from "node:worker_threads";
import { ArchiveFailure, type ArchiveSettings, type FromArchiver, type ToArchiver } from "./archive-job.js";
import type { ArchiveReport, UploadKind } from "./archive-writer.js";

/** What carries out the archiving of a server. */
export interface Archiver {
  /** Undefined when there is nothing to archive yet. @throws an error with the code of what failed. */
  bringUpTo(last: number): Promise<ArchiveReport | undefined>;
  /** Ends what is under way, which then fails. */
  close(): Promise<void>;
}

export interface ArchiverEvents {
  readonly onUpload: (kind: UploadKind, bytes: number) => void;
  readonly onWarning: (warning: string) => void;
}

/** The part of a `Worker` that is used. */
export interface Thread {
  postMessage(message: ToArchiver): void;
  on(event: "message", listener: (message: FromArchiver) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
  on(event: "exit", listener: (code: number) => void): unknown;
  terminate(): Promise<unknown>;
}

export function startArchiveWorker(settings: ArchiveSettings): Thread {
  return new Worker(new URL("./archive-worker.js", import.meta.url), {
    name: "annals-archive",
    workerData: settings,
  });
}

export class ArchiveThread implements Archiver {
  readonly #start: () => Thread;
  readonly #events: ArchiverEvents;
  readonly #waiting = new Map<number, (outcome: ArchiveReport | undefined | Error) => void>();
  #thread: Thread | undefined;
  #ids = 0;

  constructor(start: () => Thread, events: ArchiverEvents) {
    this.#start = start;
    this.#events = events;
  }

  async bringUpTo(last: number): Promise<ArchiveReport | undefined> {
    const thread = this.#thread ?? this.#begin();
    const id = ++this.#ids;
    const outcome = await new Promise<ArchiveReport | undefined | Error>((resolve) => {
      this.#waiting.set(id, resolve);
      thread.postMessage({ id, last });
    });
    if (outcome instanceof Error) throw outcome;
    return outcome;
  }

  async close(): Promise<void> {
    const thread = this.#thread;
    if (thread === undefined) return;
    this.#lose(thread, "the server is shutting down");
    await thread.terminate();
  }

  #begin(): Thread {
    const thread = this.#start();
    this.#thread = thread;
    thread.on("message", (message) => this.#hear(message));
    thread.on("error", ({ message }) => this.#lose(thread, message));
    thread.on("exit", () => this.#lose(thread, "the thread that archives ended"));
    return thread;
  }

  #hear(message: FromArchiver): void {
    switch (message.type) {
      case "done":
        this.#settle(message.id, message.report);
        break;
      case "failed":
        this.#settle(message.id, new ArchiveFailure(message.failure));
        break;
      case "uploaded":
        this.#events.onUpload(message.kind, message.bytes);
        break;
      case "warning":
        this.#events.onWarning(message.warning);
        break;
    }
  }

  #settle(id: number, outcome: ArchiveReport | undefined | Error): void {
    this.#waiting.get(id)?.(outcome);
    this.#waiting.delete(id);
  }

  #lose(thread: Thread, message: string): void {
    if (thread !== this.#thread) return;
    this.#thread = undefined;
    const failure = new ArchiveFailure({ code: undefined, message, stack: undefined });
    for (const id of [...this.#waiting.keys()]) this.#settle(id, failure);
  }
}
