/** What the world does to a link: it ends at any byte, bytes change on the way, a replica is slow, a disk decays. */
import { describe, expect, it } from "vitest";
import { offset, SEGMENT_HEADER_BYTES } from "../../log/index.js";
import { seededRandom } from "../../props/run-settings.js";
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
import type { Way } from "../support/memory-network.js";
import { appendMany, DISK_LOG, segmentFile, textRecord } from "../support/test-log.js";

const toReplica = ({ from }: Way): boolean => from === "acceptor";

/** Everything that the replica has is what the primary has there. */
async function isPrefix(primary: LinkNodeDouble, replica: LinkNodeDouble): Promise<void> {
  const log = replica.log();
  if (log === undefined || log.durableOffset === 0) return;
  const position = await log.positionAt(log.durableOffset);
  expect(position).toEqual(await primary.required.positionAt(position.offset));
}

describe("a connection that is cut", () => {
  it("after any byte, either way, is made again, and everything arrives once", async () => {
    const bytesOneWay = 16_000;
    for (const from of ["acceptor", "dialler"] as const) {
      const set = await primaryWith(60);
      const replica = new LinkNodeDouble(set.world);
      let left = 0;
      let next = 1;
      let cuts = 0;
      set.world.network.faults.pieceBytes = () => Math.max(1, Math.min(left, 3_000));
      set.world.network.faults.onWay = (bytes, way) => {
        if (way.from !== from) return bytes;
        left -= bytes.length;
        if (left > 0 || next > bytesOneWay) return bytes;
        cuts++;
        next = Math.ceil(next * 1.35);
        left = next;
        return "cut";
      };
      replica.follow(set.address);
      await set.world.clock.until(
        () => next > bytesOneWay || (from === "dialler" && cuts > 20),
        "enough was cut",
        3_000_000,
      );
      set.world.network.faults.onWay = (bytes) => bytes;
      await same(set.primary, replica);
      expect(cuts).toBeGreaterThan(15);
      expect(replica.installs).toBe(1);
    }
  });

  it("while records stream, at any byte, loses none and repeats none", async () => {
    const set = await primaryWith(5);
    const replica = await replicaOf(set);
    const applied: number[] = [];
    replica.required.appended.subscribe((record) => applied.push(record.offset));
    const first = replica.end + 1;
    for (let cutAfter = 1; cutAfter < 2_000; cutAfter = Math.ceil(cutAfter * 1.5)) {
      let left = cutAfter;
      set.world.network.faults.pieceBytes = () => (left > 0 ? left : 100_000);
      set.world.network.faults.onWay = (bytes, way) => {
        if (!toReplica(way) || left <= 0) return bytes;
        left -= bytes.length;
        return left > 0 ? bytes : "cut";
      };
      await appendMany(set.primary.required, 10);
      await same(set.primary, replica);
    }
    expect(applied).toEqual(Array.from({ length: applied.length }, (_, i) => first + i));
    expect(replica).toMatchObject({ installs: 1, cuts: [] });
  });

  it("waits longer each time when nobody is there, and not in step with others", async () => {
    const set = await primaryWith(1);
    await set.primary.listener?.close(new ReplicationError("REPLICATION_STOPPING", "the test says so"));
    const waits: number[][] = [];
    for (let i = 0; i < 2; i++) {
      const replica = new LinkNodeDouble(set.world);
      const receiver = replica.follow(set.address);
      const tries: number[] = [];
      while (tries.length < 12) {
        const { length } = replica.failures;
        await set.world.clock.until(() => replica.failures.length > length, "another try failed", 10_000_000);
        tries.push((receiver.progress.retryAt ?? 0) - set.world.clock.stopwatch());
      }
      expect(replica.failures[0]?.code).toBe("REPLICATION_CONNECTION_FAILED");
      expect(tries[0]).toBeLessThanOrEqual(100);
      expect(tries[0]).toBeGreaterThan(50);
      expect(Math.max(...tries)).toBeLessThanOrEqual(60_000);
      expect(tries[11]).toBeGreaterThan(40_000);
      waits.push(tries);
      await receiver.stop();
    }
    expect(waits[0]).not.toEqual(waits[1]);
  });
});

