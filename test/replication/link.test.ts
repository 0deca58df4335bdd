/** A primary's side and a replica's side over a network in memory, real logs on simulated disks: every way to begin, and what comes after. */
import { describe, expect, it } from "vitest";
import { type Epoch, openLogView } from "../../log/index.js";
import { ReplicationError } from "../../replication/errors.js";
import { LinkNodeDouble } from "../support/link-node.js";
import {
  primaryWith,
  replicaOf,
  retiredTo,
  same,
  snapshotOf,
  type WithPrimary,
} from "../support/link-world.js";
import { appendMany, at, DISK } from "../support/test-log.js";

const stopping = (): ReplicationError => new ReplicationError("REPLICATION_STOPPING", "the test says so");

/** The replica leads now, and has written `more` records that the primary lacks. */
async function takeOver(replica: LinkNodeDouble, above: LinkNodeDouble, more: number): Promise<WithPrimary> {
  await replica.receiver?.stop();
  await replica.required.startEpoch({ above: above.required.epochs.at(-1)!.epoch });
  await appendMany(replica.required, more);
  return { world: replica.world, primary: replica, address: await replica.listen() };
}

/** A full sync whose snapshot, of so many bytes, is on its way until `read`; `retain` keeps nothing that nobody needs. */
async function slowlySynced(bytes: number) {
  const set = await primaryWith(200);
  const { primary, world } = set;
  await retiredTo(primary, 90);
  const snapshot = snapshotOf(150, bytes);
  let read = (): void => undefined;
  const reading = new Promise<void>((resolve) => {
    read = resolve;
  });
  primary.snapshot = {
    ...snapshot,
    read: async function* () {
      await reading;
      yield* snapshot.read();
    },
  };
  const replica = new LinkNodeDouble(world);
  replica.follow(set.address);
  const isInstalling = () => replica.receiver?.progress.phase === "installing";
  await world.clock.until(isInstalling, "it is sent a snapshot");
  const retain = async (): Promise<void> => {
    const log = primary.required;
    const holders = (primary.listener?.senders ?? []).flatMap(({ progress }) => progress.needs ?? []);
    await log.retain(at(Math.min(log.segmentStart(log.durableOffset), ...holders)));
  };
  return { set, replica, read, retain };
}

describe("joining", () => {
  it("an empty node gets the whole log, and goes on with what is appended", async () => {
    const set = await primaryWith(200);
    const replica = await replicaOf(set);
    expect(replica.installs).toBe(1);
    await appendMany(set.primary.required, 100);
    await same(set.primary, replica);
    const progress = set.primary.listener?.senders[0]?.progress;
    expect(progress).toMatchObject({ phase: "streaming", lagMs: 0, bytesInFlight: 0 });
  });

  it("a replica that was away is continued, not sent everything, wherever it had got to", async () => {
    const set = await primaryWith(40);
    const replica = await replicaOf(set);
    for (const more of [0, 1, 2, 17, 30]) {
      await replica.receiver?.stop();
      await appendMany(set.primary.required, more);
      replica.receiver?.start();
      await same(set.primary, replica);
    }
    expect(replica.receiver?.progress).toMatchObject({ fullSyncs: 1, partialSyncs: 5, cuts: 0 });
  });

  it("a replica that lost power goes on from what it still has", async () => {
    const set = await primaryWith(100, { log: { fsyncMode: "always" } });
    const replica = await replicaOf(set, { log: { fsyncMode: "never" } });
    await appendMany(set.primary.required, 60);
    await set.world.clock.until(() => replica.end > 110, "some has come");
    await replica.loseDisk();
    replica.follow(set.address);
    await set.world.clock.until(() => replica.end === set.primary.end, "everything is there again");
    for (const [base, bytes] of await replica.segments())
      expect((await set.primary.segments()).get(base)).toContain(bytes);
    expect(replica.installs).toBe(1);
  });

  it("a replica restored from elsewhere with the same records is continued", async () => {
    const set = await primaryWith(30);
    const one = await replicaOf(set);
    await one.close();
    await appendMany(set.primary.required, 30);
    await one.open(true);
    one.follow(set.address);
    await same(set.primary, one);
    expect(one.receiver?.progress).toMatchObject({ fullSyncs: 0, partialSyncs: 1 });
  });
});

