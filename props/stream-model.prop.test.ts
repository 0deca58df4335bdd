/**
 * The stream projection against arrays.
 *
 * 1. Every command is answered as the model answers it: outcome, stream offsets, refusal code.
 * 2. Stream offsets are dense: a page holds exactly the messages of its range, in order, byte for byte, and pages that follow
 *    one another skip and repeat nothing, whether they go on by stream offset or by event.
 * 3. What is trimmed is said: a read below the earliest offset is refused and names it.
 * 4. A producer's repeat changes nothing.
 * 5. Nothing is shown before it is committed.
 * 6. A restart at any point changes no answer and leaves the same digest.
 * 7. The sums over all streams, kept as they change, are those that a walk finds.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { Fold } from "../projections/fold.js";
import {
  asIs,
  type EventPlace,
  type PageLimits,
  type ReadStreamAnswer,
  stream,
} from "../projections/index.js";
import { TEST_STORE_RULES, TestStore } from "../test/support/kv-store.js";
import { MemoryLog } from "../test/support/memory-log.js";
import { type ModelAppend, type ModelCreate, type ModelStream, StreamModel } from "./model/stream-model.js";
import { runs } from "./run-settings.js";

const START_MS = 1_000_000;

interface Real {
  t: TestStore;
}
type Step = fc.AsyncCommand<StreamModel, Real>;

const happened = {
  appended: 0,
  duplicates: 0,
  refusals: 0,
  trimmed: 0,
  pages: 0,
  forks: 0,
  gone: 0,
  restarts: 0,
  held: 0,
  expired: 0,
};

const everything: PageLimits = { messagesMax: 1_000, bytesMax: 1 << 20 };

async function codeOrAnswer<Answer>(
  outcome: Promise<{ type: "done"; answer: Answer } | { type: "rejected"; code: string }>,
): Promise<Answer | string> {
  const found = await outcome;
  if (found.type === "done") return found.answer;
  happened.refusals++;
  if (found.code === "STREAM_GONE") happened.gone++;
  return found.code;
}

class Create implements Step {
  constructor(readonly command: ModelCreate) {}
  check = () => true;
  async run(model: StreamModel, { t }: Real) {
    const { name, texts, retention, ttlMs, expiresInMs, fork } = this.command;
    const source =
      fork === undefined ? undefined : t.store.query(stream.head, { name: fork.source }, t.context(), asIs);
    const found = await source;
    const sourceId = found?.type === "done" ? found.answer.facts.id : { offset: t.store.offset, place: 9 };
    const expected = model.create(this.command);
    const answer = await codeOrAnswer(
      t.run(stream.create, {
        name,
        contentType: "text/plain",
        retention,
        lifetime: {
          ...(ttlMs === undefined ? {} : { ttlMs }),
          ...(expiresInMs === undefined ? {} : { expiresAt: t.now + expiresInMs }),
        },
        messages: texts.map((bytes) => ({ bytes })),
        ...(fork === undefined ? {} : { fork: { ...fork, sourceId } }),
      }),
    );
    if (typeof answer === "string" || typeof expected === "string") expect(answer).toBe(expected);
    else {
      expect(answer).toMatchObject({ created: true, generation: expected.generation, end: expected.end });
      if (fork !== undefined) happened.forks++;
    }
  }
  toString = () => `create ${JSON.stringify(this.command)}`;
}

class Append implements Step {
  constructor(
    readonly command: ModelAppend,
    readonly held: boolean,
  ) {}
  check = () => true;
  async run(model: StreamModel, real: Real) {
    const { t } = real;
    const { name, texts, tag, ...options } = this.command;
    const messages = texts.map((bytes) => (tag === undefined ? { bytes } : { bytes, tag }));
    const before = model.live(name);
    const end = typeof before === "string" ? undefined : before.end;
    const expected = model.append(this.command);
    if (this.held) t.log.hold();
    const outcome = t.run(stream.append, { name, messages, ...options });
    if (this.held) {
      if (end !== undefined) await expectUnseen(t, name, end);
      t.log.release();
    }
    const answer = await codeOrAnswer(outcome);
    if (typeof expected === "string") expect(answer).toBe(expected);
    else {
      expect(answer).toMatchObject(expected);
      if (expected.type === "appended") happened.appended++;
      if (expected.type === "duplicate") happened.duplicates++;
    }
  }
  toString = () => `append ${JSON.stringify(this.command)}${this.held ? " held" : ""}`;
}

/** What was appended and is not committed is not shown. */
async function expectUnseen(t: TestStore, name: string, end: number): Promise<void> {
  const answer = await t.answer(stream.read, { name, from: "now", limits: everything });
  expect(answer).toMatchObject({ next: end, atEnd: true, plan: { count: 0 } });
  happened.held++;
}

