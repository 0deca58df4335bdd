/**
 * What every `EventLog` promises, whatever keeps its bytes: one suite for the segmented log and for its doubles. Offsets
 * are relative to the end of a fresh log, which may or may not begin with records of its own.
 */
import { describe, expect, it } from "vitest";
import {
  type AppendedRecord,
  EMPTY_LOG,
  type EventLog,
  epoch,
  type LogRecord,
  type Offset,
} from "../../log/index.js";
import { shipped } from "./shipping.js";
import { appendMany, at, KIND, offsetsOf, readAll, span, textOf, textRecord } from "./test-log.js";

export interface EventLogFixture {
  /** A fresh log. */
  readonly log: EventLog;
  /** The largest body that it takes, or undefined if it takes any. */
  readonly recordBytesMax?: number;
  readonly dispose: () => Promise<void>;
}

export function describeEventLog(name: string, fresh: () => Promise<EventLogFixture>): void {
  const test = (fact: string, body: (log: EventLog, fixture: EventLogFixture) => Promise<void>): void =>
    it(fact, async () => {
      const fixture = await fresh();
      try {
        await body(fixture.log, fixture);
      } finally {
        await fixture.dispose();
      }
    });

  describe(`event log › ${name}`, () => {
    describeAppending(test);
    describeReading(test);
    describeFollowing(test);
    describeChanging(test);
    describeShipping(test);
    describeReceiving(test);
  });
}

type Test = (fact: string, body: (log: EventLog, fixture: EventLogFixture) => Promise<void>) => void;

function describeAppending(test: Test): void {
  test("gives dense offsets, each one more than the last", async (log) => {
    const start = log.endOffset;
    const offsets = span(1, 20).map((i) => log.append(textRecord(`record ${i}`)));
    expect(offsets).toEqual(span(start + 1, start + 20));
    expect(log.endOffset).toBe(start + 20);
  });

  test("shows a record to the projections before append returns", async (log) => {
    const seen: AppendedRecord[] = [];
    log.appended.subscribe((record) => seen.push({ ...record, body: Buffer.from(record.body) }));
    const offset = log.append(textRecord("seen at once", 12, 5_000));
    expect(seen).toEqual([
      expect.objectContaining({ offset, kind: KIND, version: 1, body: Buffer.from("seen at once") }),
    ]);
  });

  test("shows each record to everybody who watches, until they leave or the log is closed", async (log) => {
    const told: string[] = [];
    const watch = (name: string) =>
      log.appended.subscribe({
        next: ({ offset }) => told.push(`${name} ${offset}`),
        complete: () => told.push(`${name} ends`),
      });
    const leaving = watch("a");
    watch("b");
    const first = log.append(textRecord("both"));
    leaving.unsubscribe();
    const second = log.append(textRecord("one"));
    await log.close();
    expect(told).toEqual([`a ${first}`, `b ${first}`, `b ${second}`, "b ends"]);
  });

  test("copies the body before append returns", async (log) => {
    const body = Buffer.from("before");
    const offset = log.append({ kind: KIND, version: 1, timestamp: 1, body });
    body.write("AFTER!");
    await log.whenCommitted(offset);
    expect((await readAll(log, offset)).map(textOf)).toEqual(["before"]);
  });

  test("raises a timestamp that is smaller than the one before", async (log) => {
    const far = Date.UTC(2200, 0, 1);
    const first = log.append(textRecord("late", 4, far));
    log.append(textRecord("early", 5, 1));
    await log.whenCommitted(log.endOffset);
    expect((await readAll(log, first)).map((record) => record.timestamp)).toEqual([far, far]);
  });

  test("is committed up to an offset once that was waited for", async (log) => {
    const offsets = span(1, 5).map((i) => log.append(textRecord(`record ${i}`)));
    await log.whenCommitted(offsets[2]!);
    expect(log.committedOffset).toBeGreaterThanOrEqual(offsets[2]!);
    await log.whenCommitted(log.endOffset);
    expect(log.committedOffset).toBe(log.endOffset);
  });

  test("refuses a record larger than it accepts and stays as it was", async (log, { recordBytesMax }) => {
    if (recordBytesMax === undefined) return;
    const end = log.endOffset;
    expect(() => log.append(textRecord("x", recordBytesMax + 1))).toThrow(
      expect.objectContaining({ code: "LOG_RECORD_TOO_LARGE" }),
    );
    expect(log.endOffset).toBe(end);
    expect(log.append(textRecord("x", recordBytesMax))).toBe(end + 1);
  });

  test("refuses appends after it was closed", async (log) => {
    await log.close();
    expect(() => log.append(textRecord("too late"))).toThrow(expect.objectContaining({ code: "LOG_CLOSED" }));
  });
}

