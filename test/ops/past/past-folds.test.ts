// States of the past: shared, moved on, let go, stopped on the way, and held to their limits.
import { beforeEach, describe, expect, it } from "vitest";
import { type Offset, offset } from "../../../log/index.js";
import { type Lease, PastFolds } from "../../../ops/past/past-folds.js";
import { asIs, Fold, kv, openStore, type StoreRules, TEXT_TYPE } from "../../../projections/index.js";
import { TEST_STORE_RULES } from "../../support/kv-store.js";
import { MemoryLog } from "../../support/memory-log.js";
import { TEST_FOLD_LIMITS, TestSource } from "../../support/past-in-process.js";

const RECORDS = 50;
const rules: StoreRules = TEST_STORE_RULES;

let log: MemoryLog;
let source: TestSource;
beforeEach(async () => {
  // Small batches, so that there is a way to be stopped on.
  log = new MemoryLog({ batchRecords: 5 });
  const store = await openStore({
    log,
    rules,
    onDead: (error) => {
      throw error;
    },
  });
  for (let i = 1; i <= RECORDS; i++) {
    const context = { now: 1_000 + i, random: 0.5, cause: { command: "test" } };
    const command = { key: `k${i % 7}`, value: `v${i}`, contentType: TEXT_TYPE };
    await store.execute(kv.set, command, context, asIs);
  }
  await store.close();
  source = new TestSource(log, rules);
});

function foldsOf(limits: Partial<typeof TEST_FOLD_LIMITS> = {}): PastFolds {
  return new PastFolds(source, { ...TEST_FOLD_LIMITS, ...limits });
}

async function leased(folds: PastFolds, at: number, signal = new AbortController().signal): Promise<Lease> {
  const lease = await folds.lease(offset(at), signal);
  if (lease.type !== "lease") throw new Error(`refused with ${lease.code}`);
  return lease;
}

async function refusedWith(folds: PastFolds, at: number, signal = new AbortController().signal) {
  const lease = await folds.lease(offset(at), signal);
  if (lease.type === "lease") throw new Error("it was not refused");
  return lease;
}

/** What a fold of the whole prefix says, begun for this question alone. */
function digestAt(at: number): string {
  const fold = new Fold({ rules });
  for (const record of log.records.slice(0, at)) fold.take(record);
  return fold.digests().all;
}

/** Holds every journey up when it is about to read the batch that begins with `at`. */
function holdAt(at: number): { readonly reached: Promise<void>; readonly go: () => void } {
  let go = (): void => undefined;
  let arrived = (): void => undefined;
  const reached = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  const gate = new Promise<void>((resolve) => {
    go = resolve;
  });
  source.pause = async (first) => {
    if (first !== at) return;
    arrived();
    await gate;
  };
  return { reached, go };
}

