// What whoever reads and writes streams may rely on, where the model of arrays does not look: segments, the cache, wakes, sizes.
import { describe, expect, it } from "vitest";
import { type EventLog, offset } from "../../log/index.js";
import {
  asIs,
  batch,
  DEFAULT_IDEMPOTENCY_RULES,
  DEFAULT_QUEUE_RULES,
  DEFAULT_STREAM_RULES,
  type Decider,
  decodeEvents,
  type OpenedStore,
  openStore,
  type Step,
  type StoreEvent,
  stream,
  streamOverlay,
} from "../../projections/index.js";
import { streamCodec } from "../../projections/stream/codec.js";
import { Consumption } from "../../projections/stream/consumption.js";
import { EntryIndex } from "../../projections/stream/entry-index.js";
import { Stream } from "../../projections/stream/stream.js";
import { TEST_RULES, TestStore } from "../support/kv-store.js";
import { MemoryLog } from "../support/memory-log.js";
import { realDirectory } from "../support/real-directory.js";
import { openTestLog } from "../support/test-log.js";

type StepArguments = Parameters<Step<unknown>["decide"]>;

const limits = { messagesMax: 100, bytesMax: 1 << 20 };
const context = { now: 1_000_000, random: 0.5, cause: { command: "test" } };
const room = { name: "room/a", contentType: "application/json" };
const say = (name: string, text: string) => ({ name, messages: [{ bytes: text }] });

async function openOn(log: EventLog): Promise<OpenedStore> {
  const rules = {
    kv: TEST_RULES,
    queue: DEFAULT_QUEUE_RULES,
    stream: DEFAULT_STREAM_RULES,
    idempotency: DEFAULT_IDEMPOTENCY_RULES,
  };
  return openStore({ log, rules, onDead: (error) => expect(error).toBeUndefined() });
}

async function everyMessage(store: OpenedStore, name: string, from: number): Promise<string[]> {
  const found: string[] = [];
  for (let at = from; ; ) {
    const outcome = await store.query(stream.read, { name, from: at, limits }, context, asIs);
    if (outcome.type !== "done") throw new Error(outcome.code);
    for (const { messages } of await store.bodies(outcome.answer.plan)) {
      found.push(...messages.map((bytes) => Buffer.from(bytes).toString()));
    }
    at = outcome.answer.next;
    if (outcome.answer.atEnd) return found;
  }
}

