import { describe, expect, it } from "vitest";
import { type OpenedLog, offset, segmentName, snapshotName } from "../../log/index.js";
import { HoldingsHost } from "../../ops/replication/host.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { installed } from "../support/installed-log.js";
import { shipped } from "../support/shipping.js";
import { appendMany, DISK, DISK_LOG, openOn } from "../support/test-log.js";

const nothing = async (): Promise<never> => undefined as never;

/** A host of a log without a state. */
function hostOf(disk: SimulatedDisk, opened: OpenedLog | undefined, openLog = nothing) {
  const files = disk.mount();
  const host = new HoldingsHost({
    files,
    dataDirectory: DISK,
    nodeId: undefined,
    holder: "test",
    holdings: {
      opened,
      house: undefined,
      lead: nothing,
      endLeading: nothing,
      openLog,
      openState: nothing,
      closeState: nothing,
      closeLog: async () => opened?.log.close(),
    },
    now: () => 5,
    randomBytes: (count: number) => new Uint8Array(count).fill(7),
    logger: { info: () => undefined, warn: () => undefined },
    onReplaced: () => undefined,
    onLost: (error: Error) => {
      throw error;
    },
  });
  return { host, files };
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  yield bytes;
}

describe("the end of a damaged log", () => {
  it("is not cut to a log without records that no snapshot leads to", async () => {
    const disk = new SimulatedDisk(1);
    const { host, files } = hostOf(disk, undefined);
    await files.makeDirectory(DISK_LOG);
    await (await files.open(`${DISK_LOG}/${segmentName(offset(21))}`, "create")).close();
    await expect(host.prepareCut(offset(20))).rejects.toMatchObject({ code: "REPLICATION_CUT_TOO_DEEP" });
    // Nothing at all is left: everything comes anew.
    await expect(host.prepareCut(offset(0))).resolves.toBeUndefined();
  });

  it("that cannot be read is not cut off record by record: a full sync keeps it as it is, whatever it proves", async () => {
    const primary = await openOn(new SimulatedDisk(2));
    await appendMany(primary.log, 40);
    const disk = new SimulatedDisk(1);
    await installed(disk.mount(), DISK, primary, await shipped(primary.log, offset(1)));
    const opened = await openOn(disk, { following: true });
    const { host } = hostOf(disk, opened);
    const [first] = opened.segments!.list();
    disk.flip(`${DISK_LOG}/${segmentName(first!.first)}`, 300, 4);
    const after = await opened.log.positionAt(offset(1));
    const end = opened.log.endOffset;
    await expect(host.cut(after)).rejects.toMatchObject({ code: "REPLICATION_CUT_TOO_DEEP" });
    expect(opened.log.endOffset).toBe(end);

    await appendMany(primary.log, 100);
    const { clusterId } = primary.identity;
    const from = primary.log.segmentStart(offset(100));
    const installing = await host.beginInstall({ clusterId, from, snapshot: undefined });
    await installing.placeSnapshot(snapshotName(1, offset(100)), once(new Uint8Array(10)));
    for (const run of await shipped(primary.log, from)) await installing.receive(run);
    expect(await host.installed(installing)).toMatchObject({ first: 1, last: end, records: end });
    await primary.log.close();
  });
});

describe("a full sync that fails at its end", () => {
  /** What a primary brings from record 100 on, without the snapshot that it needs. */
  async function notWhole(host: HoldingsHost, primary: OpenedLog) {
    const { clusterId } = primary.identity;
    const from = primary.log.segmentStart(offset(100));
    const installing = await host.beginInstall({ clusterId, from, snapshot: undefined });
    for (const run of await shipped(primary.log, from)) await installing.receive(run);
    return installing;
  }

  it("leaves a node that has no log yet as it was: it is brought one again", async () => {
    const primary = await openOn(new SimulatedDisk(2));
    await appendMany(primary.log, 140);
    const disk = new SimulatedDisk(1);
    const openLog = async (): Promise<never> => (await openOn(disk, { following: true })) as never;
    const { host } = hostOf(disk, undefined, openLog);
    for (let time = 0; time < 2; time++)
      await expect(host.installed(await notWhole(host, primary))).rejects.toMatchObject({
        code: "LOG_NOT_CONTINUED",
      });
    await primary.log.close();
  });

  it("leaves a damaged log shut, and its node running", async () => {
    const primary = await openOn(new SimulatedDisk(2));
    await appendMany(primary.log, 140);
    const disk = new SimulatedDisk(1);
    await installed(disk.mount(), DISK, primary, await shipped(primary.log, offset(1)));
    disk.flip(`${DISK_LOG}/${segmentName(offset(1))}`, 20, 4);
    const openLog = async (): Promise<never> => (await openOn(disk, { following: true })) as never;
    const { host } = hostOf(disk, undefined, openLog);
    await expect(host.reopen()).resolves.toBeUndefined();
    expect(host.damage).toMatchObject({ code: "header" });
    await expect(host.installed(await notWhole(host, primary))).rejects.toMatchObject({
      code: "LOG_NOT_CONTINUED",
    });
    expect(host.damage).toMatchObject({ code: "header" });
    await primary.log.close();
  });
});
