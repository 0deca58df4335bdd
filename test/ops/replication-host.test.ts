import { describe, expect, it } from "vitest";
import { type OpenedLog, offset, segmentName } from "../../log/index.js";
import { HoldingsHost } from "../../ops/replication/host.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { appendMany, DISK, DISK_LOG, openOn } from "../support/test-log.js";

/** A host of a log without a state. */
function hostOf(disk: SimulatedDisk, opened: OpenedLog | undefined) {
  const nothing = async (): Promise<never> => undefined as never;
  const files = disk.mount();
  const host = new HoldingsHost({
    ...{ files, dataDirectory: DISK, nodeId: undefined, holder: "test" },
    holdings: {
      ...{ opened, house: undefined, lead: nothing, endLeading: nothing, openLog: nothing },
      ...{ closeLog: nothing, openState: nothing, closeState: nothing },
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

  it("that cannot be read is not cut off record by record: a full sync keeps it as it is", async () => {
    const disk = new SimulatedDisk(1);
    const opened = await openOn(disk);
    await appendMany(opened.log, 40);
    const { host } = hostOf(disk, opened);
    const [first] = opened.segments!.list();
    disk.flip(`${DISK_LOG}/${segmentName(first!.first)}`, 300, 4);
    const after = await opened.log.positionAt(offset(1));
    const end = opened.log.endOffset;
    await expect(host.cut(after)).rejects.toMatchObject({ code: "REPLICATION_CUT_TOO_DEEP" });
    expect(opened.log.endOffset).toBe(end);
    await opened.log.close();
  });
});