function describeReading(test: Test): void {
  test("reads back what was appended, byte for byte and in order", async (log) => {
    const start = log.endOffset;
    const bodies = [Buffer.alloc(0), Buffer.from([0, 255, 0]), Buffer.alloc(5_000, 0xab), Buffer.from("ü")];
    for (const [i, body] of bodies.entries())
      log.append({ kind: KIND + i, version: i, timestamp: 10 + i, body });
    await log.whenCommitted(log.endOffset);
    const records = await readAll(log, at(start + 1));
    expect(records.map(({ body }) => Buffer.from(body))).toEqual(bodies);
    expect(records.map(({ kind }) => kind)).toEqual(span(KIND, KIND + 3));
    expect(records.map(({ version }) => version)).toEqual(span(0, 3));
  });

  test("reads from any offset to any other, both included", async (log) => {
    const offsets = await appendMany(log, 60);
    for (const [from, last] of [
      [0, 59],
      [0, 0],
      [17, 43],
      [59, 59],
    ] as const) {
      const records = await readAll(log, offsets[from]!, offsets[last]!);
      expect(offsetsOf(records)).toEqual(span(offsets[from]!, offsets[last]!));
    }
  });

  test("reads nothing from behind the end and refuses to read further out", async (log) => {
    await appendMany(log, 3);
    expect(await readAll(log, at(log.endOffset + 1))).toEqual([]);
    await expect(readAll(log, at(log.endOffset + 2))).rejects.toMatchObject({
      code: "LOG_OFFSET_BEYOND_END",
    });
  });

  test("finds the first record that is not older than a time", async (log) => {
    const base = Date.UTC(2150, 0, 1);
    const offsets = span(0, 49).map((i) => log.append(textRecord(`record ${i}`, 200, base + i * 10)));
    expect(await log.offsetAt(base)).toBe(offsets[0]);
    expect(await log.offsetAt(base + 245)).toBe(offsets[25]);
    expect(await log.offsetAt(base + 490)).toBe(offsets[49]);
    expect(await log.offsetAt(base + 491)).toBe(log.endOffset + 1);
    expect(await log.offsetAt(0)).toBe(log.firstOffset);
  });
}

function describeFollowing(test: Test): void {
  test("follows: what was there, then what comes, without a gap or a repeat", async (log) => {
    const start = log.endOffset;
    await appendMany(log, 30);
    const seen: number[] = [];
    for await (const batch of log.follow(at(start + 1))) {
      seen.push(...offsetsOf(batch));
      if (seen.length < 60 && log.endOffset < start + 60) await appendMany(log, 10);
      if (seen.length >= 60) break;
    }
    expect(seen).toEqual(span(start + 1, start + 60));
  });

  test("lets a follower go that waits for more", async (log) => {
    const follower = log.follow(at(log.endOffset + 1));
    const waiting = follower.next();
    await follower.return?.();
    expect(await waiting).toMatchObject({ done: true });
  });

  test("ends a follower that waits when it closes", async (log) => {
    const waiting = log.follow(at(log.endOffset + 1)).next();
    await log.close();
    expect(await waiting).toMatchObject({ done: true });
  });

  test("tails as an observable that completes when the log closes", async (log) => {
    const start = log.endOffset;
    await appendMany(log, 5);
    const seen: LogRecord[] = [];
    let more: () => void = () => undefined;
    const all = new Promise<void>((resolve) => {
      more = () => (seen.length === 10 ? resolve() : undefined);
    });
    const completed = new Promise<void>((resolve, reject) => {
      log.tail(at(start + 1)).subscribe({
        next: (record) => {
          seen.push(record);
          more();
        },
        error: reject,
        complete: resolve,
      });
    });
    await appendMany(log, 5);
    await all;
    await log.close();
    await completed;
    expect(offsetsOf(seen)).toEqual(span(start + 1, start + 10));
  });
}

