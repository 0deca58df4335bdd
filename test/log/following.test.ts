/** A log that follows another one: the cases that a random world meets too seldom. */
import { describe, expect, it } from "vitest";
import {
  type EventLog,
  encodeSegmentHeader,
  epoch,
  keepDiverged,
  listDiverged,
  type OpenedLog,
  type OpenLogOptions,
  openLogView,
  type RecordRun,
  readDirectory,
} from "../../log/index.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { installed } from "../support/installed-log.js";
import { shipped } from "../support/shipping.js";
import { appendMany, at, DISK, DISK_LOG, openOn, segmentFile, textRecord } from "../support/test-log.js";

const CHUNK = 1024 * 1024;

interface Pair {
  readonly primary: OpenedLog;
  readonly follower: Awaited<ReturnType<typeof openOn>>;
  readonly followerDisk: SimulatedDisk;
}

/** A primary with `count` records, and a follower that has all of them. */
async function pair(count: number, overrides: Partial<OpenLogOptions> = {}): Promise<Pair> {
  const primary = await openOn(new SimulatedDisk(1), overrides);
  await appendMany(primary.log, count);
  const followerDisk = new SimulatedDisk(2);
  await installed(followerDisk.mount(), DISK, primary, await shipped(primary.log, at(1)));
  const follower = await openOn(followerDisk, { ...overrides, following: true });
  return { primary, follower, followerDisk };
}

async function catchUp(follower: EventLog, primary: EventLog): Promise<void> {
  for (const run of await shipped(primary, at(follower.endOffset + 1))) await follower.receive(run);
}