describe("reading a stream", () => {
  it("skips nothing at the borders of segments, whether the log was just written or just opened", async () => {
    const directory = await realDirectory();
    let { log } = await openTestLog(directory);
    let store = await openOn(log);
    const said: string[] = [];
    await store.execute(stream.create, room, context, asIs);
    await store.execute(stream.create, { ...room, name: "room/b" }, context, asIs);
    for (let number = 0; number < 300; number++) {
      said.push(`event ${number} ${"x".repeat(number % 90)}`);
      void store.execute(stream.append, say("room/a", said[number] ?? ""), context, asIs);
      const other = store.execute(stream.append, say("room/b", "y".repeat(200)), context, asIs);
      if (number % 50 === 49) await other;
    }
    await log.whenCommitted(log.endOffset);
    expect(await everyMessage(store, "room/a", 0)).toEqual(said);
    const digest = store.digest();

    await store.close();
    await log.close();
    ({ log } = await openTestLog(directory));
    store = await openOn(log);
    expect(store.digest()).toBe(digest);
    for (const from of [0, 1, 37, 38, 150, 299, 300]) {
      expect(await everyMessage(store, "room/a", from)).toEqual(said.slice(from));
    }
    await store.close();
    await log.close();
  });

  it("finds old and new messages alike when the newest are many megabytes", async () => {
    const t = await TestStore.open();
    await t.ok(stream.create, room);
    const text = "z".repeat(900_000);
    for (let number = 0; number < 12; number++) await t.ok(stream.append, say("room/a", `${number}${text}`));
    const found = await everyMessage(t.store, "room/a", 0);
    expect(found.map((each) => Number.parseInt(each, 10))).toEqual([...Array(12).keys()]);
  });

  it("holds copies of a few messages that lie far apart, and not everything that was read with them", async () => {
    const directory = await realDirectory();
    let { log } = await openTestLog(directory, { segmentBytes: 1 << 22 });
    let store = await openOn(log);
    await store.execute(stream.create, room, context, asIs);
    await store.execute(stream.create, { ...room, name: "room/b" }, context, asIs);
    for (let number = 0; number < 20; number++) {
      void store.execute(stream.append, say("room/a", `event ${number}`), context, asIs);
      // Some near enough to be read in one go, some not.
      for (let other = 0; other < (number < 10 ? 30 : 300); other++) {
        void store.execute(stream.append, say("room/b", "y".repeat(100)), context, asIs);
      }
      await log.whenCommitted(log.endOffset);
    }
    await store.close();
    await log.close();
    ({ log } = await openTestLog(directory));
    store = await openOn(log);
    const outcome = await store.query(stream.read, { name: "room/a", from: 0, limits }, context, asIs);
    if (outcome.type !== "done") throw new Error(outcome.code);
    const messages = (await store.bodies(outcome.answer.plan)).flatMap((slice) => slice.messages);
    expect(messages.map((bytes) => Buffer.from(bytes).toString())).toEqual(
      [...Array(20).keys()].map((number) => `event ${number}`),
    );
    const memory = new Set(messages.map(({ buffer }) => buffer));
    expect([...memory].reduce((bytes, { byteLength }) => bytes + byteLength, 0)).toBeLessThan(32 * 1024);
    await store.close();
    await log.close();
  });

  it("gives the events of a batch to its streams, in order, each page beginning wherever it was asked to", async () => {
    const t = await TestStore.open();
    await t.ok(stream.create, room);
    await t.ok(stream.create, { ...room, name: "room/b" });
    const step = (name: string, text: string) => ({
      name: "stream.append",
      step: {
        decide: (...[state, now, rules]: StepArguments) => stream.append(state, say(name, text), now, rules),
      },
    });
    for (const round of ["1", "2"]) {
      const texts = ["p", "q", "r"].map((text) => text + round);
      const steps = texts.flatMap((text) => [step("room/b", `${text}!`), step("room/a", text)]);
      await t.ok(batch<unknown>, { preconditions: [], steps });
    }
    const all = ["p1", "q1", "r1", "p2", "q2", "r2"];
    for (const from of all.keys())
      expect(await everyMessage(t.store, "room/a", from)).toEqual(all.slice(from));
    expect(await everyMessage(t.store, "room/b", 0)).toEqual(all.map((text) => `${text}!`));
  });
});

describe("a stream's lifetime", () => {
  it("has no end at 0, which would mean that it has none", async () => {
    const t = await TestStore.open();
    expect(await t.refused(stream.create, { ...room, lifetime: { expiresAt: 0 } })).toBe(
      "STREAM_CONFIG_INVALID",
    );
  });

  it("ends by a record that is never too large, however many end at once and whatever their names", async () => {
    const t = await TestStore.open();
    for (let n = 0; n < 100; n++)
      await t.ok(stream.create, { ...room, name: `${n}/`.padEnd(1_024, "x"), lifetime: { ttlMs: 10 } });
    t.now += 1_000;
    const records = t.log.records.length;
    let ended = 0;
    for (let more = 1; more > 0; ended += more) more = (await t.ok(stream.sweep, { budget: 64 })).expired;
    expect(ended).toBe(100);
    for (const { body } of t.log.records.slice(records)) expect(body.length).toBeLessThan(65_536);
  });
});

describe("waiting for a stream", () => {
  it("is told when an append is committed, not before", async () => {
    const log = new MemoryLog();
    const t = await TestStore.open({ log });
    await t.ok(stream.create, room);
    let rings = 0;
    const stop = t.store.wakes.on("stream:room/a", () => rings++);
    log.hold();
    const appended = t.run(stream.append, say("room/a", "1"));
    await Promise.resolve();
    expect(rings).toBe(0);
    log.release();
    await appended;
    expect(rings).toBe(1);
    stop();
    await t.ok(stream.append, say("room/a", "2"));
    expect(rings).toBe(1);
  });
});

describe("the index of a stream", () => {
  it("costs a few bytes an append", () => {
    const index = new EntryIndex(0);
    for (let number = 0; number < 200_000; number++) {
      index.append({ offset: offset(number * 3 + 1), place: 0 }, 1, 100, 1_700_000_000_000 + number);
    }
    expect(index.residentBytes / 200_000).toBeLessThan(5);
    expect(index.end).toBe(200_000);
  });
});

