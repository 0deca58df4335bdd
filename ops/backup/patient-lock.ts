/**
 * The lock of a repository, waited for: a server that archives there has it for a moment now and then, and a backup that a timer starts
 * should not fail over that.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { BackupError } from "./errors.js";
import type { ObjectStore, StoreLock } from "./object-store.js";

export interface Patience {
  /** After so long it is given up. */
  readonly waitMs: number;
  /** Ms by a steady clock. */
  readonly stopwatch: () => number;
  /** Told once, with what says who has it. */
  readonly onWait: (refused: BackupError) => void;
}

/** Between two attempts: a service is asked not too often, and what is free is soon noticed. */
const PAUSE_MS = 500;

/**
 * Without patience one attempt.
 * @throws BackupError BACKUP_LOCKED when somebody else has it still, BACKUP_STORE_FAILED.
 */
export async function lockWith(
  patience: Patience | undefined,
  store: ObjectStore,
  holder: string,
): Promise<StoreLock> {
  const begun = patience?.stopwatch() ?? 0;
  for (let isFirst = true; ; isFirst = false)
    try {
      return await store.lock(holder);
    } catch (error) {
      if (!(error instanceof BackupError) || error.code !== "BACKUP_LOCKED" || patience === undefined)
        throw error;
      const leftMs = begun + patience.waitMs - patience.stopwatch();
      if (leftMs <= 0) throw error;
      if (isFirst) patience.onWait(error);
      await sleep(Math.min(PAUSE_MS, leftMs));
    }
}
