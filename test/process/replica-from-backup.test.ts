/** Replicas that begin with what `annals restore` made of a backup or an archive: only the rest comes over the network. */
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { runAnnals } from "../support/annals-command.js";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";
import { endOf, expectOne, hasAll, listed, until } from "../support/set-waits.js";

let set: ReplicaSet;
afterEach(() => set.end());

async function write(node: SetNode, from: number, count: number): Promise<void> {
  const answers = await Promise.all(
    Array.from({ length: count }, (_, i) => node.client.put(`key-${from + i}`, "v".repeat(500))),
  );
  expect(answers.every(({ status }) => status === 201)).toBe(true);
}

/** All that the node has, in a backup and in the archive. */
async function save(node: SetNode, backups: string): Promise<void> {
  const made = await runAnnals(["backup", backups, "--data-dir", node.directory]);
  expect(made.code, made.stderr).toBe(0);
  const end = await endOf(node);
  await until("it is archived", async () => {
    const metrics = (await node.get("/metrics")).text;
    return Number(/^annals_archive_last_offset (\d+)$/m.exec(metrics)?.[1] ?? 0) >= end;
  });
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
    // Some segments, and then a few records at a time: the tail is saved in pieces, of what is one segment.
    await write(one, 0, 100);
    await save(one, backups);
    for (const from of [100, 103]) {
      await write(one, from, 3);
      await save(one, backups);
    }
    const saved = await endOf(one);
    await write(one, 106, 100);
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
      // All but what the backup or the archive had.
      expect(received).toBeLessThanOrEqual((await endOf(replica)) - saved);
      expect(replica.output).toContain("the epoch that the restore began was taken back");
    }
  });

  it("that was written to since is a later history: the primary that meets it writes no more", async () => {
    set = await ReplicaSet.begin();
    const backups = join(set.directory, "backups");
    const one = await set.primary("one");
    await write(one, 0, 3);
    expect((await runAnnals(["backup", backups, "--data-dir", one.directory])).code).toBe(0);
    await restore(backups, "two");
    const alone = await set.primary("two");
    await write(alone, 10, 1);
    await alone.kill();
    await set.restart(alone, ["--role", "replica", "--master-address", one.address]);
    await until("the old history is fenced", async () => (await one.stats())["fenced"] !== null);
    expect((await alone.get("/kv/key-10")).status).toBe(200);
  });
});
