/** Processes that a test started and did not end, because it failed or ran out of time: they end with the process that runs the tests. */
import type { ChildProcess } from "node:child_process";

const running = new Set<number>();

function endAll(): void {
  for (const id of running)
    try {
      process.kill(id, "SIGKILL");
    } catch {
      // It was gone already.
    }
}

/** @param isGroup it leads a process group, and all of that ends */
export function endsWithTests(child: ChildProcess, isGroup = false): void {
  const { pid } = child;
  if (pid === undefined) return;
  if (running.size === 0 && process.listenerCount("exit", endAll) === 0) {
    process.on("exit", endAll);
    // As whoever started it asks it to end.
    process.on("SIGTERM", () => process.exit(143));
  }
  const id = isGroup ? -pid : pid;
  running.add(id);
  child.once("exit", () => running.delete(id));
}
