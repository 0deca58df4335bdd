/** How long a restore takes: from a repository on the same disk, until the directory could be served. */
import { randomBytes } from "node:crypto";
import { realFileSystem } from "../../log/index.js";
import { makeBackup } from "../backup/backup.js";
import { DirectoryStore } from "../backup/directory-store.js";
import { findRestorePoint } from "../backup/find-point.js";
import { PARALLEL_DEFAULT, restore } from "../backup/restore.js";
import { planRestore } from "../backup/restore-plan.js";
import { openBenchLog } from "./log-rows.js";
import type { Row } from "./row.js";

const BODY_BYTES = 1024;
const GIB = 2 ** 30;
const GOAL_SECONDS = 60;
const stopwatch = (): number => performance.now();

/** A log of about so many bytes. */
async function fill(dataDirectory: string, bytes: number): Promise<void> {
  const { log } = await openBenchLog(dataDirectory, "never");
  const body = randomBytes(BODY_BYTES);
  for (let left = Math.ceil(bytes / BODY_BYTES); left > 0; left -= 5000) {
    const timestamp = Date.now();
    for (let each = 0; each < Math.min(left, 5000); each++)
      log.append({ kind: 0x7000, version: 1, timestamp, body });
    await log.whenCommitted(log.endOffset);
  }
  await log.close();
}

export const restoreRow: Row = {
  name: "restore",
  run: async (bench) => {
    const dataDirectory = bench.newDirectory("restore-source");
    const directory = bench.newDirectory("restore-repository");
    const store = new DirectoryStore({ files: realFileSystem, directory, randomBytes });
    const bytes = bench.rounds > 1 ? GIB : GIB / 8;
    await fill(dataDirectory, bytes);
    const common = { files: realFileSystem, now: Date.now, stopwatch, holder: "annals bench" };
    await makeBackup({ ...common, dataDirectory, store, tool: "annals bench", copy: true });
    const begun = stopwatch();
    const plan = await planRestore(store, { type: "latest" }, { findPoint: findRestorePoint });
    const target = `${bench.newDirectory("restore-target")}/data`;
    const report = await restore(plan, {
      ...common,
      store,
      dataDirectory: target,
      parallel: PARALLEL_DEFAULT,
      randomBytes,
    });
    const seconds = (stopwatch() - begun) / 1000;
    const perGib = (seconds * GIB) / report.bytes;
    return [
      {
        what: "restore of 1 GiB from a local repository",
        goal: `≤ ${GOAL_SECONDS} s`,
        measured: `${perGib.toFixed(1)} s (${(report.bytes / 2 ** 20 / seconds).toFixed(0)} MiB/s; ${(report.bytes / GIB).toFixed(2)} GiB in ${seconds.toFixed(1)} s)`,
        reached: perGib <= GOAL_SECONDS,
        numbers: { bytes: report.bytes, seconds, perGib },
      },
    ];
  },
};
