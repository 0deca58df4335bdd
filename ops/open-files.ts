/** How many connections the files that this process may have open leave room for. A connection that cannot be taken hurts one client; a log that cannot open its next segment ends the server. */
import { readFileSync } from "node:fs";
import { errnoOf } from "../log/index.js";

/** Segments, indexes, snapshots, threads. */
const KEPT_FILES = 256;

/** @param linksMax sockets that other nodes, or whoever reaches the port for them, may have open */
export function connectionsThatFit(openFilesMax: number, linksMax: number): number {
  return Math.max(1, openFilesMax - Math.min(KEPT_FILES + linksMax, Math.floor(openFilesMax / 2)));
}

/** Of this process, as Linux tells it; elsewhere, or where there is none, infinite. */
export function openFilesMax(): number {
  if (process.platform !== "linux") return Number.POSITIVE_INFINITY;
  try {
    const [, most] = /^Max open files +(\d+)/m.exec(readFileSync("/proc/self/limits", "latin1")) ?? [];
    return most === undefined ? Number.POSITIVE_INFINITY : Number(most);
  } catch (error) {
    // Without /proc there is no telling.
    if (errnoOf(error) === undefined) throw error;
    return Number.POSITIVE_INFINITY;
  }
}
