/**
 * Archives in a thread of its own. However the thread ends, the process goes on: whoever waits is told, and the next request
 * starts another, which finds in the archive how far the last one came.
 */
import { Worker } from "node:worker_threads";
import { unreachable } from "../../log/index.js";
import { ArchiveFailure, type ArchiveSettings, type FromArchiver, type ToArchiver } from "./archive-job.js";
import { LentLocks, type TakeLock } from "./archive-lock.js";
import type { ArchiveReport, UploadKind } from "./archive-writer.js";

/** What carries out the archiving of a server. */
export interface Archiver {
  /**
   * Rests no longer than so many ms on the way. Undefined when there is nothing to archive yet.
   * @throws an error with the code of what failed.
   */
  bringUpTo(last: number, restMsMax: number): Promise<ArchiveReport | undefined>;
  /** What is under way rests no more. */
  hurry(): void;
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
  readonly #takeLock: TakeLock;
  readonly #waiting = new Map<number, (outcome: ArchiveReport | undefined | Error) => void>();
  #thread: Thread | undefined;
  #locks: LentLocks | undefined;
  #ids = 0;
  #closed = false;

  /** `takeLock` takes the lock of the repository for the thread. */
  constructor(start: () => Thread, events: ArchiverEvents, takeLock: TakeLock) {
    this.#start = start;
    this.#events = events;
    this.#takeLock = takeLock;
  }

  async bringUpTo(last: number, restMsMax: number): Promise<ArchiveReport | undefined> {
    if (this.#closed) throw shuttingDown();
    const thread = this.#thread ?? this.#begin();
    const id = ++this.#ids;
    const outcome = await new Promise<ArchiveReport | undefined | Error>((resolve) => {
      this.#waiting.set(id, resolve);
      thread.postMessage({ type: "bringUpTo", id, last, restMsMax });
    });
    if (outcome instanceof Error) throw outcome;
    return outcome;
  }

  hurry(): void {
    this.#thread?.postMessage({ type: "hurry" });
  }

  async close(): Promise<void> {
    this.#closed = true;
    const thread = this.#thread;
    if (thread === undefined) return;
    this.#lose(thread, shuttingDown());
    await thread.terminate();
  }

  #begin(): Thread {
    const thread = this.#start();
    const locks = new LentLocks(this.#takeLock, (message) => thread.postMessage(message));
    [this.#thread, this.#locks] = [thread, locks];
    thread.on("message", (message) => this.#hear(message, locks));
    thread.on("error", ({ message }) => this.#lose(thread, failure(message)));
    thread.on("exit", () => this.#lose(thread, failure("the thread that archives ended")));
    return thread;
  }

  #hear(message: FromArchiver, locks: LentLocks): void {
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
      case "lock":
        void locks.lend(message);
        break;
      case "unlock":
        void locks.takeBack(message.id);
        break;
      default:
        unreachable(message);
    }
  }

  #settle(id: number, outcome: ArchiveReport | undefined | Error): void {
    this.#waiting.get(id)?.(outcome);
    this.#waiting.delete(id);
  }

  #lose(thread: Thread, error: ArchiveFailure): void {
    if (thread !== this.#thread) return;
    const locks = this.#locks;
    [this.#thread, this.#locks] = [undefined, undefined];
    // Not waited for: a store that is away must not delay a stop, and the next process of this directory takes its own over.
    locks
      ?.takeAllBack()
      .catch((reason: unknown) => this.#events.onWarning(`its lock was not given back: ${String(reason)}`));
    for (const id of [...this.#waiting.keys()]) this.#settle(id, error);
  }
}

const failure = (message: string): ArchiveFailure =>
  new ArchiveFailure({ code: undefined, message, stack: undefined });

const shuttingDown = (): ArchiveFailure => failure("the server is shutting down");
