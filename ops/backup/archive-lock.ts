/**
 * The lock of the archive's repository, asked for by the thread that archives and taken by the main thread: that of a directory is
 * the main thread's alone to take. Both ends are here. A thread that ends gives back what it was lent.
 */
import {
  ArchiveFailure,
  type Failure,
  type FromArchiver,
  failureOf,
  type ToArchiver,
} from "./archive-job.js";
import type { ObjectStore, StoreLock } from "./object-store.js";

export type TakeLock = ObjectStore["lock"];

/** The thread's end. */
export class AskedLocks {
  readonly #post: (message: FromArchiver) => void;
  readonly #asked = new Map<number, (failure: Failure | undefined) => void>();
  #ids = 0;

  constructor(post: (message: FromArchiver) => void) {
    this.#post = post;
  }

  /** @throws ArchiveFailure with the code of what failed, among them BACKUP_LOCKED. */
  readonly lock: TakeLock = async (holder, owner) => {
    const id = ++this.#ids;
    await this.#ask({ type: "lock", id, holder, owner });
    return { release: () => this.#ask({ type: "unlock", id }) };
  };

  hear({ id, failure }: Extract<ToArchiver, { type: "lockDone" }>): void {
    this.#asked.get(id)?.(failure);
    this.#asked.delete(id);
  }

  async #ask(message: Extract<FromArchiver, { type: "lock" | "unlock" }>): Promise<void> {
    const failure = await new Promise<Failure | undefined>((resolve) => {
      this.#asked.set(message.id, resolve);
      this.#post(message);
    });
    if (failure !== undefined) throw new ArchiveFailure(failure);
  }
}

/** The main thread's end, of one thread that archives. */
export class LentLocks {
  readonly #take: TakeLock;
  readonly #answer: (message: ToArchiver) => void;
  readonly #lent = new Map<number, StoreLock>();
  #isOver = false;

  constructor(take: TakeLock, answer: (message: ToArchiver) => void) {
    this.#take = take;
    this.#answer = answer;
  }

  async lend({ id, holder, owner }: Extract<FromArchiver, { type: "lock" }>): Promise<void> {
    await this.#tell(id, async () => {
      const lock = await this.#take(holder, owner);
      if (this.#isOver) await lock.release();
      else this.#lent.set(id, lock);
    });
  }

  async takeBack(id: number): Promise<void> {
    await this.#tell(id, () => this.#release(id));
  }

  /** The thread has ended. @throws what giving back throws. */
  async takeAllBack(): Promise<void> {
    this.#isOver = true;
    for (const id of [...this.#lent.keys()]) await this.#release(id);
  }

  async #release(id: number): Promise<void> {
    const lock = this.#lent.get(id);
    this.#lent.delete(id);
    await lock?.release();
  }

  async #tell(id: number, work: () => Promise<void>): Promise<void> {
    const failure = await work().then(() => undefined, failureOf);
    if (!this.#isOver) this.#answer({ type: "lockDone", id, failure });
  }
}