describe("states of the past", () => {
  it("are the fold of the prefix, for every offset", async () => {
    const folds = foldsOf();
    for (let at = 1; at <= RECORDS; at++) {
      const lease = await leased(folds, at);
      expect(lease.fold.digests().all).toBe(digestAt(at));
      lease.release();
    }
  });

  it("are moved on instead of begun anew, and kept for the same offset", async () => {
    const folds = foldsOf();
    const found = [];
    for (const at of [10, 10, 30, 30]) {
      const lease = await leased(folds, at);
      found.push(lease.found);
      lease.release();
    }
    expect(found).toEqual(["begun", "kept", "moved", "kept"]);
    expect(source.begun).toEqual([0]);
    expect(folds.replayedRecords).toBe(30);
    expect(folds.count).toBe(1);
  });

  it("begin anew for what lies before everything that is kept", async () => {
    const folds = foldsOf();
    (await leased(folds, 30)).release();
    const lease = await leased(folds, 10);
    expect(lease.found).toBe("begun");
    expect(lease.fold.digests().all).toBe(digestAt(10));
    expect(folds.count).toBe(2);
  });

  it("begin with a snapshot that is nearer than what is kept", async () => {
    source.snapshots = [offset(5), offset(25)];
    const folds = foldsOf();
    (await leased(folds, 10)).release();
    const lease = await leased(folds, 30);
    expect(source.begun).toEqual([5, 25]);
    expect(lease.fold.digests().all).toBe(digestAt(30));
    expect(folds.replayedRecords).toBe(10);
  });

  it("stay where they are as long as someone holds them", async () => {
    const folds = foldsOf();
    const held = await leased(folds, 10);
    const other = await leased(folds, 20);
    expect(held.fold.offset).toBe(10);
    expect(held.fold.digests().all).toBe(digestAt(10));
    expect(other.found).toBe("begun");
    held.release();
    other.release();
    expect((await leased(folds, 12)).found).toBe("moved");
  });

  it("are bounded in number: the one unused for longest goes, one that is held does not", async () => {
    const folds = foldsOf({ foldsMax: 2 });
    const held = await leased(folds, 40);
    (await leased(folds, 30)).release();
    (await leased(folds, 20)).release();
    expect(folds.count).toBe(2);
    expect(held.fold.offset).toBe(40);
    expect((await leased(folds, 20)).found).toBe("kept");
  });

  it("are waited for while all that may be kept are held", async () => {
    const folds = foldsOf({ foldsMax: 1 });
    const held = await leased(folds, 40);
    let arrived = false;
    const next = leased(folds, 20).then((lease) => {
      arrived = true;
      return lease;
    });
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(arrived).toBe(false);
    held.release();
    expect((await next).fold.offset).toBe(20);
    expect(folds.count).toBe(1);
  });
});

describe("who asks for the same offset", () => {
  it("shares one fold, also while it is on its way", async () => {
    const folds = foldsOf();
    const hold = holdAt(21);
    const asked = Array.from({ length: 10 }, () => leased(folds, 40));
    await hold.reached;
    asked.push(leased(folds, 40));
    hold.go();
    const leases = await Promise.all(asked);
    expect(new Set(leases.map(({ fold }) => fold)).size).toBe(1);
    expect(source.begun).toEqual([0]);
    expect(folds.replayedRecords).toBe(40);
    for (const lease of leases.slice(1)) lease.release();
    // The first still holds it.
    expect((await leased(folds, 41)).found).toBe("begun");
  });

  it("does not lose it to whoever asks for the next offset", async () => {
    const folds = foldsOf();
    const leases = await Promise.all([20, 30, 20, 40, 30].map((at) => leased(folds, at)).slice(0, 3));
    expect(leases.map(({ fold }) => fold.offset)).toEqual([20, 30, 20]);
    for (const { fold } of leases) expect(fold.digests().all).toBe(digestAt(fold.offset));
  });

  it("shares it with whoever asked in between for another, too", async () => {
    const folds = foldsOf();
    const all = [20, 30, 20].map(async (at) => {
      const lease = await leased(folds, at);
      const digest = lease.fold.digests().all;
      lease.release();
      return digest;
    });
    expect(await Promise.all(all)).toEqual([digestAt(20), digestAt(30), digestAt(20)]);
    expect(source.begun).toEqual([0]);
    expect(folds.replayedRecords).toBe(30);
  });

  it("never gets one that only passes by there", async () => {
    const folds = foldsOf();
    const hold = holdAt(21);
    const far = leased(folds, 40);
    await hold.reached;
    const near = leased(folds, 20);
    hold.go();
    expect((await far).fold.offset).toBe(40);
    expect((await near).fold.offset).toBe(20);
    expect((await near).fold.digests().all).toBe(digestAt(20));
  });

  it("goes on when another who waited gives up", async () => {
    const folds = foldsOf();
    const hold = holdAt(21);
    const impatient = new AbortController();
    const first = folds.lease(offset(40), impatient.signal);
    const second = leased(folds, 40);
    await hold.reached;
    impatient.abort();
    expect(await first).toMatchObject({ type: "refused", code: "API_CLIENT_GONE" });
    hold.go();
    expect((await second).fold.digests().all).toBe(digestAt(40));
    expect(folds.replayedRecords).toBe(40);
  });
});