describe("the index of a stream that is trimmed", () => {
  it.each([
    ["one by one", (index: EntryIndex) => index.drop()],
    ["in chunks", (index: EntryIndex) => index.dropChunks(({ first }) => first <= 19_000) ?? index.drop()],
  ])("gives back what it took, %s", (_how, drop) => {
    const index = new EntryIndex(0);
    for (let number = 0; number < 20_000; number++) {
      index.append({ offset: offset(number * 1_000 + 1), place: 0 }, 1, 100, number);
    }
    const full = index.residentBytes;
    while (index.entries > 1_000) drop(index);
    expect(index.residentBytes).toBeLessThan(full / 10);
    expect(index.bytes).toBe(100 * index.entries);
    while (index.entries > 0) drop(index);
    expect([index.residentBytes, index.bytes]).toEqual([0, 0]);
  });
});

describe("the sums over streams", () => {
  it("are nothing again when the last fork of a deleted stream is gone, and the stream with it", async () => {
    const t = await TestStore.open();
    const contentType = "text/plain";
    await t.ok(stream.create, { name: "ds/a", contentType, messages: [{ bytes: "1" }, { bytes: "2" }] });
    const { facts } = await t.answer(stream.head, { name: "ds/a" });
    const fork = { source: "ds/a", sourceId: facts.id, at: 1 };
    await t.ok(stream.create, { name: "ds/b", contentType, fork, messages: [{ bytes: "3" }] });
    expect(t.store.streamTotals()).toMatchObject({ streams: 2, messages: 3, bytes: 3 });
    await t.ok(stream.delete, { name: "ds/a" });
    expect(t.store.streamTotals()).toMatchObject({ streams: 2, messages: 3, bytes: 3 });
    await t.ok(stream.delete, { name: "ds/b" });
    expect(t.store.streamTotals()).toMatchObject({ streams: 0, messages: 0, bytes: 0, indexBytes: 0 });
  });
});

describe("the events of streams", () => {
  it("are written as the table says", () => {
    const event = {
      type: "stream.appended",
      name: "room/a",
      messages: [{ bytes: "hi", tag: "t" }],
      closes: false,
    } as const;
    const body = streamCodec.encode(event, { command: "stream.publish" });
    const shown = "99a6726f6f6d2f619102c402686991a174c000c0c091ae73747265616d2e7075626c697368";
    expect(Buffer.from(body).toString("hex")).toBe(shown);
    const decoded = streamCodec.decode(49, 1, Buffer.from(shown, "hex"));
    expect(decoded.cause).toEqual({ command: "stream.publish" });
    expect(decoded.event).toEqual({
      ...event,
      messages: [{ bytes: new Uint8Array(Buffer.from("hi")), tag: "t" }],
    });
  });

  it("are refused when lengths and bodies disagree", () => {
    const body = Buffer.from("99a6726f6f6d2f619103c402686991a174c000c0c0c0", "hex");
    expect(() => streamCodec.decode(49, 1, body)).toThrow("lengths do not add up");
  });

  it("come back from a record whole", async () => {
    const t = await TestStore.open();
    const fork = { source: "room/a", sourceId: { offset: offset(1), place: 0 }, at: 1 };
    const settings = {
      lifetime: { ttlMs: 5 },
      retention: { count: 9, bytes: 8, ageMs: 7 },
      fingerprint: "f",
    };
    await t.ok(stream.create, { ...room, messages: [{ bytes: "1", metadata: "{}" }] });
    await t.ok(stream.create, { ...room, ...settings, name: "b", fork, closed: true });
    await t.ok(stream.append, {
      name: "room/a",
      messages: [],
      close: true,
      writerSeq: "s",
      producer: { id: "p", epoch: 1, seq: 0 },
    });
    const events = t.log.records.flatMap((record) => decodeEvents(record).events);
    expect(events[0]).toMatchObject({ messages: [{ metadata: "{}" }], closed: false });
    expect(events[1]).toMatchObject({ ...settings, fork, closed: true, messages: [] });
    expect(events[2]).toMatchObject({
      type: "stream.closed",
      writerSeq: "s",
      producer: { id: "p", epoch: 1, seq: 0 },
    });
  });
});

