import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { FsyncMode } from "../../log/index.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { describeEventLog } from "../support/event-log-contract.js";
import { openTestLog } from "../support/test-log.js";

const recordBytesMax = 64 * 1024;

for (const fsyncMode of ["always", "periodic"] satisfies FsyncMode[]) {
  describeEventLog(`segments on the real disk, ${fsyncMode}`, async () => {
    const directory = await mkdtemp(join(tmpdir(), "annals-log-"));
    const { log } = await openTestLog(directory, { fsyncMode, recordBytesMax });
    const dispose = async (): Promise<void> => {
      await log.close();
      await rm(directory, { recursive: true });
    };
    return { log, recordBytesMax, dispose };
  });
}

describeEventLog("segments on the simulated disk", async () => {
  const files = new SimulatedDisk(Date.now()).mount();
  const { log } = await openTestLog("/disk", { files, recordBytesMax });
  return { log, recordBytesMax, dispose: () => log.close() };
});
