// The checker against manifests that are whole, hash included, and yet wrong: as a mistake in the making would leave them.
// What happens to files after they were stored is the matter of `props/backup-damage.prop.test.ts`.
import { beforeEach, describe, expect, it } from "vitest";
import { contentFindings } from "../../ops/backup/check-manifests.js";
import { describeBackupFinding } from "../../ops/backup/finding.js";
import { type Manifest, type SegmentEntry, sealManifest, segmentsOf } from "../../ops/backup/manifest.js";
import { readObject } from "../../ops/backup/object-store.js";
import { loadBackup } from "../../ops/backup/repository.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { BackupBench, inMemory, onDisk, REPOSITORY } from "../support/backup-bench.js";

let bench: BackupBench;
let manifest: Manifest;
let id: string;
beforeEach(async () => {
  bench = new BackupBench(new SimulatedDisk(1).mount());
  await bench.grow(80);
  await bench.putSnapshot(50);
  const { log } = await bench.openLog();
  await log.startEpoch();
  await bench.append(log, 20);
  await log.close();
  ({ id } = await bench.backup());
  manifest = await loadBackup(bench.store, id);
});

const codes = (changed: Partial<Manifest>): string[] =>
  contentFindings("m", { ...manifest, ...changed }).map(({ code }) => code);
const withSegment = (at: number, change: Partial<SegmentEntry>): Pick<Manifest, "files"> => {
  const entry = segmentsOf(manifest)[at]!;
  return { files: manifest.files.map((file) => (file === entry ? { ...entry, ...change } : file)) };
};

/** The manifest put in the place of the one that is there, head and all, as if it had been made so. */
async function asIfMade(changed: Partial<Manifest>): Promise<string[]> {
  const { sha256: _, ...body } = { ...manifest, ...changed };
  await bench.store.put(`backups/${id}.json`, Buffer.from(sealManifest(body).text));
  await bench.store.remove("backups/head.json");
  return (await bench.verify()).findings.map(({ code, expected }) => `${code}: ${expected}`);
}

describe("the checker finds a manifest", () => {
  it("right when it is", async () => {
    expect(codes({})).toEqual([]);
    expect(await asIfMade({})).toEqual([]);
  });

  it("that lacks a segment, the first, the last or one between", () => {
    const entries = segmentsOf(manifest);
    expect(entries.length).toBeGreaterThan(3);
    for (const entry of [entries[0], entries[1], entries.at(-1)])
      expect(codes({ files: manifest.files.filter((file) => file !== entry) })).toContain("gap");
  });

  it("whose segments do not continue each other", () => {
    expect(codes(withSegment(1, { chainCrc: 7 }))).toEqual(["gap"]);
    expect(codes({ lastCrc: 7 })).toEqual(["gap"]);
    expect(codes({ firstOffset: 2 })).toEqual(["gap"]);
  });

  it("that tells of another epoch than its segments", () => {
    const [first] = manifest.epochs;
    expect(codes({ epochs: [first!] })).toEqual(["gap"]);
    expect(codes(withSegment(0, { lineageId: "0".repeat(32) }))).toContain("gap");
  });

  it("without the snapshot that it needs, or with one that it cannot use", () => {
    const snapshot = manifest.snapshot!;
    expect(codes({ snapshot: { ...snapshot, name: "snapshots/none" } })).toEqual(["swapped"]);
    expect(codes({ snapshot: { ...snapshot, offset: 49 } })).toEqual(["gap"]);
    const [, ...rest] = manifest.files;
    const begun = { firstOffset: segmentsOf(manifest)[1]!.baseOffset, files: rest };
    expect(codes(begun)).toEqual([]);
    expect(codes({ ...begun, snapshot: null })).toEqual(["gap"]);
  });

  it("that says something else of a segment than the segment", async () => {
    const told = await asIfMade({
      ...withSegment(1, { endCrc: 1 }),
      firstTimestamp: 5,
      lastTimestamp: 6,
      clusterId: "c".repeat(32),
    });
    for (const expected of [
      "last crc 1",
      "first timestamp 5",
      "last timestamp 6",
      `cluster ${"c".repeat(32)}`,
    ])
      expect(told).toContain(`swapped: ${expected}`);
  });
});

describe("the checker finds another cluster's backup", () => {
  it("also when it is whole, and older than any that there should be", async () => {
    const stranger = new BackupBench(new SimulatedDisk(3).mount(), 77);
    stranger.nowMs = bench.nowMs - 86_400_000;
    await stranger.grow(5);
    const theirs = await stranger.backup();
    await onDisk(bench.files, await inMemory(stranger.files, `${REPOSITORY}/segments`));
    const name = `backups/${theirs.id}.json`;
    await bench.store.put(name, await readObject(stranger.store, name, 1 << 20));
    const { findings } = await bench.verify();
    expect(findings.map((each) => [each.code, each.name])).toEqual([["foreign", name]]);
  });
});

describe("the checker finds a lost manifest", () => {
  const codesAfter = async (lost: readonly string[]): Promise<string[]> => {
    for (const name of lost) await bench.store.remove(name);
    return (await bench.verify("newest")).findings.map(({ code }) => code);
  };
  let ids: string[];
  beforeEach(async () => {
    ids = [id];
    for (let i = 0; i < 3; i++) ids.push((await bench.backup()).id);
  });

  it("the newest, of which only the head knows", async () => {
    expect(await codesAfter([`backups/${ids[3]}.json`])).toEqual(["missing"]);
  });

  it("the oldest, which a prune would have told the head of", async () => {
    expect(await codesAfter([`backups/${ids[0]}.json`])).toEqual(["missing"]);
  });

  it("one between, which the next one names", async () => {
    expect(await codesAfter([`backups/${ids[1]}.json`])).toEqual(["chain"]);
  });

  it("the head, and all of them", async () => {
    expect(await codesAfter(["backups/head.json"])).toEqual(["missing"]);
    await bench.backup();
    expect(await codesAfter(ids.map((each) => `backups/${each}.json`))).toEqual(["missing"]);
  });
});

describe("a finding", () => {
  it("is one line: what, expected, found and what to do", async () => {
    await bench.store.remove(manifest.files[0]!.name);
    const [finding] = (await bench.verify()).findings;
    const line = describeBackupFinding(finding!);
    expect(line).toMatch(/^segments\/\S+\.log: expected \d+ bytes, found no such object; put it back/);
    expect(line).not.toContain("\n");
  });
});
