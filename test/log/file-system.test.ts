/** One contract suite, run on the real file system and on the simulated one. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { realFileSystem } from "../../log/index.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { describeFileSystem } from "../support/file-system-contract.js";

describeFileSystem("real", async () => {
  const directory = await mkdtemp(join(tmpdir(), "annals-files-"));
  return { files: realFileSystem, directory, dispose: () => rm(directory, { recursive: true }) };
});

describeFileSystem("simulated", async () => {
  const files = new SimulatedDisk(Date.now()).mount();
  await files.makeDirectory("/disk");
  return { files, directory: "/disk", dispose: () => Promise.resolve() };
});

describe.runIf(process.platform === "linux")("the real file system", () => {
  test("fails where no directory can be made, and does not try for ever", async () => {
    await expect(realFileSystem.makeDirectory("/proc/annals/data")).rejects.toMatchObject({ code: "ENOENT" });
  });
});