class Delete implements Step {
  constructor(readonly name: string) {}
  check = () => true;
  async run(model: StreamModel, { t }: Real) {
    const expected = model.delete(this.name);
    const answer = await codeOrAnswer(t.run(stream.delete, { name: this.name }));
    expect(answer).toEqual(expected ?? { deleted: true });
  }
  toString = () => `delete ${this.name}`;
}

/** A fork outlives its source: then the source's name is kept for it and refused to everybody. */
class Orphan implements Step {
  readonly #steps: readonly Step[];
  constructor(
    readonly source: string,
    readonly fork: string,
  ) {
    const ofSource = { source, at: 0 };
    this.#steps = [
      new Create({ name: fork, texts: [], retention: {}, fork: ofSource }),
      new Delete(source),
      new Delete(source),
    ];
  }
  check = () => true;
  async run(model: StreamModel, real: Real) {
    for (const each of this.#steps) await each.run(model, real);
  }
  toString = () => `delete ${this.source}, forked as ${this.fork}`;
}

class Trim implements Step {
  constructor(
    readonly name: string,
    readonly before: number,
  ) {}
  check = () => true;
  async run(model: StreamModel, { t }: Real) {
    const expected = model.trim(this.name, this.before);
    const answer = await codeOrAnswer(t.run(stream.trim, { name: this.name, before: this.before }));
    expect(typeof answer === "string" ? answer : answer.earliest).toBe(expected);
  }
  toString = () => `trim ${this.name} before ${this.before}`;
}

class Touch implements Step {
  constructor(readonly name: string) {}
  check = () => true;
  async run(model: StreamModel, { t }: Real) {
    const expected = model.touch(this.name);
    const answer = await codeOrAnswer(t.run(stream.touch, { name: this.name }));
    expect(typeof answer === "string" ? answer : answer.renewed).toBe(expected);
  }
  toString = () => `touch ${this.name}`;
}

class Sweep implements Step {
  check = () => true;
  async run(model: StreamModel, { t }: Real) {
    model.sweep();
    happened.expired += (await t.ok(stream.sweep, { budget: 1_000 })).expired;
  }
  toString = () => "sweep";
}

class MoveClock implements Step {
  constructor(readonly ms: number) {}
  check = () => true;
  async run(model: StreamModel, { t }: Real) {
    model.now += this.ms;
    t.now += this.ms;
  }
  toString = () => `clock +${this.ms} ms`;
}

/** The sums that are kept as streams change are those that a walk over the streams finds. */
function expectSums(t: TestStore): void {
  const fold = new Fold({ rules: TEST_STORE_RULES });
  for (const record of t.log.records) fold.take(record);
  const sums = { streams: 0, messages: 0, bytes: 0, indexBytes: 0 };
  for (const { index, kept } of fold.stream.streams.values()) {
    sums.streams++;
    sums.messages += kept;
    sums.bytes += index.bytes;
    sums.indexBytes += index.residentBytes;
  }
  expect(t.store.streamTotals()).toMatchObject(sums);
  expect(fold.stream.totals()).toMatchObject(sums);
}