describe("a log that leaves the primary's", () => {
  it.each([1, 2, 3, 7, 20, 35])(
    "is cut after record %i, the last that both have, and what is cut is kept",
    async (common) => {
      const old = await primaryWith(common - 1);
      const replica = await replicaOf(old);
      const set = await takeOver(replica, old.primary, 11);
      await appendMany(old.primary.required, 25);
      await old.primary.required.beginFollowing();
      old.primary.follow(set.address);
      await same(set.primary, old.primary);
      expect(old.primary.cuts.map(({ offset }) => offset)).toEqual([common]);
      expect(old.primary.kept).toMatchObject([{ first: common + 1, last: common + 25, records: 25 }]);
      const directory = `${DISK}/${old.primary.kept[0]!.directory}`;
      const kept = await openLogView(old.primary.files, directory);
      expect(kept.endOffset).toBe(common + 25);
    },
  );

  it("is cut also when it is the shorter one", async () => {
    const old = await primaryWith(20);
    const replica = await replicaOf(old);
    const set = await takeOver(replica, old.primary, 90);
    await appendMany(old.primary.required, 3);
    await old.primary.required.beginFollowing();
    old.primary.follow(set.address);
    await same(set.primary, old.primary);
    expect(old.primary.kept).toMatchObject([{ first: 22, last: 24 }]);
  });

  it("after two changes of leadership is cut where the first one was (KIP-101)", async () => {
    const a = await primaryWith(10);
    const b = await replicaOf(a);
    const c = await replicaOf(a);
    await a.primary.listener?.close(stopping());
    await appendMany(a.primary.required, 9);
    const second = await takeOver(b, a.primary, 4);
    await c.receiver?.stop();
    c.follow(second.address);
    await same(b, c);
    await appendMany(b.required, 2);
    await same(b, c);
    await b.listener?.close(stopping());
    await appendMany(b.required, 5);
    const third = await takeOver(c, b, 3);
    for (const returning of [a.primary, b]) {
      await returning.required.beginFollowing();
      returning.follow(third.address);
      await same(c, returning);
    }
    expect(a.primary.kept).toMatchObject([{ first: 12, last: 20 }]);
    expect(b.kept).toMatchObject([{ first: 19, last: 23 }]);
  });

  it("with nothing in common that both keep is replaced", async () => {
    const old = await primaryWith(30);
    const replica = await replicaOf(old);
    const set = await takeOver(replica, old.primary, 200);
    await appendMany(old.primary.required, 5);
    const first = await retiredTo(replica, 150);
    replica.snapshot = snapshotOf(first - 1, 10);
    await old.primary.required.beginFollowing();
    const last = old.primary.end;
    old.primary.follow(set.address);
    await same(replica, old.primary);
    expect(old.primary).toMatchObject({ installs: 1, cuts: [], kept: [{ first: 1, last }] });
  });
});