describe("bytes that change on the way", () => {
  it("never become records: the link ends, and the next one brings what is missing", async () => {
    const random = seededRandom(7);
    const set = await primaryWith(40);
    const replica = new LinkNodeDouble(set.world);
    let flips = 30;
    set.world.network.faults.onWay = (bytes) => {
      if (flips === 0 || random() > 0.2) return bytes;
      flips--;
      const changed = Uint8Array.from(bytes);
      changed[Math.floor(random() * changed.length)]! ^= 1 << Math.floor(random() * 8);
      return changed;
    };
    replica.follow(set.address);
    while (flips > 0) {
      await appendMany(set.primary.required, 3);
      const before = flips;
      await set.world.clock.until(() => flips < before, "more changed");
      await isPrefix(set.primary, replica);
    }
    await same(set.primary, replica);
    const codes = new Set([...replica.failures, ...set.primary.senderEnds].map(({ code }) => code));
    expect(codes).toContain("REPLICATION_FRAME_BAD");
  });
});

/** How many bytes are on their way to the replica, whenever something comes through. */
function inFlight({ world, primary }: WithPrimary): readonly number[] {
  const seen: number[] = [];
  world.network.faults.onWay = (bytes) => {
    seen.push(primary.listener?.senders[0]?.progress.bytesInFlight ?? 0);
    return bytes;
  };
  return seen;
}

describe("a slow replica", () => {
  it("has no more on its way than the window, and costs the primary nothing else", async () => {
    const windowBytes = 8 * 1024;
    const set = await primaryWith(5, { settings: { windowBytes } });
    const replica = await replicaOf(set);
    let isStalled = true;
    set.world.network.faults.stalled = (way) => isStalled && toReplica(way);
    await appendMany(set.primary.required, 3_000);
    await set.world.clock.advance(3_000);
    const sender = set.primary.listener?.senders[0];
    const inFlight = sender?.progress.bytesInFlight ?? 0;
    expect(inFlight).toBeGreaterThan(windowBytes / 2);
    expect(inFlight).toBeLessThanOrEqual(windowBytes);
    expect(sender?.progress.lagMs).toBeGreaterThan(2_000);
    isStalled = false;
    set.world.network.resume();
    await same(set.primary, replica);
    expect(replica.failures).toEqual([]);
    expect(sender?.progress).toMatchObject({ lagMs: 0, bytesInFlight: 0 });
  });

  it("has no more on its way than a window that is smaller than what lies together on the disk", async () => {
    const windowBytes = 16 * 1024;
    const log = { segmentBytes: 4 * 1024 * 1024, recordBytesMax: 1024 * 1024 };
    const set = await primaryWith(5, { settings: { windowBytes }, log });
    const replica = await replicaOf(set, { log });
    await replica.receiver?.stop();
    const { required } = set.primary;
    for (let each = 0; each < 3; each++) {
      await appendMany(required, 1_000);
      required.append(textRecord("large", 50_000));
      await required.whenCommitted(required.endOffset);
    }
    const seen = inFlight(set);
    replica.receiver?.start();
    await same(set.primary, replica);
    const [large, others] = [seen.filter((bytes) => bytes >= 50_000), seen.filter((bytes) => bytes < 50_000)];
    expect(Math.max(...others)).toBeGreaterThan(windowBytes / 2);
    expect(Math.max(...others)).toBeLessThanOrEqual(windowBytes);
    // A record that is larger goes alone.
    expect(large.length).toBeGreaterThanOrEqual(3);
    expect(new Set(large).size).toBe(1);
  });

  it("is sent no more of a snapshot at once than the window", async () => {
    const windowBytes = 16 * 1024;
    const set = await primaryWith(200, { settings: { windowBytes } });
    await retiredTo(set.primary, 90);
    set.primary.snapshot = snapshotOf(150, 400_000);
    const replica = new LinkNodeDouble(set.world);
    const seen = inFlight(set);
    replica.follow(set.address);
    await same(set.primary, replica);
    expect(Math.max(...seen)).toBeGreaterThan(windowBytes / 2);
    expect(Math.max(...seen)).toBeLessThanOrEqual(windowBytes);
  });

  it("that stays silent is given up on both sides, and comes back", async () => {
    const set = await primaryWith(5);
    const replica = await replicaOf(set);
    let isStalled = true;
    set.world.network.faults.stalled = () => isStalled;
    await set.world.clock.advance(11_500);
    expect(set.primary.senderEnds.map(({ code }) => code)).toEqual(["REPLICATION_TIMEOUT"]);
    expect(replica.failures.map(({ code }) => code)).toContain("REPLICATION_TIMEOUT");
    expect(set.primary.listener?.senders).toEqual([]);
    await appendMany(set.primary.required, 20);
    isStalled = false;
    set.world.network.resume();
    await same(set.primary, replica);
  });

  it("is not given up while it only has nothing to say but heartbeats", async () => {
    const set = await primaryWith(5);
    const replica = await replicaOf(set);
    await set.world.clock.advance(120_000);
    expect(replica.failures).toEqual([]);
    expect(replica.heartbeats.length).toBeGreaterThan(100);
    expect(replica.heartbeats.at(-1)).toMatchObject({ end: set.primary.end, own: set.primary.own });
  });

  it("whose disk is slow lets the records wait on the way, not in its memory", async () => {
    const set = await primaryWith(5);
    const replica = await replicaOf(set, {
      log: { pendingBytesMax: 70_000, recordBytesMax: 4_096 },
      disk: { syncTurnsMax: 60 },
    });
    let busy = 0;
    const log = replica.required;
    const receive = log.receive.bind(log);
    log.receive = (run) => {
      const received = receive(run);
      received.catch((error: { code?: string }) => {
        if (error.code === "LOG_BUSY") busy++;
      });
      return received;
    };
    await appendMany(set.primary.required, 1_500);
    await same(set.primary, replica);
    expect(busy).toBeGreaterThan(0);
    expect(replica.failures).toEqual([]);
  });
});

