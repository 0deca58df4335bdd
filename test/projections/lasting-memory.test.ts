import { constants, type PerformanceEntry, PerformanceObserver } from "node:perf_hooks";
import { setTimeout } from "node:timers/promises";
import { expect, test } from "vitest";
import { lastingMemory } from "../../projections/lasting-memory.js";

const MIB = 1024 * 1024;

/** How often V8 collected its whole heap while a GiB was taken in pieces of 1 MiB. */
async function collectionsWhile(take: (bytes: number) => unknown): Promise<number> {
  let collections = 0;
  const observer = new PerformanceObserver((list) => {
    for (const entry of list.getEntries()) {
      const { detail } = entry as PerformanceEntry & { detail?: { kind?: number } };
      if (detail?.kind === constants.NODE_PERFORMANCE_GC_MAJOR) collections++;
    }
  });
  observer.observe({ entryTypes: ["gc"] });
  const held = [];
  let sum = 0;
  for (let piece = 0; piece < 1024; piece++) {
    held.push(take(MIB));
    // What a server makes all the time.
    for (let each = 0; each < 5000; each++) sum += [each, sum % 7].length;
    if (piece % 32 === 31) await setTimeout(20);
  }
  observer.disconnect();
  return collections;
}

test("is all zeros", () => {
  const memory = lastingMemory(MIB);
  expect(memory.byteLength).toBe(MIB);
  expect(new Uint8Array(memory).every((byte) => byte === 0)).toBe(true);
});

test("V8 looks at it seldom, but it does", async () => {
  const collections = await collectionsWhile(lastingMemory);
  // It is told eight times; of ArrayBuffers it would count ten in the same time, of what it is not told of none.
  expect(collections).toBeGreaterThan(3);
  expect(collections).toBeLessThan(17);
});
