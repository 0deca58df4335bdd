/**
 * Several lives of one store – keys, one queue, one stream – on one simulated disk, beside a model so simple that it can be
 * kept once for each offset. It drives, remembers what was answered, and compares what a reopened store holds with the model at the
 * offset where its log ends.
 */
import { type EventLog, LogError } from "../../log/index.js";
import {
  asIs,
  type Context,
  type Decider,
  foldTo,
  kv,
  listSnapshots,
  type OpenedStore,
  ProjectionError,
  queue,
  type Reader,
  stream,
  TEXT_TYPE,
  textOf,
  verifySnapshot,
  writeSnapshot,
} from "../../projections/index.js";
import { checkDurable } from "../checkers/durable.js";
import { PromiseBroken } from "../checkers/promise-broken.js";
import type { Fault } from "./operations.js";
import { type SeededClock, seededClock } from "./seeded-world.js";
import type { SimulatedDisk, SimulatedMount } from "./simulated-file-system.js";
import { openWorldStore, SNAPSHOTS, WORLD_RULES } from "./store-world.js";
import { SystemError } from "./system-error.js";

export type StoreStep =
  | { readonly type: "setKeys" | "publish" | "consume" | "ack" | "append"; readonly count: number }
  | { readonly type: "nack" }
  /** Made of the log's files, as a worker makes it, while nothing else happens. */
  | { readonly type: "snapshot" }
  /** Until everything asked for so far is answered. */
  | { readonly type: "wait" };

export interface StoreLife {
  readonly steps: readonly StoreStep[];
  /** Of the disk, counted from the beginning of the life. */
  readonly fault: Fault;
  /** How the process ends when the fault did not end it. */
  readonly ending: "power" | "kill";
}

interface Message {
  readonly payload: string;
  readonly retries: number;
  readonly inFlight: boolean;
}

/** The whole state, as plain values. */
interface Facts {
  readonly keys: Readonly<Record<string, string>>;
  /** In the order of their publishes. */
  readonly messages: readonly Message[];
  readonly dead: number;
  readonly entries: readonly string[];
}

interface Moment {
  readonly facts: Facts;
  readonly digest: string;
  /** Events in the record that led here. */
  readonly events: number;
}

const NOTHING: Facts = { keys: {}, messages: [], dead: 0, entries: [] };
const QUEUE = "jobs";
const STREAM = "room/events";
const KEYS = ["a", "b", "c"];
const MAX_RETRIES = 2;
const HOUR_MS = 3_600_000;

export class StoreLives {
  readonly happened = {
    ends: 0,
    failures: 0,
    recovered: 0,
    lost: 0,
    severalEvents: 0,
    redelivered: 0,
    refusedDamage: 0,
    snapshots: 0,
    cutSnapshots: 0,
    begunWithSnapshot: 0,
  };
  readonly #disk: SimulatedDisk;
  readonly #clock: SeededClock;
  /** By offset, ascending. */
  #moments = new Map<number, Moment>();
  #facts = NOTHING;
  #answered = 0;
  /** Offset of the newest snapshot that was said to be made. */
  #snapshot = 0;
  #log: EventLog | undefined;
  #number = 0;
  /** What consumers heard, by payload and attempt. */
  readonly #receipts = new Map<string, { messageId: string; receipt: string }>();
  #asked: Promise<void>[] = [];

  constructor(disk: SimulatedDisk) {
    this.#disk = disk;
    this.#clock = seededClock(disk.random);
  }

