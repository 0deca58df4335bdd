/** A store on a log that follows another one: it shows what is committed here, by the primary's clock, and decides nothing. */
import { cp, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type EventLog, type OpenedLog, offset } from "../../log/index.js";
import {
  asIs,
  type Decider,
  kv,
  type OpenedStore,
  openStore,
  queue,
  TEXT_TYPE,
} from "../../projections/index.js";
import { TEST_STORE_RULES } from "../support/kv-store.js";
import { openTestLog } from "../support/test-log.js";

const HOUR = 3_600_000;
let directory: string;
let primary: { opened: OpenedLog; store: OpenedStore };
let replica: { opened: OpenedLog; store: OpenedStore };
let primaryTime: number | undefined;
let now = 1_700_000_000_000;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "annals-following-"));
  now = 1_700_000_000_000;
  primaryTime = undefined;
  const opened = await openTestLog(join(directory, "one"), { now: () => now });
  await opened.log.close();
  await cp(join(directory, "one"), join(directory, "two"), { recursive: true });
  primary = await open("one", false);
  replica = await open("two", true);
});

afterEach(async () => {
  await Promise.all([primary.opened.log.close(), replica.opened.log.close()]);
  await rm(directory, { recursive: true });
});

async function open(name: string, following: boolean): Promise<typeof primary> {
  const opened = await openTestLog(join(directory, name), { following, now: () => now });
  const store = await openStore({
    log: opened.log,
    rules: TEST_STORE_RULES,
    followedTime: () => primaryTime,
    onDead: (error) => {
      throw error;
    },
  });
  return { opened, store };
}

const context = () => ({ now, random: 0, cause: { command: "test" } });

async function write<Command, Answer>(decide: Decider<Command, Answer>, command: Command): Promise<void> {
  await primary.store.execute(decide, command, context(), asIs);
}

/** Everything that the replica has not got. */
async function ship(): Promise<void> {
  const { log } = replica.opened;
  const from = primary.opened.log;
  const runs = from.ship(offset(log.endOffset + 1));
  while (log.endOffset < from.durableOffset) {
    const { value } = await runs.next();
    await log.receive(value);
  }
  await runs.return?.();
}

async function shown(key: string): Promise<string | undefined> {
  const outcome = await replica.store.query(kv.get, { key }, context(), asIs);
  return outcome.type === "done" ? outcome.answer?.bytes : undefined;
}

const setA = (expiry?: number) =>
  write(kv.set, {
    key: "a",
    value: "1",
    contentType: TEXT_TYPE,
    ...(expiry === undefined ? {} : { expiry: { type: "milliseconds" as const, value: expiry } }),
  });

const digestsAt = (at: number) => [primary.store.digest(at), replica.store.digest(at)];

describe("a store on a log that follows", () => {
  it("shows what was received, in the same state", async () => {
    await setA();
    await ship();
    expect(await shown("a")).toBe("1");
    const [one, two] = digestsAt(now);
    expect(two).toBe(one);
  });

  it("rings whoever waits for a queue, and for an offset, when that is committed here", async () => {
    const heard: string[] = [];
    replica.store.wakes.on("queue:q", () => heard.push(`queue at ${replica.opened.log.committedOffset}`));
    replica.store.onReached(3, () => heard.push("offset 3"));
    await write(queue.create, { queue: "q" });
    await write(queue.publish, { queue: "q", payload: new Uint8Array([1]) });
    expect(heard).toEqual([]);
    await ship();
    await new Promise(setImmediate);
    expect(heard).toContain("queue at 3");
    expect(heard).toContain("offset 3");
  });

  it("has whoever waits for an offset look again when another epoch begins before it", async () => {
    await setA();
    await ship();
    let looks = 0;
    replica.store.onReached(1000, () => {
      looks++;
    });
    await setA();
    await ship();
    expect(looks).toBe(0);
    await primary.opened.log.startEpoch();
    await ship();
    await new Promise(setImmediate);
    expect(looks).toBe(1);
  });

  it("decides nothing, not even that a command cannot be", async () => {
    await setA();
    await ship();
    const refused = expect.objectContaining({ code: "LOG_FOLLOWING" });
    const set = { key: "b", value: "1", contentType: TEXT_TYPE };
    expect(() => replica.store.execute(kv.set, set, context(), asIs)).toThrow(refused);
    const publish = { queue: "that is not there", payload: new Uint8Array([1]) };
    expect(() => replica.store.execute(queue.publish, publish, context(), asIs)).toThrow(refused);
    expect(replica.opened.log.endOffset).toBe(2);
  });

  it("lets expire what has expired by the primary's clock, whatever its own says", async () => {
    await setA(1000);
    await ship();
    now += HOUR;
    expect(await shown("a"), "the primary was not heard of").toBe("1");
    primaryTime = now - HOUR + 999;
    expect(await shown("a")).toBe("1");
    primaryTime += 1;
    expect(await shown("a")).toBeUndefined();
  });

  it("keeps what has not expired at its last record, since the next may be about it", async () => {
    await setA(1000);
    await ship();
    // Ahead of the primary, as an estimate may be.
    primaryTime = now + 5000;
    expect(replica.store.reclaimExpired(now + HOUR, 100)).toBe(0);
    now += 500;
    await write(kv.persist, { key: "a" });
    await ship();
    expect(await shown("a")).toBe("1");
    const [one, two] = digestsAt(now);
    expect(two).toBe(one);
  });

  it("takes commands when it leads, and tells of the epoch that begins then", async () => {
    await setA();
    await ship();
    let reached = false;
    replica.store.onReached(3, () => {
      reached = true;
    });
    await replica.opened.log.startEpoch();
    await new Promise(setImmediate);
    expect(reached).toBe(true);
    const { log }: { log: EventLog } = replica.opened;
    await replica.store.execute(kv.set, { key: "b", value: "1", contentType: TEXT_TYPE }, context(), asIs);
    expect(log.epochs.length).toBe(2);
    expect(await shown("b")).toBe("1");
  });
});
