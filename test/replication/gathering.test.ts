// A full sync while it arrives: what waits in memory is one piece, however large the snapshot is.
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { describe, expect, it } from "vitest";
import { BEFORE_FIRST, offset } from "../../log/index.js";
import { Gathering } from "../../replication/gathering.js";
import type { Installing } from "../../replication/link-ports.js";

const CHUNKS = 20_000;

/** Of a snapshot of as many bytes, which `place` writes. */
function gathering(place: Installing["placeSnapshot"]): Gathering {
  const snapshot = { name: "snapshot_1_1.snap", bytes: CHUNKS, offset: offset(1) };
  const install = { type: "install", clusterId: "c", snapshot, from: offset(1), until: offset(2) } as const;
  return new Gathering(install, {
    end: { offset: BEFORE_FIRST, crc: 0, epoch: undefined, lineageId: undefined },
    placeSnapshot: place,
    receive: () => Promise.resolve(),
    abandon: () => Promise.resolve(),
  } as never);
}

describe("the snapshot of a full sync", () => {
  it("leaves nothing in memory of the pieces that were written", async () => {
    let written = 0;
    const arriving = gathering(async (_name, chunks) => {
      for await (const { length } of chunks) written += length;
    });
    const before = heapBytes();
    for (let each = 1; each < CHUNKS; each++) await arriving.chunk(Buffer.of(1));
    expect(heapBytes() - before).toBeLessThan(2_000_000);
    await arriving.chunk(Buffer.of(1));
    expect(written).toBe(CHUNKS);
    await expect(arriving.chunk(Buffer.of(1))).rejects.toThrow("the rest of a snapshot");
  });

  it("that cannot be written refuses the piece that waits, and those that come", async () => {
    const arriving = gathering(async (_name, chunks) => {
      for await (const chunk of chunks) if (chunk[0] === 2) throw new Error("the disk is full");
    });
    await arriving.chunk(Buffer.of(1));
    await expect(arriving.chunk(Buffer.of(2))).rejects.toThrow("the disk is full");
    await expect(arriving.chunk(Buffer.of(3))).rejects.toThrow("the disk is full");
  });
});

/** Of what somebody still holds. */
function heapBytes(): number {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  collect();
  return process.memoryUsage().heapUsed;
}
