/** The timer of `fsync_mode: periodic`: syncs every interval while something is not synced, and rests otherwise. */

export interface PeriodicSyncOptions {
  readonly intervalMs: number;
  readonly unsynced: () => boolean;
  readonly sync: () => Promise<void>;
  readonly failed: (error: unknown) => void;
}

export class PeriodicSync {
  readonly #options: PeriodicSyncOptions;
  #timer: NodeJS.Timeout | undefined;
  #running = false;
  #stopped = false;

  constructor(options: PeriodicSyncOptions) {
    this.#options = options;
  }

  /** Something was written. The interval counts from the first write after a sync, so no record waits longer. */
  wrote(): void {
    if (this.#timer !== undefined || this.#running || this.#stopped) return;
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      void this.#sync();
    }, this.#options.intervalMs);
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #sync(): Promise<void> {
    this.#running = true;
    try {
      await this.#options.sync();
    } catch (error) {
      this.stop();
      this.#options.failed(error);
    }
    this.#running = false;
    if (this.#options.unsynced()) this.wrote();
  }
}
