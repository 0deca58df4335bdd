import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { rolldown } from "rolldown";
import { expect, test } from "vitest";
import { lastingMemory } from "../../projections/lasting-memory.js";
import { realDirectory } from "../support/real-directory.js";

const MIB = 1024 * 1024;

/** Takes a GiB in pieces of 1 MiB, with garbage that dies young between them, as a server makes it, and says how often V8 collected its whole heap. */
const TAKING = `
  import { constants, PerformanceObserver } from "node:perf_hooks";
  import { setTimeout } from "node:timers/promises";
  import { lastingMemory } from "./lasting-memory.js";
  let collections = 0;
  new PerformanceObserver((list) => {
    for (const { detail } of list.getEntries())
      if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) collections++;
  }).observe({ entryTypes: ["gc"] });
  const held = [];
  let sum = 0;
  for (let piece = 0; piece < 1024; piece++) {
    held.push(lastingMemory(${MIB}));
    for (let each = 0; each < 5000; each++) sum += [each, sum % 7].length;
    if (piece % 32 === 31) await setTimeout(20);
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
  // It is told eight times; of ArrayBuffers it would count ten in the same time, of what it is not told of none.
  expect(Number(stdout)).toBeGreaterThan(3);
  expect(Number(stdout)).toBeLessThan(17);
});