describe("messages", () => {
  it("are acted upon one after the other, also those that come while one takes its time", async () => {
    const set = await primaryWith(200);
    set.world.network.faults.ignoresPause = true;
    const replica = await replicaOf(set, { disk: { syncTurnsMax: 20 } });
    expect(replica.failures).toEqual([]);
    expect(replica.installs).toBe(1);
  });
});

describe("what is acknowledged", () => {
  it("is durable on the replica's own disk, in every mode of syncing", async () => {
    for (const fsyncMode of ["always", "periodic", "never"] as const) {
      const set = await primaryWith(5);
      const replica = new LinkNodeDouble(set.world, {
        log: { fsyncMode, fsyncIntervalMs: 40, segmentBytes: 65_536 },
      });
      replica.follow(set.address);
      let acks = 0;
      set.primary.onAcknowledged = (progress) => {
        acks++;
        expect(progress.durable).toBeLessThanOrEqual(replica.log()?.durableOffset ?? 0);
        expect(progress.committed).toBeLessThanOrEqual(replica.log()?.committedOffset ?? 0);
      };
      await set.world.clock.until(() => replica.end === set.primary.end, "it has joined");
      for (let i = 0; i < 5; i++) await appendMany(set.primary.required, 20);
      await set.world.clock.until(() => replica.required.committedOffset === set.primary.end, "it has all");
      if (fsyncMode === "always") await same(set.primary, replica);
      if (fsyncMode === "periodic") {
        // By a timer of the log's own.
        await expect.poll(() => replica.required.durableOffset).toBe(replica.required.endOffset);
        await set.world.clock.until(() => set.primary.acknowledged === set.primary.end, "the primary knows");
      }
      if (fsyncMode === "never") expect(set.primary.acknowledged).toBeLessThan(set.primary.end);
      expect(acks).toBeGreaterThan(3);
      await replica.receiver?.stop();
    }
  });
});

describe("damage on a primary", () => {
  it("ends the link, is told, and nothing damaged arrives", async () => {
    const set = await primaryWith(10);
    const replica = await replicaOf(set);
    await replica.receiver?.stop();
    const before = replica.end;
    await appendMany(set.primary.required, 300);
    const base = set.primary.required.segmentStart(offset(before + 100));
    set.primary.disk.flip(`${DISK_LOG}/${segmentFile(base)}`, SEGMENT_HEADER_BYTES + 700, 4);
    replica.receiver?.start();
    await set.world.clock.until(() => replica.failures.length > 2, "it was refused three times");
    expect(new Set(replica.failures.map(({ code }) => code))).toEqual(new Set(["REPLICATION_LOG_DAMAGED"]));
    expect(set.primary.senderEnds.at(-1)?.code).toBe("REPLICATION_LOG_DAMAGED");
    expect(replica.end).toBeGreaterThan(before);
    expect(replica.end).toBeLessThan(base + 10);
    await isPrefix(set.primary, replica);
  });
});