function describeChanging(test: Test): void {
  test("is cut after an offset and goes on from there", async (log) => {
    const offsets = await appendMany(log, 50);
    const last: Offset = offsets[19]!;
    await log.truncate(last);
    expect(log.endOffset).toBe(last);
    expect(log.committedOffset).toBe(last);
    expect(log.append(textRecord("after the cut"))).toBe(last + 1);
    await log.whenCommitted(log.endOffset);
    const records = await readAll(log, offsets[0]!);
    expect(offsetsOf(records)).toEqual(span(offsets[0]!, last + 1));
    expect(textOf(records.at(-1)!)).toBe("after the cut");
  });

  test("keeps everything from the first needed offset on", async (log) => {
    const offsets = await appendMany(log, 80);
    const needed = offsets[50]!;
    const first = await log.retain(needed);
    expect(first).toBe(log.firstOffset);
    expect(first).toBeLessThanOrEqual(needed);
    expect(offsetsOf(await readAll(log, first))).toEqual(span(first, log.endOffset));
  });
}

function describeShipping(test: Test): void {
  test("ships the bytes of what is durable, from any offset on, then of what comes", async (log) => {
    const offsets = await appendMany(log, 60);
    for (const from of [1, offsets[0]!, offsets[33]!, log.endOffset]) {
      const runs = await shipped(log, at(from));
      expect(runs.map(({ first }) => first)).toEqual([
        from,
        ...runs.slice(0, -1).map(({ last }) => last + 1),
      ]);
      expect(runs.at(-1)).toMatchObject({
        last: log.endOffset,
        lastCrc: (await log.markAt(log.endOffset)).crc,
      });
    }
    const follower = log.ship(at(log.endOffset + 1));
    const waiting = follower.next();
    const next = log.append(textRecord("live"));
    expect((await waiting).value).toMatchObject({ first: next, last: next });
    await follower.return?.();
  });

  test("ships no more bytes at once than are wanted, but for a record that is larger", async (log) => {
    const [start = at(1)] = await appendMany(log, 10);
    log.append(textRecord("large", 3_000));
    await log.whenCommitted(log.endOffset);
    await appendMany(log, 10);
    const runs = await shipped(log, start, log.endOffset, 500);
    expect(runs.filter(({ bytes }) => bytes.length > 500).map(({ first, last }) => [first, last])).toEqual([
      [start + 10, start + 10],
    ]);
    const bytesOf = (of: typeof runs): Buffer => Buffer.concat(of.map(({ bytes }) => bytes));
    expect(bytesOf(runs).equals(bytesOf(await shipped(log, start)))).toBe(true);
  });

  test("names a place by its offset, and the place before the first record", async (log) => {
    const [first, second] = await appendMany(log, 2);
    expect(await log.positionAt(at(0))).toEqual(EMPTY_LOG);
    const position = await log.positionAt(second!);
    expect(await log.markAt(second!)).toMatchObject(position);
    expect(await log.agrees(position)).toBe(true);
    expect(await log.agrees({ ...position, offset: first! })).toBe(false);
    await expect(log.positionAt(at(second! + 1))).rejects.toMatchObject({ code: "LOG_OFFSET_BEYOND_END" });
  });
}

