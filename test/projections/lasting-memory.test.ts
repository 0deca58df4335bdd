import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { rolldown } from "rolldown";
import { expect, test } from "vitest";
import { lastingMemory } from "../../projections/lasting-memory.js";
import { realDirectory } from "../support/real-directory.js";

const MIB = 1024 * 1024;

/**
 * Takes a GiB in eight steps, with garbage that dies young, as a server makes it. After each it waits until V8 has collected its whole heap once
 * more. Prints how often it has.
 */
const TAKING = `
  import { constants, PerformanceObserver } from "node:perf_hooks";
  import { setTimeout } from "node:timers/promises";
  import { lastingMemory } from "./lasting-memory.js";
  let collections = 0;
  new PerformanceObserver((list) => {
    for (const { detail } of list.getEntries())
      if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) collections++;
  }).observe({ entryTypes: ["gc"] });
  let sum = 0;
  const work = () => {
    for (let each = 0; each < 5000; each++) sum += [each, sum % 7].length;
  };
  const held = [];
  for (let step = 1; step <= 8; step++) {
    for (let piece = 0; piece < 128; piece++) {
      held.push(lastingMemory(${MIB}));
      work();
    }
    for (let turn = 0; collections < step && turn < 500; turn++) {
      work();
      await setTimeout(20);
    }
  }
  console.log(collections);
`;

test("is all zeros", () => {
  const memory = lastingMemory(MIB);
  expect(memory.byteLength).toBe(MIB);
  expect(new Uint8Array(memory).every((byte) => byte === 0)).toBe(true);
});

test("V8 looks at it seldom, but it does", async () => {
  // In a process of its own: how soon V8 has collected depends on what else is in its heap.
  const cwd = await realDirectory();
  const input = fileURLToPath(new URL("../../projections/lasting-memory.ts", import.meta.url));
  const bundle = await rolldown({ input });
  await bundle.write({ file: join(cwd, "lasting-memory.js") });
  await bundle.close();
  const taking = ["--input-type=module", "-e", TAKING];
  const { stdout } = await promisify(execFile)(process.execPath, taking, { cwd });
  // It is told eight times. Of ArrayBuffers it would count eleven or twelve, of what it is not told of none.
  expect(Number(stdout)).toBeGreaterThanOrEqual(8);
  expect(Number(stdout)).toBeLessThan(11);
});
