/**
 * Trims of streams that hold many chunks of entries, against a plain list of appends.
 *
 * 1. A trim – asked for, by count, by bytes, by age – removes what the list removes one append after the other: first offset,
 *    end, bytes, and the appends that are left, all the same.
 * 2. A place in the log before the last append that was dropped still tells an offset that is trimmed, one after it the right one.
 * 3. A replay comes to the same digest.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { offset } from "../log/index.js";
import { type Retention, stream } from "../projections/index.js";
import { TestStore } from "../test/support/kv-store.js";
import { MemoryLog } from "../test/support/memory-log.js";
import { runs, seededRandom } from "./run-settings.js";

const name = "room/a";
/** As the index has it: only what is drawn depends on it. */
const CHUNK_ENTRIES = 512;

const happened = {
  emptied: 0,
  insideAnAppend: 0,
  byAge: 0,
  byBytes: 0,
  byCount: 0,
  asked: 0,
};

interface Append {
  /** Of its record. */
  readonly offset: number;
  readonly number: number;
  readonly first: number;
  readonly count: number;
  readonly bytes: number;
  readonly time: number;
}

/** The rules of retention, one append at a time. */
class List {
  readonly retention: Retention;
  appends: Append[] = [];
  end = 0;
  trimmed = 0;
  /** The last that is gone. */
  dropped: Append | undefined;

  constructor(retention: Retention) {
    this.retention = retention;
  }

  get bytes(): number {
    return this.appends.reduce((sum, { bytes }) => sum + bytes, 0);
  }

  append(at: number, sizes: readonly number[], time: number): void {
    const bytes = sizes.reduce((sum, size) => sum + size, 0);
    // An index that was emptied begins a chunk anew.
    const number = this.appends.length === 0 ? 0 : (this.appends.at(-1)?.number ?? 0) + 1;
    this.appends.push({ offset: at, number, first: this.end, count: sizes.length, bytes, time });
    this.end += sizes.length;
    const { ageMs, bytes: bytesMax, count: countMax } = this.retention;
    let held = this.bytes;
    const drops = (tooMuch: (oldest: Append) => boolean): void => {
      for (
        let [oldest] = this.appends;
        oldest !== undefined && this.appends.length > 1;
        [oldest] = this.appends
      ) {
        if (!tooMuch(oldest)) return;
        held -= oldest.bytes;
        this.dropped = this.appends.shift();
        this.trimmed = Math.max(this.trimmed, oldest.first + oldest.count);
      }
    };
    if (ageMs !== undefined) drops((oldest) => oldest.time < time - ageMs);
    if (bytesMax !== undefined) drops(() => held > bytesMax);
    if (countMax !== undefined) this.trimTo(this.end - countMax);
  }

  /** The last append that begins a chunk. */
  border(): Append | undefined {
    return this.appends.findLast(({ number }) => number > 0 && number % CHUNK_ENTRIES === 0);
  }

  bytesFrom(start: Append): number {
    return this.appends.reduce((sum, { offset: at, bytes }) => (at >= start.offset ? sum + bytes : sum), 0);
  }

  /** The first that is there: neither trimmed nor past its age. */
  firstAt(now: number): number {
    const { ageMs } = this.retention;
    const young =
      ageMs === undefined ? this.appends[0] : this.appends.find(({ time }) => time >= now - ageMs);
    return Math.max(this.trimmed, young?.first ?? this.end);
  }

  trimTo(before: number): void {
    if (before <= this.trimmed) return;
    this.trimmed = before;
    const kept = this.appends.filter(({ first, count }) => first + count > before);
    this.dropped = this.appends[this.appends.length - kept.length - 1] ?? this.dropped;
    this.appends = kept;
  }
}

const retentions = fc.oneof(
  fc.constant<Retention>({}),
  fc.record({ count: fc.integer({ min: 1, max: 900 }) }),
  fc.record({ bytes: fc.integer({ min: 3_000, max: 5_000 }) }),
  fc.record({ ageMs: fc.integer({ min: 1, max: 5_000 }) }),
);