function describeReceiving(test: Test): void {
  test("takes no records of its own while it follows, and none of another's while it does not", async (log) => {
    const [run] = await shipped(log, (await appendMany(log, 1))[0]!);
    await expect(log.receive(run!)).rejects.toMatchObject({ code: "LOG_NOT_FOLLOWING" });
    await log.beginFollowing();
    expect(log.following).toBe(true);
    expect(() => log.append(textRecord("mine"))).toThrow(expect.objectContaining({ code: "LOG_FOLLOWING" }));
  });

  test("receives byte for byte what was shipped, and shows each record once", async (log) => {
    const offsets = await appendMany(log, 90);
    const before = await readAll(log, offsets[0]!);
    const runs = await shipped(log, offsets[30]!);
    await log.beginFollowing();
    await log.truncate(offsets[29]!);
    const shown: AppendedRecord[] = [];
    log.appended.subscribe((record) => shown.push({ ...record, body: Uint8Array.from(record.body) }));
    let moves = 0;
    log.moved.subscribe(() => {
      moves += 1;
    });
    for (const run of runs) await log.receive(run);
    expect(await readAll(log, offsets[0]!)).toEqual(before);
    expect(shown).toEqual(
      before.slice(30).map(({ crc: _, ...record }) => ({ ...record, body: Uint8Array.from(record.body) })),
    );
    expect(log.committedOffset).toBe(offsets[89]);
    expect(moves).toBeGreaterThan(0);
    expect(await shipped(log, offsets[30]!)).toEqual(runs);
  });

  test("refuses what does not continue it or does not hold, and stays as it was", async (log) => {
    const offsets = await appendMany(log, 40);
    const [first] = await shipped(log, offsets[10]!);
    const [later] = await shipped(log, offsets[11]!);
    await log.beginFollowing();
    await log.truncate(offsets[9]!);
    const { header } = first!;
    const damaged = Uint8Array.from(first!.bytes);
    damaged[damaged.length - 1]! ^= 1;
    const refused = [
      ["LOG_NOT_CONTINUED", later!],
      ["LOG_NOT_CONTINUED", { ...first!, header: { ...header, lineageId: "f".repeat(32) } }],
      [
        "LOG_NOT_CONTINUED",
        { ...first!, header: { ...header, clusterId: "f".repeat(32) }, startsSegment: true },
      ],
      ["LOG_RECORD_BAD", { ...first!, bytes: damaged }],
      ["LOG_RECORD_BAD", { ...first!, bytes: first!.bytes.subarray(0, -1) }],
      ["LOG_RECORD_BAD", { ...first!, bytes: new Uint8Array(0) }],
    ] as const;
    let shown = 0;
    log.appended.subscribe(() => {
      shown += 1;
    });
    for (const [code, run] of refused) await expect(log.receive(run)).rejects.toMatchObject({ code });
    expect({ shown, end: log.endOffset }).toEqual({ shown: 0, end: offsets[9] });
    await log.receive(first!);
    await expect(log.receive(first!)).rejects.toMatchObject({ code: "LOG_NOT_CONTINUED" });
    expect(log.endOffset).toBe(first!.last);
  });

  test("begins an epoch of its own above every one it was told of, and takes appends again", async (log) => {
    await log.beginFollowing();
    const entry = await log.startEpoch({ above: epoch(41) });
    expect(entry).toMatchObject({ epoch: 42, first: log.endOffset });
    expect(log.epochs.at(-1)).toEqual(entry);
    expect(log.following).toBe(false);
    const offset = log.append(textRecord("mine again"));
    await log.whenCommitted(offset);
    expect(await log.positionAt(offset)).toMatchObject({ epoch: 42, lineageId: entry.lineageId });
  });
}
