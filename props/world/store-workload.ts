/**
 * What clients do to a store, step by step – keys, a queue, a stream, and all of them in one record – beside the model that
 * `model/store-model.ts` is, kept once for each offset. It asks, follows with the model, hears answers, and compares what a
 * store holds with the model at the offset where its log ends. Disks, ends and faults are others'.
 */
import {
  asIs,
  batch,
  type Context,
  type Decider,
  kv,
  type OpenedStore,
  once,
  queue,
  type Reader,
  type Step,
  stream,
  TEXT_TYPE,
  textOf,
} from "../../projections/index.js";
import { PromiseBroken } from "../checkers/promise-broken.js";
import { batchOf, stepOf } from "../model/batches.js";
import {
  afterAck,
  afterAnswer,
  afterAppend,
  afterConsume,
  afterDelete,
  afterNack,
  afterPublish,
  afterSet,
  afterTrim,
  MAX_RETRIES,
  type ModelMessage,
  NOTHING,
  nextWaiting,
  type ShownFacts,
  type StoreFacts,
  shown,
} from "../model/store-model.js";

export type StoreStep =
  | { readonly type: "setKeys" | "publish" | "consume" | "ack" | "append"; readonly count: number }
  | { readonly type: "nack" | "deleteKeys" | "trim" }
  /** A request with an idempotency key that sets and deletes keys, publishes, acks and appends: one record of every room. */
  | { readonly type: "batch" };

/** The store after one record. */
export interface Moment {
  readonly facts: StoreFacts;
  readonly digest: string;
  /** Events in the record that led here, and which step it was. */
  readonly events: number;
  readonly step: StoreStep["type"] | "create";
}

interface HeldMessage {
  readonly message: ModelMessage;
  readonly delivery: { readonly messageId: string; readonly receipt: string };
}

const QUEUE = "jobs";
const STREAM = "room/events";
const KEYS = ["a", "b", "c"];
const HOUR_MS = 3_600_000;
/** Idempotency keys that each look asks for: the newest, which a crash may have taken. */
const ANSWERS_LOOKED_AT = 4;

/** A process that the store runs in. */
export interface Process {
  /** False once it has ended: answers that come later were never heard. */
  readonly alive: boolean;
}

export interface WorkloadOptions {
  readonly now: () => number;
  /** An answer to the change at this offset was heard. */
  readonly answered: (offset: number) => void;
}

export class StoreWorkload {
  /** By offset, ascending. */
  readonly moments = new Map<number, Moment>();
  readonly #options: WorkloadOptions;
  #facts = NOTHING;
  #number = 0;
  /** Every idempotency key that was ever used. */
  readonly #keys: string[] = [];
  /** What consumers heard, by payload and attempt. */
  readonly #receipts = new Map<string, HeldMessage["delivery"]>();
  #asked: Promise<void>[] = [];
  #process: Process = { alive: false };

  constructor(options: WorkloadOptions) {
    this.#options = options;
  }

  /** Once for each store that is opened and worked with. */
  async create(store: OpenedStore, process: Process): Promise<void> {
    this.#process = process;
    this.#asked = [];
    const config = { maxRetries: MAX_RETRIES, ackDeadlineMs: HOUR_MS };
    this.#ask(store, "create", queue.create, { queue: QUEUE, config }, this.#facts, 1);
    const named = { name: STREAM, contentType: TEXT_TYPE };
    this.#ask(store, "create", stream.getOrCreate, named, this.#facts, 1);
    await this.answered();
  }

