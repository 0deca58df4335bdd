/** A store on a memory log with a clock and rules that a test sets: what nearly every test of the projections begins with. */
import { AssertionError } from "node:assert";
import {
  asIs,
  type Context,
  DEFAULT_IDEMPOTENCY_RULES,
  DEFAULT_QUEUE_RULES,
  DEFAULT_STREAM_RULES,
  type Decider,
  type KvRules,
  type OpenedStore,
  type OpenStoreOptions,
  type Outcome,
  openStore,
  type QueueRules,
  type Reader,
  type RejectionCode,
  type StoreRules,
} from "../../projections/index.js";
import { MemoryLog } from "./memory-log.js";

export const TEST_RULES: KvRules = {
  maxMemoryBytes: 1 << 30,
  evictionPolicy: "noeviction",
  allowFlush: true,
  keyBytesMax: 1_024,
  valueBytesMax: 1 << 20,
};

/** What a store or a fold obeys when a test says nothing. */
export const TEST_STORE_RULES: StoreRules = {
  kv: TEST_RULES,
  queue: DEFAULT_QUEUE_RULES,
  stream: DEFAULT_STREAM_RULES,
  idempotency: DEFAULT_IDEMPOTENCY_RULES,
};

export interface TestStoreOptions {
  readonly log?: MemoryLog;
  readonly rules?: Partial<KvRules>;
  readonly queueRules?: Partial<QueueRules>;
  readonly now?: number;
  readonly onProgress?: NonNullable<OpenStoreOptions["onProgress"]>;
}

export class TestStore {
  /** Ms since 1970 of everything that enters. */
  now: number;
  random = 0.5;

  private constructor(
    readonly store: OpenedStore,
    readonly log: MemoryLog,
    /** What the store was opened with: a test may change them while it runs, as a reload does. */
    readonly rules: { -readonly [Name in keyof KvRules]: KvRules[Name] },
    now: number,
    readonly deaths: Error[],
  ) {
    this.now = now;
  }

  static async open(options: TestStoreOptions = {}): Promise<TestStore> {
    const log = options.log ?? new MemoryLog();
    const deaths: Error[] = [];
    const kv = { ...TEST_RULES, ...options.rules };
    const store = await openStore({
      log,
      rules: {
        kv,
        queue: { ...DEFAULT_QUEUE_RULES, ...options.queueRules },
        stream: DEFAULT_STREAM_RULES,
        idempotency: DEFAULT_IDEMPOTENCY_RULES,
      },
      onDead: (error) => deaths.push(error),
      ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }),
    });
    return new TestStore(store, log, kv, options.now ?? 1_000_000, deaths);
  }

  context(): Context {
    return { now: this.now, random: this.random, cause: { command: "test" } };
  }

  async run<Command, Answer>(decide: Decider<Command, Answer>, command: Command): Promise<Outcome<Answer>> {
    return this.store.execute(decide, command, this.context(), asIs);
  }

  async ask<Query, Answer>(read: Reader<Query, Answer>, query: Query): Promise<Outcome<Answer>> {
    return this.store.query(read, query, this.context(), asIs);
  }

  /** The answer to a command that must not be refused. */
  async ok<Command, Answer>(decide: Decider<Command, Answer>, command: Command): Promise<Answer> {
    return answerOf(await this.run(decide, command));
  }

  async answer<Query, Answer>(read: Reader<Query, Answer>, query: Query): Promise<Answer> {
    return answerOf(await this.ask(read, query));
  }

  /** The code with which a command must be refused. */
  async refused<Command>(decide: Decider<Command, unknown>, command: Command): Promise<RejectionCode> {
    return codeOf(await this.run(decide, command));
  }

  async askRefused<Query>(read: Reader<Query, unknown>, query: Query): Promise<RejectionCode> {
    return codeOf(await this.ask(read, query));
  }
}

function answerOf<Answer>(outcome: Outcome<Answer>): Answer {
  if (outcome.type === "done") return outcome.answer;
  throw new AssertionError({ message: `refused with ${outcome.code}: ${outcome.message}` });
}

function codeOf(outcome: Outcome<unknown>): RejectionCode {
  if (outcome.type === "rejected") return outcome.code;
  throw new AssertionError({ message: "expected a refusal, got an answer" });
}