describe("an overlay of streams", () => {
  it("decides a batch as if each operation had been executed before the next", async () => {
    const producer = (seq: number) => ({ id: "p", epoch: 0, seq });
    const single = await TestStore.open();
    const batched = await TestStore.open();
    for (const t of [single, batched]) {
      await t.ok(stream.create, { ...room, retention: { count: 3 } });
      await t.ok(stream.append, { ...say("room/a", "0"), producer: producer(0) });
    }
    const steps: [Decider<never, unknown>, object][] = [
      [stream.publish, { ...say("room/a", "1"), producer: producer(1), expectedOffset: 1 }],
      [stream.publish, { ...say("room/a", "1"), producer: producer(1) }],
      [stream.publish, { name: "room/a", messages: [{ bytes: "2" }, { bytes: "3" }], writerSeq: "b" }],
      [stream.create, { ...room, name: "room/b" }],
      [stream.create, { ...room, name: "room/b" }],
      [stream.publish, { ...say("room/b", "x"), close: true }],
      [stream.publish, say("room/b", "y")],
      [stream.delete, { name: "room/b" }],
      [stream.publish, say("room/b", "z")],
      [stream.publish, { ...say("room/a", "4"), writerSeq: "a" }],
      [stream.trim, { name: "room/a", before: 3 }],
    ] as [Decider<never, unknown>, object][];

    const expected = [];
    for (const [decide, command] of steps) {
      const outcome = await single.run(decide as Decider<object, unknown>, command);
      expected.push(outcome.type === "done" ? "done" : outcome.code);
    }
    const found: string[] = [];
    const batch: Decider<object, unknown> = (view, _command, at, rules) => {
      const overlay = streamOverlay(view.stream, at.now);
      const events: StoreEvent[] = [];
      for (const [decide, command] of steps) {
        const decision = decide({ ...view, stream: overlay.view }, command as never, at, rules);
        found.push(decision.type === "accepted" ? "done" : decision.code);
        if (decision.type !== "accepted") continue;
        for (const event of decision.events) {
          events.push(event);
          if (event.type.startsWith("stream.")) overlay.apply(event as never);
        }
      }
      return { type: "accepted", events, answer: () => undefined, seen: offset(0) };
    };
    await batched.ok(batch, {});

    expect(found).toEqual(expected);
    expect(new Set(expected).size).toBeGreaterThan(4);
    const { facts } = await single.answer(stream.head, { name: "room/a" });
    const same = { end: facts.end, earliest: facts.earliest, writerSeq: facts.writerSeq, bytes: facts.bytes };
    expect((await batched.answer(stream.head, { name: "room/a" })).facts).toMatchObject(same);
    expect(await everyMessage(batched.store, "room/a", 3)).toEqual(
      await everyMessage(single.store, "room/a", 3),
    );
  });
});

describe("going on by event", () => {
  it("skips nothing where a fork's shared messages end and its own, which came with its creation, begin", async () => {
    const t = await TestStore.open();
    await t.ok(stream.create, { ...room, messages: [{ bytes: "shared" }] });
    const { facts } = await t.answer(stream.head, { name: "room/a" });
    const fork = { source: "room/a", sourceId: facts.id, at: 1 };
    await t.ok(stream.create, { ...room, name: "room/b", fork, messages: [{ bytes: "own" }] });
    const one = { messagesMax: 1, bytesMax: 1, wholeAppends: true };
    const first = await t.answer(stream.read, { name: "room/b", from: 0, limits: one });
    const second = await t.answer(stream.read, { name: "room/b", from: first.nextEvent, limits: one });
    expect([first.next, second.from, second.next, second.atEnd]).toEqual([1, 1, 2, true]);
  });
});

describe("the subscribers of rooms", () => {
  const made = (name: string) =>
    new Stream({
      ...room,
      name,
      id: { offset: offset(1), place: 0 },
      generation: 1,
      createdAt: 0,
      lifetime: {},
      retention: {},
      fingerprint: "",
      fork: undefined,
      source: undefined,
    });

  it("are told apart up to a bound of a room and of all, and those of a room that is gone make room", () => {
    const consumption = new Consumption(1_500);
    const [first, second] = [made("room/1"), made("room/2")];
    for (let each = 0; each < 2_000; each++) consumption.note(first, `${each}`, 1);
    for (let each = 0; each < 2_000; each++) consumption.note(second, `${each}`, 1);
    expect(consumption.of(first)).toEqual({ subscribers: 1_000, consumed: 2_000 });
    expect(consumption.of(second)).toEqual({ subscribers: 500, consumed: 2_000 });
    consumption.forget(first);
    consumption.note(second, "one more", 1);
    expect([consumption.of(second).subscribers, consumption.total]).toEqual([501, 4_001]);
  });
});
