/** A segment whose disk failed once: what comes after the failure proves nothing, so nothing comes after it. */
import { beforeEach, describe, expect, it } from "vitest";
import type { FileHandle, FileSystem } from "../../log/index.js";
import { SegmentWriter } from "../../log/segment-writer.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";

const PATH = "/segment";

describe("SegmentWriter", () => {
  let disk: SimulatedDisk;
  let began: string[];
  /** What holds a truncation back. */
  let truncation: Promise<void>;

  beforeEach(() => {
    disk = new SimulatedDisk(1);
    began = [];
    truncation = Promise.resolve();
  });

  const watched = (handle: FileHandle): FileHandle => ({
    read: (into, position) => handle.read(into, position),
    write: (bytes, position) => {
      began.push("write");
      return handle.write(bytes, position);
    },
    writeNow: (bytes, position) => {
      began.push("writeNow");
      handle.writeNow(bytes, position);
    },
    sync: () => {
      began.push("sync");
      return handle.sync();
    },
    truncate: async (size) => {
      began.push("truncate");
      await truncation;
      await handle.truncate(size);
    },
    size: () => handle.size(),
    close: () => handle.close(),
  });

  const create = async (syncOnWrite: boolean): Promise<SegmentWriter> => {
    const files: FileSystem = disk.mount();
    const open = files.open.bind(files);
    files.open = async (path, mode, options) => watched(await open(path, mode, options));
    const writer = await SegmentWriter.create(files, PATH, syncOnWrite);
    await writer.fill(8192, true);
    return writer;
  };
  const failNext = (kind: "sync" | "write" | "writeNow" | "syncedWrite" | "truncate"): void =>
    disk.arm({ type: "fail", at: 1, errno: "EIO", sticky: false, kinds: new Set([kind]) });

  it("is not sealed by a second sync, when the timer's fails while the file is cut", async () => {
    const writer = await create(false);
    writer.writeNow(Buffer.alloc(100, 1));
    let cutGoesOn = (): void => undefined;
    truncation = new Promise((resolve) => {
      cutGoesOn = resolve;
    });
    const cut = writer.cut();
    failNext("sync");
    await expect(writer.sync()).rejects.toMatchObject({ code: "EIO" });
    cutGoesOn();
    await expect(cut).rejects.toMatchObject({ code: "EIO" });
    await writer.close();
  });

  for (const [what, syncOnWrite] of [
    ["a sync", false],
    ["a write into the page cache", false],
    ["a write that is durable at once", true],
    ["a cut", true],
  ] as const)
    it(`begins nothing any more after ${what} has failed`, async () => {
      const writer = await create(syncOnWrite);
      const bytes = Buffer.alloc(100, 1);
      switch (what) {
        case "a sync":
          failNext("sync");
          await expect(writer.sync()).rejects.toMatchObject({ code: "EIO" });
          break;
        case "a write into the page cache":
          failNext("writeNow");
          expect(() => writer.writeNow(bytes)).toThrow(expect.objectContaining({ code: "EIO" }));
          break;
        case "a write that is durable at once":
          failNext("syncedWrite");
          await expect(writer.write(bytes)).rejects.toMatchObject({ code: "EIO" });
          break;
        default:
          failNext("truncate");
          await expect(writer.cut()).rejects.toMatchObject({ code: "EIO" });
      }
      began.length = 0;
      await expect(writer.sync()).rejects.toMatchObject({ code: "EIO" });
      await expect(writer.cut()).rejects.toMatchObject({ code: "EIO" });
      await expect(writer.write(bytes)).rejects.toMatchObject({ code: "EIO" });
      await expect(writer.fill(4096, false)).rejects.toMatchObject({ code: "EIO" });
      expect(() => writer.writeNow(bytes)).toThrow(expect.objectContaining({ code: "EIO" }));
      expect(began).toEqual([]);
      await writer.close();
    });

  it("fills again where there was no space: no record is among zeros", async () => {
    const writer = await create(false);
    disk.arm({ type: "fail", at: 1, errno: "ENOSPC", sticky: false, kinds: new Set(["write"]) });
    await expect(writer.fill(4096, false)).rejects.toMatchObject({ code: "ENOSPC" });
    await writer.fill(4096, false);
    writer.writeNow(Buffer.alloc(100, 1));
    await writer.cut();
    expect(writer.end).toBe(100);
    await writer.close();
  });
});