  /** Resolves when everything asked for since `create` is answered. */
  async answered(): Promise<void> {
    await Promise.all(this.#asked);
  }

  step(store: OpenedStore, step: StoreStep): void {
    const facts = this.#facts;
    switch (step.type) {
      case "setKeys": {
        const pairs = KEYS.slice(0, step.count).map((key) => textPair(key, this.#fresh()));
        const set = Object.fromEntries(pairs.map(({ key, value }) => [key, value]));
        this.#ask(store, step.type, kv.setMany, { pairs }, afterSet(facts, set), pairs.length);
        break;
      }
      case "deleteKeys": {
        const keys = KEYS.slice(1);
        const there = keys.filter((key) => key in facts.keys).length;
        this.#ask(store, step.type, kv.deleteMany, { keys }, afterDelete(facts, keys), there);
        break;
      }
      case "publish": {
        const fresh = this.#freshOnes(step.count);
        const command = { queue: QUEUE, messages: fresh.map((text) => ({ payload: Buffer.from(text) })) };
        this.#ask(store, step.type, queue.publishMany, command, afterPublish(facts, fresh), step.count);
        break;
      }
      case "append": {
        const fresh = this.#freshOnes(step.count);
        const command = { name: STREAM, messages: fresh.map((bytes) => ({ bytes })) };
        this.#ask(store, step.type, stream.append, command, afterAppend(facts, fresh), step.count);
        break;
      }
      case "trim": {
        const before = facts.trimmed + Math.ceil((facts.entries.length - facts.trimmed) / 2);
        this.#ask(store, step.type, stream.trim, { name: STREAM, before }, afterTrim(facts, before), 1);
        break;
      }
      case "consume":
        this.#consume(store, step.count);
        break;
      case "ack":
        this.#ack(store, step.count);
        break;
      case "nack":
        this.#nack(store);
        break;
      case "batch":
        this.#batch(store);
        break;
    }
  }

  /**
   * The log of `store` ends at its offset, and nothing that was appended behind it has happened: what the store holds is what
   * the model holds there, for every reader, and its digest is the live one. Returns the moment at that offset, and how many
   * were lost behind it; undefined when the process ended meanwhile.
   */
  async rewind(
    store: OpenedStore,
    process: Process,
  ): Promise<{ moment: Moment | undefined; found: ShownFacts; lost: number } | undefined> {
    const end = store.offset;
    let lost = 0;
    for (const offset of [...this.moments.keys()])
      if (offset > end) {
        this.moments.delete(offset);
        lost += 1;
      }
    const moment = [...this.moments.values()].at(-1);
    this.#facts = moment?.facts ?? NOTHING;
    const found = await this.compare(store, process, moment);
    return found === undefined ? undefined : { moment, found, lost };
  }

  /** Throws unless the store is what it was then. Undefined when the process ended meanwhile. */
  async compare(
    store: OpenedStore,
    process: Process,
    moment: Moment | undefined,
  ): Promise<ShownFacts | undefined> {
    const asked = this.#keys.slice(-ANSWERS_LOOKED_AT);
    const found = await this.#read(store, asked);
    if (!process.alive) return undefined;
    const wanted = shown(moment?.facts ?? NOTHING, KEYS, asked);
    const [should, is] = [JSON.stringify(wanted), JSON.stringify(found)];
    if (is !== should)
      throw new PromiseBroken(
        "atomic",
        `at offset ${store.offset} the store holds\n${is}\nthe model\n${should}`,
      );
    if (moment !== undefined && store.digest() !== moment.digest)
      throw new PromiseBroken(
        "equivalent",
        `at offset ${store.offset}, after ${moment.step}, the digest is not the live state's`,
      );
    return found;
  }

  #consume(store: OpenedStore, count: number): void {
    const taken = nextWaiting(this.#facts, count);
    const command = { queue: QUEUE, consumer: "c", count };
    const after = afterConsume(this.#facts, taken);
    // A crash may have taken back a delivery whose receipt was heard, and this one is another.
    for (const { payload, retries } of taken) this.#receipts.delete(`${payload}#${retries + 1}`);
    this.#ask(store, "consume", queue.consume, command, after, taken.length, (answer) => {
      for (const { payload, attempt, messageId, receipt } of answer.messages)
        this.#receipts.set(`${Buffer.from(payload)}#${attempt}`, { messageId, receipt });
    });
  }

  /** Messages in flight whose receipt somebody heard. */
  #held(): HeldMessage[] {
    return this.#facts.messages.flatMap((message) => {
      const delivery = this.#receipts.get(`${message.payload}#${message.retries + 1}`);
      return message.inFlight && delivery !== undefined ? [{ message, delivery }] : [];
    });
  }

  #ack(store: OpenedStore, count: number): void {
    const held = this.#held().slice(0, count);
    if (held.length === 0) return;
    const gone = held.map(({ message }) => message);
    const command = { queue: QUEUE, deliveries: held.map(({ delivery }) => delivery) };
    this.#ask(store, "ack", queue.ackMany, command, afterAck(this.#facts, gone), held.length);
  }

  #nack(store: OpenedStore): void {
    const held = this.#held()[0];
    if (held === undefined) return;
    const after = afterNack(this.#facts, held.message);
    this.#ask(store, "nack", queue.nack, { queue: QUEUE, ...held.delivery }, after, 1);
  }

  #batch(store: OpenedStore): void {
    const [value, payload, text] = [this.#fresh(), this.#fresh(), this.#fresh()];
    const held = this.#held()[0];
    const steps = [
      stepOf(kv.set, textPair("b", value)),
      stepOf(kv.delete, { key: "a" }),
      stepOf(queue.publish, { queue: QUEUE, payload: Buffer.from(payload) }),
      stepOf(stream.append, { name: STREAM, messages: [{ bytes: text }] }),
      ...(held === undefined ? [] : [stepOf(queue.ack, { queue: QUEUE, ...held.delivery })]),
    ];
    const key = `key ${this.#number}`;
    const body = JSON.stringify({ number: this.#number });
    this.#keys.push(key);
    let after = afterDelete(afterSet(this.#facts, { b: value }), ["a"]);
    after = afterAppend(afterPublish(after, [payload]), [text]);
    if (held !== undefined) after = afterAck(after, [held.message]);
    const command = onceOf(store, key, stepOf(batch<unknown>, batchOf(steps)), body);
    this.#ask(store, "batch", once<unknown>, command, afterAnswer(after, key, body), steps.length + 1);
  }

  /** Executes; the model follows at once, as the state does; the answer is noted when it comes. */
  #ask<Command, Answer>(
    store: OpenedStore,
    step: Moment["step"],
    decide: Decider<Command, Answer>,
    command: Command,
    after: StoreFacts,
    events: number,
    heard: (answer: Answer) => void = () => undefined,
  ): void {
    const process = this.#process;
    const before = store.offset;
    const execute = async () => store.execute(decide, command, this.#context(), asIs);
    const outcome = execute();
    if (store.offset > before) {
      this.#facts = after;
      this.moments.set(store.offset, { facts: after, digest: store.digest(), events, step });
    }
    const told = outcome.then((one) => {
      if (!process.alive) return;
      if (one.type === "rejected") throw new Error(`unexpected refusal ${one.code}: ${one.message}`);
      this.#options.answered(one.offset);
      heard(one.answer);
    });
    // Whoever waits for it is told; nobody may be left to.
    told.catch(() => undefined);
    this.#asked.push(told);
  }

  async #read(store: OpenedStore, answersAsked: readonly string[]): Promise<ShownFacts> {
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
    const answers: [string, string | undefined][] = [];
    for (const key of answersAsked) answers.push([key, await this.#kept(store, key)]);
    return {
      keys,
      waiting: (peek?.messages ?? []).map((m) => [Buffer.from(m.payload).toString(), m.retryCount]),
      inFlight: stats?.inFlight ?? 0,
      dead: stats?.dead ?? 0,
      trimmed: page?.from ?? 0,
      entries: slices.flatMap(({ messages }) => messages.map((bytes) => Buffer.from(bytes).toString())),
      answers,
    };
  }

  /** What is answered again for this idempotency key: the request itself is refused, so that it changes nothing. */
  async #kept(store: OpenedStore, key: string): Promise<string | undefined> {
    const refuse = stepOf(kv.rename, { key: "not there", destination: "anywhere" });
    const command = onceOf(store, key, refuse, "");
    const outcome = await store.execute(once<unknown>, command, this.#context(), asIs);
    if (outcome.type === "rejected") return undefined;
    return outcome.answer.type === "again" ? outcome.answer.kept.body : "executed again";
  }

  #context(): Context {
    return { now: this.#options.now(), random: 0.5, cause: { command: "test" } };
  }

  #freshOnes(count: number): string[] {
    return Array.from({ length: count }, () => this.#fresh());
  }

  #fresh(): string {
    this.#number += 1;
    return `${this.#number} ${"x".repeat(this.#number % 90)}`;
  }
}

const textPair = (key: string, value: string) => ({ key, value, contentType: TEXT_TYPE });

function onceOf(store: OpenedStore, key: string, step: Step<unknown>, body: string) {
  const keep = () => ({ status: 200, revision: undefined, body });
  return { key, fingerprint: new Uint8Array(32), committed: store.offset, step, keep };
}