describe("following", () => {
  it("ships and receives a record larger than what is read at once", async () => {
    const { primary, follower } = await pair(3, { recordBytesMax: 4 * CHUNK, pendingBytesMax: 64 * CHUNK });
    for (const bytes of [3 * CHUNK, 10, CHUNK - 36, CHUNK + 1])
      primary.log.append(textRecord("large", bytes));
    await primary.log.whenCommitted(primary.log.endOffset);
    await catchUp(follower.log, primary.log);
    expect(await follower.log.positionAt(at(8))).toEqual(await primary.log.positionAt(at(8)));
  });

  it("stays marked when it begins to follow while an epoch of its own is just beginning", async () => {
    const { primary, follower } = await pair(3);
    const began = follower.log.startEpoch();
    await follower.log.beginFollowing();
    await began;
    expect(await follower.files.exists(`${DISK}/following.json`)).toBe(true);
    for (const { log } of [primary, follower]) await log.close();
  });

  it("leaves the log as it is when somebody else may lead, and asks nobody while it follows", async () => {
    const { primary, follower, followerDisk } = await pair(3);
    await follower.log.close();
    const asked: unknown[] = [];
    const mayLead: OpenLogOptions["mayLead"] = async (newest) => {
      asked.push(newest);
      throw Object.assign(new Error("another one leads"), { code: "NOT_HERE" });
    };
    await expect(openOn(followerDisk, { mayLead })).rejects.toThrow("another one leads");
    expect(asked).toEqual(primary.log.epochs);
    await expect(openOn(new SimulatedDisk(3), { mayLead })).rejects.toThrow("another one leads");
    expect(asked.at(-1)).toBeUndefined();
    const again = await openOn(followerDisk, { following: true, mayLead });
    expect([again.log.epochs, again.log.endOffset]).toEqual([primary.log.epochs, 4]);
    expect(asked).toHaveLength(2);
  });

  it("takes another segment in the place of one that has no record yet", async () => {
    const { primary, follower, followerDisk } = await pair(20);
    await follower.log.close();
    await appendMany(primary.log, 60);
    const [before, begins] = (await shipped(primary.log, at(22))).filter(({ last }) => last > 21);
    const behind = await openOn(followerDisk, { following: true });
    await behind.log.receive(before!);
    await behind.log.close();
    // As a crash leaves it between the name of a segment and its first record; the primary has made another one since.
    const files = followerDisk.mount();
    const { header } = begins!;
    const empty = await files.open(`${DISK_LOG}/${segmentFile(header.baseOffset)}`, "create");
    await empty.write(encodeSegmentHeader({ ...header, createdAt: header.createdAt - 1 }), 0);
    await empty.close();
    const again = await openOn(followerDisk, { following: true });
    expect(again.log.endOffset).toBe(header.baseOffset - 1);
    await catchUp(again.log, primary.log);
    expect(await shipped(again.log, at(1))).toEqual(await shipped(primary.log, at(1)));
  });

  it("goes on in a segment that has no record yet when the same one comes again", async () => {
    const { primary, follower, followerDisk } = await pair(20);
    await appendMany(primary.log, 60);
    const [before, begins] = await shipped(primary.log, at(22));
    await follower.log.receive(before!);
    await follower.log.close();
    const files = followerDisk.mount();
    const empty = await files.open(`${DISK_LOG}/${segmentFile(begins!.header.baseOffset)}`, "create");
    await empty.write(encodeSegmentHeader(begins!.header), 0);
    await empty.close();
    let rolls = 0;
    const rolled = (): void => {
      rolls += 1;
    };
    const again = await openOn(followerDisk, { following: true, observer: { rolled } });
    await again.log.receive(begins!);
    expect(rolls).toBe(0);
    await catchUp(again.log, primary.log);
    expect(await shipped(again.log, at(1))).toEqual(await shipped(primary.log, at(1)));
  });

  it("refuses the record that continues a log when it is not ready, not following, or closed", async () => {
    const { primary, follower } = await pair(5);
    const offset = primary.log.append(textRecord("next"));
    const [run] = await shipped(primary.log, offset);
    await expect(primary.log.receive(run!)).rejects.toMatchObject({ code: "LOG_NOT_FOLLOWING" });
    await follower.log.close();
    await expect(follower.log.receive(run!)).rejects.toMatchObject({ code: "LOG_CLOSED" });
  });

  it("holds no more in memory than it may, and takes the run when there is room again", async () => {
    const { primary, follower } = await pair(3, { pendingBytesMax: 600 });
    for (let i = 0; i < 4; i++) await appendMany(primary.log, 4, 60);
    const [first, second] = await single(primary.log, 5);
    const taken = follower.log.receive(first!);
    await expect(follower.log.receive({ ...second!, bytes: Buffer.alloc(700) })).rejects.toMatchObject({
      code: "LOG_BUSY",
    });
    await taken;
    await follower.log.receive(second!);
    expect(follower.log.endOffset).toBe(second!.last);
  });

  it("begins segments where the other log does, not by a size of its own", async () => {
    const { primary, follower, followerDisk } = await pair(5, { segmentBytes: CHUNK });
    await follower.log.close();
    const small = await openOn(followerDisk, { following: true, segmentBytes: 4096 });
    for (const count of [100, 100, 100]) {
      await appendMany(primary.log, count);
      await catchUp(small.log, primary.log);
    }
    expect(small.usage().segments).toBe(1);
    await primary.log.startEpoch();
    await catchUp(small.log, primary.log);
    expect(small.usage().segments).toBe(2);
    expect(await shipped(small.log, at(1))).toEqual(await shipped(primary.log, at(1)));
  });

  it("proves nothing by the stamps of its own old records that came back from another node", async () => {
    const { primary, follower } = await pair(4);
    await appendMany(primary.log, 6);
    await catchUp(follower.log, primary.log);
    // The first primary loses its disk's end and gets its own records again, from its copy.
    const disk = new SimulatedDisk(4);
    const runs = await shipped(follower.log, at(1));
    await installed(disk.mount(), DISK, primary, runs);
    const { nodeId } = primary.identity;
    await disk.mount().remove(`${DISK}/identity.json`);
    const identity = JSON.stringify({ clusterId: primary.identity.clusterId, nodeId });
    await writeFile(disk, `${DISK}/identity.json`, Buffer.from(identity));
    const opened = await openOn(disk, { following: true });
    // Each synced before the next.
    for (const count of [1, 1, 1]) await appendMany(primary.log, count);
    const [run] = await shipped(primary.log, at(12));
    const position = await endPosition(disk);
    await opened.log.receive(run!);
    disk.kill();
    // Of the three the first is torn, and the others say that it was durable: on the disk of another time.
    disk.flip(`${DISK_LOG}/${segmentFile(1)}`, position + 40, 1);
    const point = await disk.mount().exists(`${DISK}/recovery-point`);
    expect(point).toBe(true);
    const again = await openOn(disk, { following: true });
    expect(again.log.endOffset).toBe(11);
    expect(again.recovery.tornBytes).toBeGreaterThan(0);
    await catchUp(again.log, primary.log);
    expect(again.log.endOffset).toBe(14);
  });

  it("begins an epoch of its own when it is opened to be appended to", async () => {
    const { primary, follower, followerDisk } = await pair(5);
    await follower.log.close();
    const own = await openOn(followerDisk);
    expect(own.log.following).toBe(false);
    expect(own.log.epochs.map(({ nodeId }) => nodeId)).toEqual([
      primary.identity.nodeId,
      own.identity.nodeId,
    ]);
    expect(own.log.append(textRecord("mine"))).toBe(8);
    await own.log.close();
    // The mark is gone: the next opening goes on in its own epoch.
    const next = await openOn(followerDisk);
    expect(next.log.epochs).toHaveLength(2);
  });

  it("follows the node that was promoted, and keeps what only it had", async () => {
    const { primary, follower } = await pair(20);
    await appendMany(primary.log, 6);
    const old = await primary.log.positionAt(primary.log.endOffset);
    const entry = await follower.log.startEpoch({ above: epoch(1) });
    await appendMany(follower.log, 3);
    await primary.log.beginFollowing();
    const { files } = primary as OpenedLog & { files: SimulatedFiles };
    const kept = await keepDiverged(files, DISK, primary.log, at(entry.first - 1), 77);
    expect(kept).toMatchObject({ first: entry.first, last: old.offset, records: 6, keptAt: 77 });
    expect(await listDiverged(files, DISK)).toEqual([kept]);
    await catchUp(primary.log, follower.log);
    expect(await shipped(primary.log, at(1))).toEqual(await shipped(follower.log, at(1)));
    const offsets: number[] = [];
    for await (const records of readDirectory(files, `${DISK}/${kept!.directory}`))
      offsets.push(...records.map(({ offset }) => offset));
    expect(offsets).toEqual([22, 23, 24, 25, 26, 27]);
  });

  it("that was ended while it kept what only it had leaves nothing half kept once it is open again", async () => {
    const unfinished = `${DISK}/diverged/unfinished/log`;
    const disk = new SimulatedDisk(6);
    const { files, log } = await openOn(disk);
    await appendMany(log, 100);
    await log.beginFollowing();
    const isBegun = async (): Promise<boolean> =>
      (await files.exists(unfinished)) && (await files.list(unfinished)).length > 0;
    void keepDiverged(files, DISK, log, at(40), 77).catch(() => undefined);
    while (!(await isBegun()));
    disk.kill();
    const next = await openOn(disk, { following: true });
    expect(next.log.endOffset).toBe(101);
    expect(await listDiverged(next.files, DISK)).toEqual([]);
    expect(await next.files.list(unfinished)).toEqual([]);
    expect(await keepDiverged(next.files, DISK, next.log, at(40), 77)).toMatchObject({ records: 61 });
  });

  it("cannot follow from nothing", async () => {
    await expect(openOn(new SimulatedDisk(1), { following: true })).rejects.toMatchObject({
      code: "LOG_DIRECTORY_UNUSABLE",
    });
  });
});

type SimulatedFiles = ReturnType<SimulatedDisk["mount"]>;

async function writeFile(disk: SimulatedDisk, path: string, bytes: Uint8Array): Promise<void> {
  const handle = await disk.mount().open(path, "create");
  await handle.write(bytes, 0);
  await handle.sync();
  await handle.close();
}

/** Where the records of the first segment end, by what a view sees. */
async function endPosition(disk: SimulatedDisk): Promise<number> {
  const { extents } = await openLogView(disk.mount(), DISK);
  return extents.at(-1)!.bytes;
}

/** One run a record. */
async function single(log: EventLog, from: number): Promise<RecordRun[]> {
  const runs: RecordRun[] = [];
  for (let offset = from; offset <= log.endOffset; offset++) {
    const [run] = await shipped(log, at(offset), at(offset));
    const bytes = 36 + new DataView(run!.bytes.buffer).getUint32(4, true);
    runs.push({ ...run!, last: at(offset), bytes: run!.bytes.subarray(0, bytes) });
  }
  return runs;
}
