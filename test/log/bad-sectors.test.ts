import { describe, expect, it } from "vitest";
import { readRecoveryPoint } from "../../log/recovery-point.js";
import { applyRepair, planRepair } from "../../log/repair.js";
import { verifyDirectory } from "../../log/verify.js";
import { PAGE_BYTES } from "../../props/world/simulated-file.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { shipped } from "../support/shipping.js";
import {
  appendMany,
  at,
  DISK,
  DISK_LOG,
  offsetsOf,
  openOn,
  readAll,
  segmentFile,
  span,
} from "../support/test-log.js";

const SETTINGS = { segmentBytes: 256 * 1024 };

/** Some sealed segments and a tail with zeros behind its records, as a kill leaves it. */
async function killedLog() {
  const disk = new SimulatedDisk(5);
  const { log, segments } = await openOn(disk, SETTINGS);
  await appendMany(log, 1_500, 400);
  const sealed = segments?.list() ?? [];
  const end = log.endOffset;
  // Until the last index is written, and the end noted.
  const files = disk.mount();
  const index = `${DISK_LOG}/${segmentFile(sealed.at(-1)?.first ?? 1).replace(".log", ".index")}`;
  const patience = { timeout: 10_000 };
  await expect.poll(() => files.exists(index), patience).toBe(true);
  await expect.poll(async () => (await readRecoveryPoint(files, DISK))?.durable, patience).toBe(end);
  disk.kill();
  const tail = (sealed.at(-1)?.last ?? 0) + 1;
  return { disk, sealed, end, tail, path: (base: number) => `${DISK_LOG}/${segmentFile(base)}` };
}

const repair = (disk: SimulatedDisk) =>
  applyRepair({ files: disk.mount(), dataDirectory: DISK, now: () => 77, holder: "a test" });

async function contentOf(disk: SimulatedDisk, path: string): Promise<Buffer> {
  const handle = await disk.mount().open(path, "read");
  const bytes = Buffer.alloc(await handle.size());
  for (let from = 0; from < bytes.length; from += PAGE_BYTES)
    await handle.read(bytes.subarray(from, from + PAGE_BYTES), from).catch(() => undefined);
  return bytes;
}

describe("a bad sector under a segment", () => {
  it("is damage at its position, wherever it lies: verify names it, and a start is refused", async () => {
    const { sealed, tail } = await killedLog();
    for (const base of [1, sealed[1]!.first, tail]) {
      for (const position of [0, 4 * PAGE_BYTES + 7, 63 * PAGE_BYTES]) {
        const { disk, path } = await killedLog();
        disk.spoil(path(base), position);
        const file = `log/${segmentFile(base)}`;
        const finding = { code: "unreadable", file, position: position - (position % PAGE_BYTES) };
        const { problems } = await verifyDirectory(disk.mount(), DISK);
        expect(problems[0]).toMatchObject(finding);
        expect(problems[0]?.advice).toContain("annals repair");
        const isLooked = base === tail || position === 0 || position > 60 * PAGE_BYTES;
        const opening = openOn(disk, SETTINGS);
        // The middle of a sealed segment is read when somebody wants it.
        if (isLooked)
          await expect(opening).rejects.toMatchObject({
            code: "LOG_CORRUPT",
            finding: expect.objectContaining(finding),
          });
        else {
          const { log } = await opening;
          await expect(readAll(log)).rejects.toMatchObject({ finding: expect.objectContaining(finding) });
          await expect(shipped(log, at(1), log.endOffset)).rejects.toMatchObject({ code: "LOG_CORRUPT" });
          await log.close();
        }
      }
    }
  });

  it("hides no record before it from whoever reads by offset, nor one behind it", async () => {
    const { disk, path, sealed, end } = await killedLog();
    const { first, last } = sealed[1]!;
    disk.spoil(path(first), 20 * PAGE_BYTES);
    const { log } = await openOn(disk, SETTINGS);
    const lost: number[] = [];
    for (let each: number = first - 2; each <= last + 2; each++) {
      const read = await readAll(log, at(each), at(each)).catch(() => lost.push(each));
      if (Array.isArray(read)) expect(offsetsOf(read)).toEqual([each]);
    }
    expect(lost.length).toBeGreaterThan(5);
    expect(lost[0]).toBeGreaterThan(first + 150);
    expect(offsetsOf(await readAll(log, at(last + 1)))).toEqual(span(last + 1, end));
    await log.close();
  });

  it("is given up by a repair, which keeps all before it, and aside what can be read behind it", async () => {
    const { sealed, tail } = await killedLog();
    for (const base of [sealed[1]!.first, tail]) {
      const { disk, path, end } = await killedLog();
      const before = await contentOf(disk, path(base));
      disk.spoil(path(base), 3 * PAGE_BYTES);
      disk.spoil(path(base), 4 * PAGE_BYTES);
      const { lastKept, lastKnown, cut } = await planRepair(disk.mount(), DISK);
      expect(lastKnown).toBe(end);
      const { keptIn, lost } = await repair(disk);
      const file = `log/${segmentFile(base)}`;
      expect(lost).toEqual([{ file, position: 3 * PAGE_BYTES, bytes: 2 * PAGE_BYTES }]);
      const kept = await contentOf(disk, `${DISK}/${keptIn}/${segmentFile(base)}`);
      expect(kept.equals(Buffer.from(before).fill(0, 3 * PAGE_BYTES, 5 * PAGE_BYTES))).toBe(true);
      expect(cut?.position).toBeGreaterThan(3 * PAGE_BYTES - 500);
      const { log } = await openOn(disk, SETTINGS);
      expect(lastKept).toBeGreaterThan(base + 20);
      expect(offsetsOf(await readAll(log)).slice(0, lastKept)).toEqual(span(1, lastKept));
      await log.close();
    }
  });

  it("costs no record where only the zeros written ahead lie on it", async () => {
    const { disk, path, tail, end } = await killedLog();
    disk.spoil(path(tail), 63 * PAGE_BYTES);
    expect((await verifyDirectory(disk.mount(), DISK)).problems).toMatchObject([
      { code: "unreadable", position: 63 * PAGE_BYTES, offset: end + 1 },
    ]);
    await repair(disk);
    const { log } = await openOn(disk, SETTINGS);
    expect(offsetsOf(await readAll(log)).slice(0, end)).toEqual(span(1, end));
    await log.close();
  });

  it("is nothing under an index, which is built again, and mended under the recovery point", async () => {
    const { disk, end } = await killedLog();
    disk.spoil(`${DISK_LOG}/${segmentFile(1).replace(".log", ".index")}`, 0);
    const { log } = await openOn(disk, SETTINGS);
    expect(log.endOffset).toBe(end);
    await log.close();
    disk.spoil(`${DISK}/recovery-point`, 0);
    await expect(openOn(disk, SETTINGS)).rejects.toMatchObject({
      code: "LOG_CORRUPT",
      context: { found: "unreadable" },
    });
    await repair(disk);
    const again = await openOn(disk, SETTINGS);
    expect(again.log.endOffset).toBe(end);
    await again.log.close();
  });
});