describe("a journey that nobody waits for", () => {
  it("stops, and whoever asks again goes on from how far it came", async () => {
    const folds = foldsOf();
    const hold = holdAt(21);
    const cancel = new AbortController();
    const asked = folds.lease(offset(40), cancel.signal);
    await hold.reached;
    cancel.abort();
    expect(await asked).toMatchObject({ code: "API_CLIENT_GONE" });
    hold.go();
    const lease = await leased(folds, 40);
    expect(lease.found).toBe("moved");
    expect(source.begun).toEqual([0]);
    expect(folds.replayedRecords).toBe(40);
    expect(lease.fold.digests().all).toBe(digestAt(40));
  });

  it("is not begun at all when it was given up before its turn", async () => {
    const folds = foldsOf();
    const hold = holdAt(21);
    const first = leased(folds, 40);
    await hold.reached;
    const cancel = new AbortController();
    const second = folds.lease(offset(5), cancel.signal);
    cancel.abort();
    hold.go();
    await first;
    expect(await second).toMatchObject({ code: "API_CLIENT_GONE" });
    await leased(folds, 50);
    expect(source.begun).not.toContain(5);
    expect(folds.count).toBe(2);
    expect(await refusedWith(folds, 3, cancel.signal)).toMatchObject({ code: "API_CLIENT_GONE" });
  });
});

describe("limits", () => {
  it("refuse what lies too many records away, from the nearest state that there is", async () => {
    const folds = foldsOf({ recordsMax: 20 });
    expect(await refusedWith(folds, 21)).toMatchObject({
      code: "API_PAST_TOO_FAR",
      details: { records: 21, records_max: 20 },
    });
    expect(folds.replayedRecords).toBe(0);
    (await leased(folds, 20)).release();
    (await leased(folds, 40)).release();
    expect(await refusedWith(folds, 61)).toMatchObject({ code: "API_PAST_TOO_FAR" });
  });

  it("refuse a state that is larger than all may be, and keep nothing of it", async () => {
    const folds = foldsOf({ bytesMax: 10 });
    expect(await refusedWith(folds, 30)).toMatchObject({
      code: "API_PAST_TOO_LARGE",
      details: { bytes_max: 10 },
    });
    expect(folds.count).toBe(0);
    expect(folds.bytes).toBe(0);
  });

  it("refuse a state that a snapshot gives too large, with no record to replay", async () => {
    const folds = foldsOf({ bytesMax: 10 });
    source.snapshots = [offset(30)];
    expect(await refusedWith(folds, 30)).toMatchObject({ code: "API_PAST_TOO_LARGE" });
    expect(folds.count).toBe(0);
  });

  it("let another state go for one that needs the room", async () => {
    const [small] = [foldsOf()];
    (await leased(small, 50)).release();
    const folds = foldsOf({ bytesMax: Math.floor(small.bytes * 1.5) });
    (await leased(folds, 50)).release();
    (await leased(folds, 40)).release();
    expect(folds.count).toBe(1);
    expect((await leased(folds, 40)).found).toBe("kept");
  });
});

describe("failures", () => {
  it("of a read are told to whoever waits, and the next ask begins anew", async () => {
    const folds = foldsOf();
    source.pause = async (at) => {
      if (at === 21) throw new Error("the disk");
    };
    await expect(leased(folds, 40)).rejects.toThrow("the disk");
    expect(folds.count).toBe(0);
    source.pause = () => Promise.resolve();
    expect((await leased(folds, 40)).fold.digests().all).toBe(digestAt(40));
  });

  it("of an old view are met with a new one", async () => {
    const folds = foldsOf();
    const { LogError } = await import("../../../log/index.js");
    let retired = true;
    source.pause = async (at: Offset) => {
      if (at !== 21 || !retired) return;
      retired = false;
      throw new LogError("LOG_OFFSET_RETIRED", "gone");
    };
    expect((await leased(folds, 40)).fold.digests().all).toBe(digestAt(40));
    expect(source.views).toEqual([false, true]);
  });
});