describe("a stream of many chunks", () => {
  it("is trimmed as a list of appends is", async () => {
    await fc.assert(
      fc.asyncProperty(retentions, fc.nat(), async (retention, start) => {
        const random = seededRandom(start);
        const upTo = (end: number): number => Math.floor(random() * end);
        const log = new MemoryLog();
        const t = await TestStore.open({ log });
        await t.ok(stream.create, { name, contentType: "application/octet-stream", retention });
        const list = new List(retention);
        for (let step = 0; step < 5; step++) {
          const appends = 1 + upTo(1_600);
          for (let each = 1; each <= appends; each++) {
            const sizes = each < appends ? [upTo(7)] : lastSizes(t, list, upTo);
            t.now += upTo(3);
            const before = list.appends.length;
            await t.ok(stream.append, {
              name,
              messages: sizes.map((size) => ({ bytes: new Uint8Array(size) })),
            });
            list.append(log.endOffset, sizes, t.now);
            if (before - list.appends.length > 600) note(retention);
          }
          if (upTo(3) === 0) t.now += upTo(9_000);
          if (upTo(2) === 0) await trim(t, list, upTo);
          await same(t, list);
        }
        const replayed = await TestStore.open({ log: new MemoryLog({ records: log.records }), now: t.now });
        expect(replayed.store.digest(t.now)).toBe(t.store.digest(t.now));
      }),
      runs(24),
    );
  });
});

type UpTo = (end: number) => number;

/** The last append of a step may be large and late: it pushes out what filled chunks, up to a chunk's border or just beside it. */
function lastSizes(t: TestStore, list: List, upTo: UpTo): readonly number[] {
  const border = list.border();
  const { ageMs, bytes, count } = list.retention;
  if (border === undefined || count !== undefined || upTo(3) === 0) {
    t.now += upTo(5_000);
    return Array.from({ length: 1 + upTo(1_500) }, () => upTo(5));
  }
  const beside = [-12, -1, 0, 1][upTo(4)] ?? 0;
  if (ageMs !== undefined) t.now = Math.max(t.now, border.time + ageMs + beside);
  return [Math.max(0, (bytes ?? 0) - list.bytesFrom(border) + beside)];
}

async function trim(t: TestStore, list: List, upTo: UpTo): Promise<void> {
  const anywhere = list.trimmed + upTo(list.end - list.trimmed + 1);
  const border = list.border()?.first ?? anywhere;
  const before =
    [anywhere, border - 1, border, Math.min(border + 1, list.end), list.end][upTo(5)] ?? anywhere;
  await t.ok(stream.trim, { name, before });
  const held = list.appends.length;
  // What is past its age is not there: there is nothing to trim before the first that is.
  if (before > list.firstAt(t.now)) list.trimTo(before);
  if (held - list.appends.length > 600) happened.asked++;
  if ((list.appends[0]?.first ?? before) < before) happened.insideAnAppend++;
  if (list.appends.length === 0) happened.emptied++;
}

/** One append pushed out so many that a whole chunk was among them. */
function note({ count, bytes, ageMs }: Retention): void {
  if (count !== undefined) happened.byCount++;
  if (bytes !== undefined) happened.byBytes++;
  if (ageMs !== undefined) happened.byAge++;
}

const limits = { messagesMax: 1_000_000, bytesMax: 1 << 30 };

async function same(t: TestStore, list: List): Promise<void> {
  const { facts, earliest } = await t.answer(stream.head, { name });
  const first = list.firstAt(t.now);
  expect([facts.end, earliest, facts.bytes]).toEqual([list.end, first, list.bytes]);
  const page = await t.answer(stream.read, { name, from: "earliest", limits });
  const left = list.appends.filter((each) => each.first + each.count > first);
  expect(page.plan.slices.map(({ event }) => event.offset)).toEqual(left.map((each) => each.offset));
  const { dropped } = list;
  if (dropped === undefined) return;
  const next = list.appends[0]?.first ?? list.end;
  const after = { name, from: { offset: offset(dropped.offset), place: 0 }, limits };
  if (next < first) expect(await t.askRefused(stream.read, after)).toBe("STREAM_OFFSET_TRIMMED");
  else expect((await t.answer(stream.read, after)).from).toBe(next);
  const before = { name, from: { offset: offset(dropped.offset - 1), place: 0 }, limits };
  expect(await t.askRefused(stream.read, before)).toBe("STREAM_OFFSET_TRIMMED");
}

afterAll(() => {
  for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(0);
});
