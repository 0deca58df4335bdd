/**
 * Watches for as long as the suite runs whether the machine stands still: processes that get no turn, a disk that takes no write. It runs in
 * vitest's own process, which tests don't keep busy, and tells the workers by a file of one line a stall (`stood-still.ts`).
 */
import { appendFileSync } from "node:fs";
import { mkdtemp, open, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { Stalls } from "./stalls.js";

/** Tests leave what they wait for some seconds. */
const STALL_MS = 1500;

declare module "vitest" {
  interface ProvidedContext {
    stalls: string;
  }
}

export default async function watch(project: TestProject): Promise<() => Promise<void>> {
  const directory = await mkdtemp(join(tmpdir(), "annals-stalls-"));
  const seen = join(directory, "seen");
  const file = await open(join(directory, "beats"), "w");
  const beat = async (): Promise<void> => {
    await file.write("beat", 0);
    await file.datasync();
  };
  const stalls = new Stalls(beat, STALL_MS, (stall) => appendFileSync(seen, `${JSON.stringify(stall)}\n`));
  project.provide("stalls", seen);
  return async () => {
    await stalls.stop();
    await file.close();
    await rm(directory, { recursive: true });
  };
}
