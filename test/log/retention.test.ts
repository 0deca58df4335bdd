import { describe, expect, it } from "vitest";
import { firstNeeded, offset } from "../../log/index.js";
import { LoadedIndexes } from "../../log/loaded-indexes.js";
import { listSegments, readSegmentFile } from "../../log/segment-chain.js";
import { logSegment } from "../../log/segment-list.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { appendMany, at, offsetsOf, openTestLog, readAll } from "../support/test-log.js";

describe("retention", () => {
  it("needs nothing below the limit when nobody holds anything", () => {
    expect(firstNeeded([], offset(50))).toEqual({ offset: 50, holder: undefined });
  });

  it("keeps what the one who is furthest behind needs, and says who that is", () => {
    const holders = [
      { name: "snapshot 2", offset: offset(40) },
      { name: "replica b", offset: offset(7) },
      { name: "stream orders", offset: offset(90) },
    ];
    expect(firstNeeded(holders, offset(50))).toEqual({ offset: 7, holder: holders[1] });
    expect(firstNeeded(holders.slice(2), offset(50))).toEqual({ offset: 50, holder: undefined });
  });
});

describe("loaded indexes", () => {
  it("keeps no more indexes in memory than it may, and finds every record with each", async () => {
    const disk = new SimulatedDisk(1);
    const { log, usage } = await openTestLog("/disk", { files: disk.mount() });
    await appendMany(log, 900, 300);
    expect(usage().segments).toBeGreaterThan(70);
    for (const from of [1, 450, 890, 2, 700]) {
      expect(offsetsOf(await readAll(log, at(from), at(from + 1)))).toEqual([from, from + 1]);
    }
    await log.close();

    const files = disk.mount();
    const indexes = new LoadedIndexes(files, "/disk/log");
    const segments = await Promise.all(
      (await listSegments(files, "/disk/log")).map(async (name) => {
        const { header, bytes } = await readSegmentFile(files, "/disk/log", name);
        return logSegment(header, bytes, true);
      }),
    );
    for (const segment of segments) {
      expect((await indexes.of(segment)).floor(segment.base).offset).toBe(segment.base);
    }
    const inMemory = segments.filter(({ index }) => index !== undefined);
    expect(inMemory).toHaveLength(64);
    expect(inMemory).toEqual(segments.slice(-64));
    const both = await Promise.all([indexes.of(segments[0]!), indexes.of(segments[0]!)]);
    expect(both[0]).toBe(both[1]);
    expect(segments.at(-64)?.index).toBeUndefined();
  });
});