class Restart implements Step {
  check = () => true;
  async run(_model: StreamModel, real: Real) {
    const { now, log, store } = real.t;
    const digest = store.digest(now);
    await store.close();
    real.t = await TestStore.open({ now, log: new MemoryLog({ records: log.records, batchRecords: 3 }) });
    expect(real.t.store.digest(now)).toBe(digest);
    expectSums(real.t);
    happened.restarts++;
  }
  toString = () => "restart";
}

/** Reads a whole stream in pages, from anywhere. */
class ReadOn implements Step {
  constructor(
    readonly name: string,
    readonly from: number | "earliest",
    readonly limits: PageLimits,
    readonly byEvent: boolean,
  ) {}
  check = () => true;
  async run(model: StreamModel, { t }: Real) {
    const expected = model.live(this.name);
    const answer = await codeOrAnswer(
      t.ask(stream.read, { name: this.name, from: this.from, limits: this.limits }),
    );
    if (typeof expected === "string") {
      expect(answer).toBe(expected);
      return;
    }
    const earliest = expected.earliest(t.now);
    const from = this.from === "earliest" ? earliest : this.from;
    if (from > expected.end) expect(answer).toBe("STREAM_OFFSET_BEYOND_END");
    else if (from < earliest) {
      const refused = await t.ask(stream.read, { name: this.name, from, limits: this.limits });
      expect(refused).toMatchObject({
        code: "STREAM_OFFSET_TRIMMED",
        details: { earliest, requested: from },
      });
      happened.trimmed++;
    } else await this.follow(t, expected, from, answer as ReadStreamAnswer);
  }
  private async follow(t: TestStore, expected: ModelStream, from: number, first: ReadStreamAnswer) {
    let page = first;
    for (let at = from; ; ) {
      expect(page.from).toBe(at);
      await expectPage(t, page, expected);
      happened.pages++;
      at = page.next;
      if (page.atEnd) break;
      expect(page.plan.count, "a page that is not the last brings something").toBeGreaterThan(0);
      const next: number | EventPlace = this.byEvent ? page.nextEvent : at;
      page = await t.answer(stream.read, { name: this.name, from: next, limits: this.limits });
    }
    expect(page.next).toBe(expected.end);
    expect(page.closed).toBe(expected.closedBy !== undefined);
  }
  toString = () =>
    `read ${this.name} from ${this.from}, ${JSON.stringify(this.limits)}${this.byEvent ? " by event" : ""}`;
}

async function expectPage(t: TestStore, page: ReadStreamAnswer, expected: ModelStream): Promise<void> {
  const slices = await t.store.bodies(page.plan);
  const found = slices.flatMap(({ first, messages, tags, timestamp }) =>
    messages.map((bytes, index) => ({
      at: first + index,
      text: Buffer.from(bytes).toString(),
      tag: tags[index],
      time: timestamp,
    })),
  );
  const wanted = expected.messages
    .map(({ text, tag, time }, at) => ({ at, text, tag, time }))
    .slice(page.from, page.next);
  expect(found).toEqual(wanted);
}

/** Absent, but for one of `times`. */
const rarely = <Value>(times: number, value: fc.Arbitrary<Value>): fc.Arbitrary<Value | undefined> =>
  fc.oneof({ weight: times - 1, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: value });

const name = fc.constantFrom("room/a", "room/b", "ds/c", "ds/d");
const text = fc.oneof(
  fc.string({ maxLength: 6 }),
  fc.constant("täxt"),
  fc.string({ minLength: 100, maxLength: 300 }),
);
const writer = fc.record({
  id: fc.constantFrom("p", "q"),
  epoch: fc.constantFrom(0, 0, 0, 1),
  seq: fc.constantFrom(0, 0, 0, 1, 1, 2),
});
const retention = fc.oneof(
  fc.constant({}),
  fc.constant({}),
  fc.record({ count: fc.integer({ min: 1, max: 6 }) }),
  fc.record({ bytes: fc.integer({ min: 1, max: 400 }) }),
  fc.record({ ageMs: fc.integer({ min: 1, max: 3_000 }) }),
  fc.record({ count: fc.integer({ min: 1, max: 6 }), ageMs: fc.integer({ min: 1, max: 3_000 }) }),
);
const texts = fc.array(text, { maxLength: 4 });

