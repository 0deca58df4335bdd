/** Replicas that begin with what `annals restore` made of a backup or an archive: only the rest comes over the network. */
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { runAnnals } from "../support/annals-command.js";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";
import { endOf, expectOne, hasAll, listed, until } from "../support/set-waits.js";

let set: ReplicaSet;
afterEach(() => set.end());

/** As one record, which takes up most of a segment: no two are in one, and whatever is archived of the tail is its beginning. */
async function write(node: SetNode, from: number): Promise<void> {
  const pairs = Array.from({ length: 100 }, (_, i) => ({ key: `key-${from + i}`, value: "v".repeat(500) }));
  expect((await node.post("/kv/mset", { pairs })).status).toBe(200);
}

/** Into the directory that the node of this name will have. */
async function restore(repository: string, name: string): Promise<void> {
  const into = ["--data-dir", join(set.directory, name)];
  const made = await runAnnals(["restore", "--from", repository, "--latest", ...into]);
  expect(made.code, made.stderr).toBe(0);
}

describe("a replica in a restored directory", () => {
  it("goes on where the backup or the archive ends, takes no lead from the primary, and has the same log", async () => {
    set = await ReplicaSet.begin();
    const [backups, archive] = [join(set.directory, "backups"), join(set.directory, "archive")];
    const one = await set.primary("one", [], {
      ANNALS_ARCHIVE_URL: archive,
      ANNALS_ARCHIVE_INTERVAL_SECS: "1",
    });
    await write(one, 0);
    const made = await runAnnals(["backup", backups, "--data-dir", one.directory]);
    expect(made.code, made.stderr).toBe(0);
    await until("something is archived", async () =>
      /^annals_archive_last_offset 2$/m.test((await one.get("/metrics")).text),
    );
    await write(one, 100);
    await Promise.all([restore(backups, "two"), restore(archive, "three")]);

    const replicas = [await set.replica("two", one), await set.replica("three", one)];
    for (const replica of replicas) await hasAll(replica, one);
    await listed(replicas, one);
    for (const replica of replicas) await hasAll(replica, one);
    await expectOne(one, ...replicas);
    expect(await one.stats()).toMatchObject({ epoch: 1, fenced: null });
    for (const replica of replicas) {
      const { total_replicated: received, ...stats } = await replica.stats();
      expect(stats).toMatchObject({ epoch: 1, full_syncs: 0, partial_syncs: 1, divergences: 0 });
      // All but what the backup or the archive had, two records at least.
      expect(received).toBeLessThanOrEqual((await endOf(replica)) - 2);
      expect(replica.output).toContain("the epoch that the restore began was taken back");
    }
  });

  it("that was written to since is a later history: the primary that meets it writes no more", async () => {
    set = await ReplicaSet.begin();
    const backups = join(set.directory, "backups");
    const one = await set.primary("one");
    await write(one, 0);
    expect((await runAnnals(["backup", backups, "--data-dir", one.directory])).code).toBe(0);
    await restore(backups, "two");
    const alone = await set.primary("two");
    await write(alone, 100);
    await alone.kill();
    await set.restart(alone, ["--role", "replica", "--master-address", one.address]);
    await until("the old history is fenced", async () => (await one.stats())["fenced"] !== null);
    expect((await alone.get("/kv/key-110")).status).toBe(200);
  });
});