  async live({ steps, fault, ending }: StoreLife): Promise<void> {
    const disk = this.#disk;
    disk.arm(fault);
    const files = disk.mount();
    const ended = disk.ended().then(() => undefined);
    const failuresBefore = disk.counts.failures;
    await Promise.race([this.#run(files, steps).catch(assertCoded), ended]);
    disk.disarm();
    this.happened.failures += disk.counts.failures - failuresBefore;
    if (!files.alive) this.happened.ends += 1;
    else if (ending === "power") disk.losePower();
    else disk.kill();
  }

  /** A life without faults, to see what is there. */
  async look(): Promise<void> {
    const files = this.#disk.mount();
    await this.#open(files, true);
    this.#disk.losePower();
  }

  /** One byte of the log at rest changes: reported, or without effect on what is shown. */
  async damage(path: string, position: number, mask: number): Promise<void> {
    this.#disk.flip(path, position, mask);
    const files = this.#disk.mount();
    try {
      await this.#open(files, false);
    } catch (error) {
      if (!(error instanceof LogError)) throw error;
      this.happened.refusedDamage += 1;
    }
    this.#disk.losePower();
  }

  async #run(files: SimulatedMount, steps: readonly StoreStep[]): Promise<void> {
    const store = await this.#open(files, true);
    this.#asked = [];
    await this.#create(store, files);
    for (const step of steps) {
      if (!files.alive) return;
      await this.#step(store, files, step);
    }
    await Promise.all(this.#asked);
  }

  async #open(files: SimulatedMount, isWhole: boolean): Promise<OpenedStore> {
    const { log, store, begunWith, passedOver = [] } = await openWorldStore(this.#disk, files, this.#clock);
    this.#log = log;
    if (!files.alive) return store;
    const unread = passedOver.filter(({ cause }) => cause instanceof SystemError);
    if (isWhole && unread.length < passedOver.length)
      throw new PromiseBroken("detected", `a snapshot was passed over: ${passedOver[0]?.message}`);
    if (isWhole && unread.length === 0) await this.#checkSnapshots(files, begunWith);
    const end = store.offset;
    if (isWhole) checkDurable({ answered: this.#answered, durable: 0 }, true, true, end);
    for (const offset of [...this.#moments.keys()])
      if (offset > end) {
        this.#moments.delete(offset);
        this.happened.lost += 1;
      }
    const last = [...this.#moments.values()].at(-1);
    this.#facts = last?.facts ?? NOTHING;
    const found = await this.#read(store);
    const [wanted, is] = [JSON.stringify(shown(this.#facts)), JSON.stringify(found)];
    if (files.alive && is !== wanted)
      throw new PromiseBroken("atomic", `at offset ${end} the store holds\n${is}\nthe model\n${wanted}`);
    if (files.alive && last !== undefined && store.digest() !== last.digest)
      throw new PromiseBroken("equivalent", `at offset ${end} the digest is not the live state's`);
    this.happened.recovered += 1;
    if (found.waiting.some(([, retries]) => retries > 0)) this.happened.redelivered += 1;
    if ((last?.events ?? 0) > 1) this.happened.severalEvents += 1;
    return store;
  }

  async #create(store: OpenedStore, files: SimulatedMount): Promise<void> {
    const config = { maxRetries: MAX_RETRIES, ackDeadlineMs: HOUR_MS };
    this.#ask(store, files, queue.create, { queue: QUEUE, config }, this.#facts, 1);
    this.#ask(store, files, stream.getOrCreate, { name: STREAM, contentType: TEXT_TYPE }, this.#facts, 1);
    await Promise.all(this.#asked);
  }

  async #step(store: OpenedStore, files: SimulatedMount, step: StoreStep): Promise<void> {
    const facts = this.#facts;
    switch (step.type) {
      case "wait":
        await Promise.all(this.#asked);
        break;
      case "setKeys": {
        const pairs = KEYS.slice(0, step.count).map((key) => ({
          key,
          value: this.#fresh(),
          contentType: TEXT_TYPE,
        }));
        const keys = { ...facts.keys, ...Object.fromEntries(pairs.map(({ key, value }) => [key, value])) };
        this.#ask(store, files, kv.setMany, { pairs }, { ...facts, keys }, pairs.length);
        break;
      }
      case "publish": {
        const fresh = Array.from({ length: step.count }, () => this.#fresh());
        const messages = fresh.map((payload) => ({ payload: Buffer.from(payload) }));
        const added = fresh.map((payload) => ({ payload, retries: 0, inFlight: false }));
        const after = { ...facts, messages: [...facts.messages, ...added] };
        this.#ask(store, files, queue.publishMany, { queue: QUEUE, messages }, after, step.count);
        break;
      }
      case "append": {
        const fresh = Array.from({ length: step.count }, () => this.#fresh());
        const command = { name: STREAM, messages: fresh.map((bytes) => ({ bytes })) };
        const after = { ...facts, entries: [...facts.entries, ...fresh] };
        this.#ask(store, files, stream.append, command, after, step.count);
        break;
      }
      case "consume":
        this.#consume(store, files, step.count);
        break;
      case "ack":
        this.#ack(store, files, step.count);
        break;
      case "snapshot":
        await this.#makeSnapshot(files);
        break;
      case "nack":
        this.#nack(store, files);
        break;
    }
  }

  /** Every file that looks like a snapshot is one, the promised one among them, and the start has used one. */
  async #checkSnapshots(files: SimulatedMount, begunWith: "snapshot" | undefined): Promise<void> {
    const listed = await listSnapshots(files, SNAPSHOTS);
    for (const { name } of listed) {
      const { problem } = await verifySnapshot(files, `${SNAPSHOTS}/${name}`);
      if (files.alive && problem !== undefined) throw new PromiseBroken("detected", problem.message);
    }
    const newest = listed.at(-1)?.offset ?? 0;
    if (files.alive && newest < this.#snapshot)
      throw new PromiseBroken(
        "durable",
        `the snapshot of ${this.#snapshot} is gone; the newest is ${newest}`,
      );
    if (files.alive && (begunWith === "snapshot") !== newest > 0)
      throw new PromiseBroken("equivalent", `the start began with ${begunWith}, the newest is ${newest}`);
    if (begunWith === "snapshot") this.happened.begunWithSnapshot += 1;
  }

  async #makeSnapshot(files: SimulatedMount): Promise<void> {
    await Promise.all(this.#asked);
    const log = this.#log;
    if (!files.alive || log === undefined) return;
    const last = log.durableOffset;
    const digest = this.#moments.get(last)?.digest;
    this.happened.cutSnapshots += 1;
    const { fold } = await foldTo(log, { files, directory: SNAPSHOTS }, { rules: WORLD_RULES, last });
    const mark = await log.markAt(last);
    const info = await writeSnapshot(files, SNAPSHOTS, fold, mark, { now: this.#clock.now });
    if (!files.alive) return;
    this.happened.cutSnapshots -= 1;
    this.happened.snapshots += 1;
    this.#snapshot = info.offset;
    if (digest !== undefined && info.digests.all !== digest)
      throw new PromiseBroken("equivalent", `the snapshot of ${last} is not the live state`);
  }

  #consume(store: OpenedStore, files: SimulatedMount, count: number): void {
    const facts = this.#facts;
    const taken = facts.messages.filter(({ inFlight }) => !inFlight).slice(0, count);
    const messages = facts.messages.map((m) => (taken.includes(m) ? { ...m, inFlight: true } : m));
    const command = { queue: QUEUE, consumer: "c", count };
    this.#ask(store, files, queue.consume, command, { ...facts, messages }, taken.length, (answer) => {
      for (const { payload, attempt, messageId, receipt } of answer.messages)
        this.#receipts.set(`${Buffer.from(payload)}#${attempt}`, { messageId, receipt });
    });
  }

  /** Messages in flight whose receipt somebody heard, with it. */
  #held(): { message: Message; delivery: { messageId: string; receipt: string } }[] {
    return this.#facts.messages.flatMap((message) => {
      const delivery = this.#receipts.get(`${message.payload}#${message.retries + 1}`);
      return message.inFlight && delivery !== undefined ? [{ message, delivery }] : [];
    });
  }

  #ack(store: OpenedStore, files: SimulatedMount, count: number): void {
    const held = this.#held().slice(0, count);
    if (held.length === 0) return;
    const gone = held.map(({ message }) => message);
    const messages = this.#facts.messages.filter((message) => !gone.includes(message));
    const command = { queue: QUEUE, deliveries: held.map(({ delivery }) => delivery) };
    this.#ask(store, files, queue.ackMany, command, { ...this.#facts, messages }, held.length);
  }

  #nack(store: OpenedStore, files: SimulatedMount): void {
    const held = this.#held()[0];
    if (held === undefined) return;
    const { message, delivery } = held;
    const dies = message.retries + 1 > MAX_RETRIES;
    const again = { ...message, inFlight: false, retries: message.retries + 1 };
    const messages = this.#facts.messages.flatMap((m) => (m !== message ? [m] : dies ? [] : [again]));
    const after = { ...this.#facts, messages, dead: this.#facts.dead + (dies ? 1 : 0) };
    this.#ask(store, files, queue.nack, { queue: QUEUE, ...delivery }, after, 1);
  }

  /** Executes; the model follows at once, as the state does; the answer is noted when it comes. */
  #ask<Command, Answer>(
    store: OpenedStore,
    files: SimulatedMount,
    decide: Decider<Command, Answer>,
    command: Command,
    after: Facts,
    events: number,
    heard: (answer: Answer) => void = () => undefined,
  ): void {
    const before = store.offset;
    const answer = async () => store.execute(decide, command, this.#context(), asIs);
    const outcome = answer();
    if (store.offset > before) {
      this.#facts = after;
      this.#moments.set(store.offset, { facts: after, digest: store.digest(), events });
    }
    const told = outcome.then((one) => {
      if (!files.alive) return;
      if (one.type === "rejected") throw new Error(`unexpected refusal ${one.code}: ${one.message}`);
      this.#answered = Math.max(this.#answered, one.offset);
      heard(one.answer);
    });
    // Whoever waits for it is told; nobody may be left to.
    told.catch(() => undefined);
    this.#asked.push(told);
  }

  async #read(store: OpenedStore): Promise<ReturnType<typeof shown>> {
    const ask = async <Query, Answer>(
      read: Reader<Query, Answer>,
      query: Query,
    ): Promise<Answer | undefined> => {
      const outcome = await store.query(read, query, this.#context(), asIs);
      return outcome.type === "done" ? outcome.answer : undefined;
    };
    const keys: Record<string, string> = {};
    for (const key of KEYS) {
      const entry = await ask(kv.get, { key });
      if (entry !== undefined) keys[key] = textOf(entry.bytes) ?? "";
    }
    const stats = await ask(queue.stats, { queue: QUEUE });
    const peek = await ask(queue.peek, { queue: QUEUE, limit: 1_000 });
    const limits = { messagesMax: 10_000, bytesMax: 1 << 24 };
    const page = await ask(stream.read, { name: STREAM, from: "earliest", limits });
    const slices = page === undefined ? [] : await store.bodies(page.plan);
    return {
      keys,
      waiting: (peek?.messages ?? []).map((m) => [Buffer.from(m.payload).toString(), m.retryCount]),
      inFlight: stats?.inFlight ?? 0,
      dead: stats?.dead ?? 0,
      entries: slices.flatMap(({ messages }) => messages.map((bytes) => Buffer.from(bytes).toString())),
    };
  }

  #context(): Context {
    return { now: this.#clock.now(), random: 0.5, cause: { command: "test" } };
  }

  #fresh(): string {
    this.#number += 1;
    return `${this.#number} ${"x".repeat(this.#number % 90)}`;
  }
}

/** What readers see of the facts. */
function shown({ keys, messages, dead, entries }: Facts) {
  const waiting = messages
    .filter(({ inFlight }) => !inFlight)
    .map(({ payload, retries }): [string, number] => [payload, retries]);
  const sorted = Object.fromEntries(KEYS.flatMap((key) => (key in keys ? [[key, keys[key] ?? ""]] : [])));
  return { keys: sorted, waiting, inFlight: messages.length - waiting.length, dead, entries };
}

/** Failures of the log and the system have codes. Anything else is a bug. */
function assertCoded(error: unknown): void {
  const isCoded = [LogError, SystemError, ProjectionError].some((known) => error instanceof known);
  if (!isCoded) throw error;
}
