/**
 * A test that fails while the machine stands still says so by one more error, and is run again for that (`retry` of `vitest.config.ts`): what
 * fails on a machine that keeps up has failed.
 */
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, inject } from "vitest";
import { STOOD_STILL, type Stall } from "./stalls.js";

/** Until a stall that is just over has been told. */
const TOLD_MS = 300;

afterEach(async ({ task }) => {
  if (task.result?.state !== "fail") return;
  await sleep(TOLD_MS);
  const since = task.result.startTime ?? 0;
  const longest = Math.max(
    ...stallsSeen()
      .filter(({ toMs }) => toMs >= since)
      .map(({ fromMs, toMs }) => toMs - fromMs),
  );
  if (longest > 0) throw new Error(`${STOOD_STILL}, for ${longest} ms`);
});

function stallsSeen(): Stall[] {
  const path = inject("stalls");
  if (!existsSync(path)) return [];
  return readFileSync(path, "utf8")
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
}
