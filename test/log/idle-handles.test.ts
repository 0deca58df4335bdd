/** Files that readers of single records find open: few, and none that the log has given up. */
import { describe, expect, it } from "vitest";
import type { FileHandle, FileSystem, OpenMode, OpenOptions } from "../../log/index.js";
import { offset } from "../../log/index.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { appendMany, at, offsetsOf, openTestLog, readAll } from "../support/test-log.js";

/** The names of segment files that are open for reading, and how often one was opened. */
class Watched {
  readonly open = new Map<FileHandle, string>();
  opened = 0;
  readonly files: FileSystem;

  constructor(disk: SimulatedDisk) {
    const files = disk.mount();
    const watch = (path: string, handle: FileHandle): FileHandle => {
      this.opened += 1;
      const watched = new Proxy(handle, {
        get: (target, name) => {
          if (name === "close") {
            return async () => {
              this.open.delete(watched);
              await target.close();
            };
          }
          const value = Reflect.get(target, name, target);
          return typeof value === "function" ? value.bind(target) : value;
        },
      });
      this.open.set(watched, path.slice(path.lastIndexOf("/") + 1));
      return watched;
    };
    this.files = new Proxy(files, {
      get: (target, name) => {
        if (name === "open") {
          return async (path: string, mode: OpenMode, options?: OpenOptions) => {
            const handle = await target.open(path, mode, options);
            return mode === "read" && path.endsWith(".log") ? watch(path, handle) : handle;
          };
        }
        const value = Reflect.get(target, name, target);
        return typeof value === "function" ? value.bind(target) : value;
      },
    });
  }
}

async function logOfManySegments(count: number) {
  const watched = new Watched(new SimulatedDisk(1));
  const { log, usage } = await openTestLog("/disk", { files: watched.files });
  await appendMany(log, count, 300);
  const one = async (of: number): Promise<void> =>
    expect(offsetsOf(await readAll(log, at(of), at(of)))).toEqual([of]);
  watched.opened = 0;
  return { watched, log, usage, one };
}

describe("single records", () => {
  it("are read from a file that is open already", async () => {
    const { watched, log, one } = await logOfManySegments(100);
    for (const of of [50, 49, 50, 48, 50]) await one(of);
    expect(watched.opened).toBeLessThanOrEqual(2);
    await log.close();
    expect([...watched.open.values()]).toEqual([]);
  });

  it("keep no more files open than may be, however many segments they lie in", async () => {
    const { watched, log, usage, one } = await logOfManySegments(900);
    expect(usage().segments).toBeGreaterThan(70);
    for (let of = 1; of <= 900; of += 5) await one(of);
    expect(watched.open.size).toBe(32);
    await Promise.all([one(7), one(7), one(8), one(7)]);
    expect(watched.open.size).toBe(32);
    await log.close();
    expect(watched.open.size).toBe(0);
  });

  it("do not keep the file of a segment that retention removed", async () => {
    const { watched, log, one } = await logOfManySegments(100);
    for (const of of [1, 2, 60]) await one(of);
    const first = await log.retain(offset(50));
    expect(first).toBeGreaterThan(20);
    expect(watched.open.size).toBe(1);
    // A reader that is on its way when its segment goes gives the file back to nobody.
    const reader = log.read(first)[Symbol.asyncIterator]();
    await reader.next();
    await log.retain(offset(90));
    expect(watched.open.size).toBe(1);
    await reader.return?.();
    expect(watched.open.size).toBe(0);
    await log.close();
  });

  it("are never read from a file that was cut", async () => {
    const { watched, log, one } = await logOfManySegments(100);
    for (const of of [40, 60, 100]) await one(of);
    await log.truncate(offset(60));
    expect(watched.open.size).toBeLessThanOrEqual(1);
    await appendMany(log, 3, 300);
    for (const of of [40, 60, 61, 63]) await one(of);
    await log.close();
    expect(watched.open.size).toBe(0);
  });
});