describe("a full sync", () => {
  it("brings the snapshot when the log no longer begins with its first record, and the log from the segment that has the snapshot's", async () => {
    const set = await primaryWith(200);
    const { primary } = set;
    const first = await retiredTo(primary, 90);
    const snapshot = snapshotOf(150, 1_500_001);
    primary.snapshot = snapshot;
    const replica = await replicaOf(set);
    expect(replica.required.firstOffset).toBe(primary.required.segmentStart(at(150)));
    expect(replica.required.firstOffset).toBeGreaterThan(first);
    expect(Buffer.compare(await replica.snapshotBytes(snapshot.name), snapshot.content)).toBe(0);
  });

  it("is given to a replica that retention has left behind", async () => {
    const set = await primaryWith(20);
    const replica = await replicaOf(set);
    await replica.receiver?.stop();
    await appendMany(set.primary.required, 300);
    const first = await retiredTo(set.primary, 200);
    set.primary.snapshot = snapshotOf(first, 1_000);
    replica.receiver?.start();
    await same(set.primary, replica);
    // The primary's log goes on from the old one: nothing is kept of that.
    expect(replica).toMatchObject({ installs: 2, cuts: [], kept: [] });
  });

  it("keeps what it needs next from retention until the replica has caught up, and is made once", async () => {
    const { set, replica, read, retain } = await slowlySynced(400_000);
    for (let i = 0; i < 5; i++) {
      await appendMany(set.primary.required, 200);
      await retain();
    }
    expect(set.primary.required.firstOffset).toBeLessThanOrEqual(set.primary.required.segmentStart(at(150)));
    read();
    await same(set.primary, replica);
    expect(replica.installs).toBe(1);
    expect(set.primary.senderEnds).toEqual([]);
    await retain();
    expect(set.primary.required.firstOffset).toBeGreaterThan(1000);
  });

  it("keeps it no longer once as much was written as the sync brings, so that a replica that gets nowhere fills no disk", async () => {
    const { set, retain } = await slowlySynced(100_000);
    const needed = set.primary.required.segmentStart(at(150));
    for (let i = 0; i < 3; i++) await appendMany(set.primary.required, 200);
    await retain();
    expect(set.primary.required.firstOffset).toBe(needed);
    for (let i = 0; i < 5; i++) await appendMany(set.primary.required, 200);
    await retain();
    expect(set.primary.required.firstOffset).toBeGreaterThan(1000);
  });

  it("that retention has waited for long enough begins anew at once, without the rest of a snapshot that is of no use any more", async () => {
    const { set, replica, read, retain } = await slowlySynced(100_000);
    const { primary, world } = set;
    for (let i = 0; i < 8; i++) await appendMany(primary.required, 200);
    await retain();
    expect(primary.required.firstOffset).toBeGreaterThan(1000);
    read();
    await world.clock.until(() => primary.senderEnds.length > 0, "the link ended");
    expect(primary.senderEnds[0]).toMatchObject({ code: "REPLICATION_RECORDS_RETIRED" });
    expect(replica.receiver?.progress.bytesReceived).toBe(0);
    primary.snapshot = snapshotOf(primary.required.firstOffset, 1_000);
    await same(primary, replica);
    expect(replica.installs).toBe(1);
  });

  it("is not needed by a replica that ends directly before what retention has kept", async () => {
    const set = await primaryWith(100);
    const first = set.primary.required.segmentStart(at(60));
    const replica = await replicaOf(set);
    await replica.receiver?.stop();
    await replica.required.truncate(at(first - 1));
    await set.primary.required.retain(at(first));
    expect(set.primary.required.firstOffset).toBe(first);
    replica.receiver?.start();
    await same(set.primary, replica);
    expect(replica).toMatchObject({ installs: 1, cuts: [] });
  });

  it.each([undefined, 5, 10_000])(
    "waits while the snapshot is %s and records before the log's beginning are missing",
    async (offset) => {
      const set = await primaryWith(200);
      await retiredTo(set.primary, 90);
      if (offset !== undefined) set.primary.snapshot = snapshotOf(offset, 100);
      const replica = new LinkNodeDouble(set.world);
      replica.follow(set.address);
      await set.world.clock.until(() => replica.failures.length > 1, "it was refused twice");
      expect(replica.failures[0]?.code).toBe("REPLICATION_NOT_READY");
      expect(set.primary.senderEnds[0]?.code).toBe("REPLICATION_NOT_READY");
      expect(replica.installs).toBe(0);
      set.primary.snapshot = snapshotOf(set.primary.required.firstOffset - 1, 100);
      await same(set.primary, replica);
    },
  );

  it("is made when it is asked for, with the snapshot, and once", async () => {
    const set = await primaryWith(200);
    const replica = await replicaOf(set);
    set.primary.snapshot = snapshotOf(120, 5_000);
    replica.receiver?.resync();
    await set.world.clock.until(() => replica.installs === 2, "it has everything anew");
    await same(set.primary, replica);
    expect(replica.required.firstOffset).toBe(set.primary.required.segmentStart(at(120)));
    set.world.network.cutAll();
    await set.world.clock.until(
      () => (replica.receiver?.progress.partialSyncs ?? 0) > 0,
      "it is connected again",
    );
    await same(set.primary, replica);
    expect(replica).toMatchObject({ installs: 2, kept: [] });
  });

  it("that is asked for again while it is under way goes on, in whatever phase it is", async () => {
    const set = await primaryWith(200);
    const replica = await replicaOf(set);
    set.primary.snapshot = snapshotOf(120, 900_000);
    const { receiver } = replica;
    expect(receiver?.resync()).toBe(true);
    for (const phase of ["connecting", "greeting", "comparing", "installing"]) {
      expect(receiver?.resync()).toBe(false);
      await set.world.clock.until(() => receiver?.progress.phase === phase, `it is ${phase}`);
    }
    expect(receiver?.resync()).toBe(false);
    await set.world.clock.until(() => (receiver?.progress.bytesReceived ?? 0) > 600_000, "most has come");
    expect(receiver?.resync()).toBe(false);
    await same(set.primary, replica);
    expect(receiver?.progress).toMatchObject({ reconnects: 1, fullSyncs: 2 });
    expect(replica.installs).toBe(2);
    expect(receiver?.resync()).toBe(true);
    await set.world.clock.until(() => replica.installs === 3, "it has everything anew");
  });

  it("of a new replica is not begun anew either, but one that was lost is, and at once", async () => {
    const set = await primaryWith(200);
    set.primary.snapshot = snapshotOf(120, 900_000);
    await retiredTo(set.primary, 120);
    const replica = new LinkNodeDouble(set.world);
    const receiver = replica.follow(set.address);
    const phaseIs = (phase: string) =>
      set.world.clock.until(() => receiver.progress.phase === phase, `it is ${phase}`);
    await phaseIs("installing");
    expect(receiver.resync()).toBe(false);
    set.world.network.cutAll();
    await phaseIs("waiting");
    expect(receiver.resync()).toBe(true);
    expect(receiver.progress.phase).toBe("connecting");
    await same(set.primary, replica);
    expect(replica.installs).toBe(1);
  });

  it("whose snapshot is not as long as announced is given up on both sides, and made anew", async () => {
    const set = await primaryWith(200);
    await retiredTo(set.primary, 90);
    const sound = snapshotOf(150, 900_000);
    set.primary.snapshot = { ...sound, bytes: 900_001 };
    const replica = new LinkNodeDouble(set.world);
    replica.follow(set.address);
    await set.world.clock.until(() => replica.failures.length > 0, "it failed");
    expect(replica.failures[0]?.code).toBe("REPLICATION_INSTALL_FAILED");
    set.primary.snapshot = sound;
    await same(set.primary, replica);
  });
});

