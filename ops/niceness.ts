/** The priority of a thread that works beside the one that serves. */
import { setPriority } from "node:os";

/** Of the thread that calls. On Linux it is the thread that has a priority, elsewhere the process, which is to keep its own. */
export function makeThreadNice(niceness: number): void {
  if (process.platform === "linux") setPriority(niceness);
}