const create = fc
  .record(
    {
      name,
      texts: fc.oneof(fc.constant([]), texts),
      retention,
      life: fc.oneof(
        { weight: 4, arbitrary: fc.constant({}) },
        fc.record({ ttlMs: fc.integer({ min: 0, max: 4_000 }) }),
        fc.record({ expiresInMs: fc.integer({ min: 0, max: 6_000 }) }),
      ),
      fork: rarely(3, fc.record({ source: name, at: fc.integer({ min: 0, max: 6 }) })),
    },
    { requiredKeys: ["name", "texts", "retention", "life"] },
  )
  .map(
    ({ life, fork, ...rest }): Step =>
      new Create({ ...rest, ...life, ...(fork === undefined ? {} : { fork }) }),
  );

const append = fc
  .record({
    name,
    texts: fc.array(text, { minLength: 1, maxLength: 5 }),
    tag: rarely(2, fc.constantFrom("made", "sold")),
    close: rarely(12, fc.constant(true)),
    producer: rarely(2, writer),
    writerSeq: rarely(8, fc.constantFrom("a", "b", "c")),
    expectedOffset: rarely(8, fc.integer({ min: 0, max: 8 })),
    bare: fc.integer({ min: 0, max: 30 }),
    held: fc.boolean(),
  })
  .map(({ bare, held, ...rest }): Step => {
    const command = Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined));
    return new Append({ ...command, name: rest.name, texts: bare === 0 ? [] : rest.texts }, held);
  });

const read = fc
  .record({
    name,
    from: fc.oneof(fc.constant("earliest" as const), fc.integer({ min: 0, max: 12 })),
    messagesMax: fc.integer({ min: 1, max: 5 }),
    bytesMax: fc.constantFrom(1, 50, 1 << 20),
    wholeAppends: fc.boolean(),
  })
  .map(({ name, from, wholeAppends, ...limits }): Step => {
    return new ReadOn(name, from, { ...limits, wholeAppends }, wholeAppends);
  });

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: create },
  { weight: 30, arbitrary: append },
  { weight: 20, arbitrary: read },
  { weight: 5, arbitrary: name.map((each): Step => new Delete(each)) },
  {
    weight: 3,
    arbitrary: fc.tuple(name, fc.integer({ min: 0, max: 10 })).map(([each, at]): Step => new Trim(each, at)),
  },
  { weight: 2, arbitrary: name.map((each): Step => new Touch(each)) },
  { weight: 3, arbitrary: fc.constant<Step>(new Sweep()) },
  { weight: 2, arbitrary: fc.tuple(name, name).map(([a, b]): Step => new Orphan(a, b)) },
  { weight: 5, arbitrary: fc.integer({ min: 0, max: 1_500 }).map((ms): Step => new MoveClock(ms)) },
  { weight: 3, arbitrary: fc.constant<Step>(new Restart()) },
);

describe("streams", () => {
  it("answer as arrays would, through trims, forks, restarts and time", async () => {
    await fc.assert(
      fc.asyncProperty(fc.commands([step], { maxCommands: 80, size: "max" }), async (steps) => {
        const model = new StreamModel(START_MS);
        const real: Real = { t: await TestStore.open({ now: START_MS }) };
        await fc.asyncModelRun(() => ({ model, real }), steps);
        expectSums(real.t);
      }),
      runs(500) as fc.Parameters<[Iterable<Step>]>,
    );
  });

  afterAll(() => {
    for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(5);
  });
});