describe("a chain of replicas", () => {
  it("carries everything on, byte for byte, and new leaderships too", async () => {
    const set = await primaryWith(50);
    const middle = await replicaOf(set);
    const next = { world: set.world, primary: middle, address: await middle.listen() };
    const last = await replicaOf(next);
    await appendMany(set.primary.required, 50);
    await same(set.primary, middle);
    await same(middle, last);
    await set.primary.required.startEpoch({ above: 4 as Epoch });
    await appendMany(set.primary.required, 5);
    await same(set.primary, middle);
    await same(middle, last);
    expect(last.own).toEqual(set.primary.own);
    expect(last.failures).toEqual([]);
  });

  it("is cut link by link, each at its own last common record", async () => {
    const old = await primaryWith(20);
    const next = await replicaOf(old);
    const set = await takeOver(next, old.primary, 30);
    // The old primary led somebody else on, who has all of it, and one who has only some.
    await appendMany(old.primary.required, 10);
    const last = await replicaOf(old);
    await appendMany(old.primary.required, 10);
    await same(old.primary, last);
    await old.primary.required.beginFollowing();
    old.primary.follow(set.address);
    await same(next, old.primary);
    await same(old.primary, last);
    expect(old.primary.kept).toMatchObject([{ first: 22, last: 41 }]);
    expect(last.kept).toMatchObject([{ first: 22, last: 41 }]);
    expect([...last.failures, ...old.primary.senderEnds].map(({ code }) => code)).not.toContain(
      "REPLICATION_LOG_DAMAGED",
    );
  });

  it("waits for a middle that is only late, and cuts nothing that it will get itself", async () => {
    const set = await primaryWith(30);
    const middle = await replicaOf(set);
    const last = await replicaOf(set);
    await middle.receiver?.stop();
    const next = { world: set.world, primary: middle, address: await middle.listen() };
    await appendMany(set.primary.required, 20);
    await same(set.primary, last);
    await last.receiver?.stop();
    last.follow(next.address);
    await set.world.clock.advance(5_000);
    expect(last.receiver?.progress.phase).toBe("comparing");
    middle.receiver?.start();
    await same(middle, last);
    expect(last).toMatchObject({ cuts: [], installs: 1, failures: [] });
  });
});
