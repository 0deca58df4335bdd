/**
 * The lock of a repository, waited for: a server that archives there has it for a moment now and then, and a backup that a timer starts
 * should not fail over that.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { BackupError } from "./errors.js";
import type { ObjectStore, StoreLock } from "./object-store.js";

export interface Patience {
  /** After so long, since it was first refused, it is given up. */
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
  let refusedAt: number | undefined;
  for (;;)
    try {
      return await store.lock(holder);
    } catch (error) {
      if (!(error instanceof BackupError) || error.code !== "BACKUP_LOCKED" || patience === undefined)
        throw error;
      const now = patience.stopwatch();
      const leftMs = (refusedAt ?? now) + patience.waitMs - now;
      if (leftMs <= 0) throw error;
      if (refusedAt === undefined) patience.onWait(error);
      refusedAt ??= now;
      await sleep(Math.min(PAUSE_MS, leftMs));
    }
}
