/**
 * The API on a real socket of this process, over a store on a log in memory (or any other log), with every truth about
 * the process in the test's hands. Speaks HTTP to it, or bytes.
 */
import { connect, type Socket } from "node:net";
import {
  type ApiLimits,
  type ApiObserver,
  type ApiOptions,
  buildServer,
  type Past,
  type ReadinessCheck,
  type Refusal,
} from "../../api/index.js";
import type { EventLog } from "../../log/index.js";
import {
  DEFAULT_IDEMPOTENCY_RULES,
  DEFAULT_QUEUE_RULES,
  DEFAULT_STREAM_RULES,
  type IdempotencyRules,
  type KvRules,
  type OpenedStore,
  openStore,
  type QueueRules,
  type Store,
  type StoreRules,
  type StreamRules,
} from "../../projections/index.js";
import { HttpClient } from "./http-client.js";
import { TEST_RULES } from "./kv-store.js";
import { MemoryLog } from "./memory-log.js";
import { type LocalPast, type LocalPastOptions, pastInProcess } from "./past-in-process.js";
import { ReplicationDouble, type ReplicationDoubleOptions } from "./replication-double.js";
import { SnapshotDouble } from "./snapshot-double.js";

export const TEST_LIMITS: ApiLimits = {
  bodyBytesMax: 4 << 20,
  jsonDepthMax: 64,
  keyBytesMax: TEST_RULES.keyBytesMax,
  headersBytesMax: 16 << 10,
  batchItemsMax: 1_000,
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 20_000,
  keepAliveTimeoutMs: 5_000,
  connectionsMax: 1_000,
  writesInFlightMax: 1_000,
  minOffsetWaitMs: 100,
  historyRecordsMax: 10_000,
  transactionsMax: 100,
  transactionBytesMax: 1 << 20,
  transactionIdleMs: 60_000,
  waitingRequestsMax: 100,
  waitMsMax: 60_000,
  liveReadersMax: 100,
  longPollTimeoutMs: 500,
  eventStreamMaxMs: 60_000,
  slowRequestMs: 10_000,
};

export interface TestServerOptions {
  readonly log?: EventLog;
  readonly rules?: Partial<KvRules>;
  readonly queueRules?: Partial<QueueRules>;
  readonly queuesEnabled?: boolean;
  readonly streamRules?: Partial<StreamRules>;
  readonly idempotencyRules?: Partial<IdempotencyRules>;
  readonly limits?: Partial<ApiLimits>;
  readonly corsOrigins?: readonly string[];
  readonly past?: LocalPastOptions | "off";
  readonly snapshots?: "off";
  readonly replication?: ReplicationDoubleOptions | "off";
  /** Stands between the API and the store. */
  readonly wrapStore?: (store: OpenedStore) => Store;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  /** The body parsed, or undefined when it isn't JSON. */
  readonly json: unknown;
}

export interface Logged {
  readonly level: "info" | "warn" | "error";
  readonly facts: unknown;
  readonly message: string;
}

export class TestServer {
  readonly logged: Logged[] = [];
  readonly finished: { method: string; route: string; status: number }[] = [];
  readonly operations: { operation: string; status: string }[] = [];
  /** What each of those was about. */
  readonly subjects: (string | undefined)[] = [];
  readonly published: { room: string; eventType: string; count: number }[] = [];
  readonly rejected: string[] = [];
  /** Every connection that was ever opened: the server's ends. */
  readonly connections: Socket[] = [];
  now = 1_700_000_000_000;
  /** Ms by which its stopwatch is ahead. */
  aheadMs = 0;
  /** Every look back is answered with this. */
  refusePast: Refusal | undefined;
  live = true;
  draining = false;
  checks: ReadinessCheck[] = [{ name: "log", ok: true, detail: "" }];
  readonly snapshots = new SnapshotDouble(() => this.log.endOffset);
  readonly replication: ReplicationDouble;
  /** Requests that wait now. */
  waiting: Parameters<ApiObserver["countWaiting"]>[0] = () => ({ queue: 0, streamPoll: 0, streamEvents: 0 });
  url = "";
  port = 0;
  #client = new HttpClient(0);
  #close: () => Promise<void> = () => Promise.resolve();
  #drain: () => Promise<void> = () => Promise.resolve();

  private constructor(
    readonly store: OpenedStore,
    readonly log: EventLog,
    readonly past: LocalPast,
    /** What may change while it runs. */
    readonly rules: StoreRules,
    readonly limits: ApiLimits,
    replication: ReplicationDoubleOptions,
  ) {
    this.replication = new ReplicationDouble(replication, () => log.endOffset);
  }

  static async start(options: TestServerOptions = {}): Promise<TestServer> {
    const log = options.log ?? new MemoryLog();
    const rules: StoreRules = {
      kv: { ...TEST_RULES, ...options.rules },
      queue: { ...DEFAULT_QUEUE_RULES, ...options.queueRules },
      stream: { ...DEFAULT_STREAM_RULES, ...options.streamRules },
      idempotency: { ...DEFAULT_IDEMPOTENCY_RULES, ...options.idempotencyRules },
    };
    const store = await openStore({
      log,
      rules,
      onDead: (error) => {
        throw error;
      },
    });
    const queuesEnabled = options.queuesEnabled ?? true;
    const limits = { ...TEST_LIMITS, ...options.limits };
    const past = pastInProcess(log, rules, limits, {
      queuesEnabled,
      now: () => test.now,
      ...(options.past === "off" ? {} : options.past),
    });
    const replication = options.replication === "off" ? {} : options.replication;
    const test = new TestServer(store, log, past, rules, limits, replication ?? {});
    const server = buildServer(test.#options(options));
    server.server.on("connection", (socket) => test.connections.push(socket));
    await server.listen({ host: "127.0.0.1", port: 0 });
    const address = server.server.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    test.port = address.port;
    test.url = `http://127.0.0.1:${address.port}`;
    test.#client = new HttpClient(address.port);
    test.#drain = async () => {
      test.draining = true;
      const idle = setInterval(() => server.server.closeIdleConnections(), 5);
      await server.close();
      clearInterval(idle);
    };
    test.#close = async () => {
      server.server.closeAllConnections();
      await server.close();
      test.#client.close();
      await past.past.close();
      await store.close();
    };
    return test;
  }

  #options(options: TestServerOptions): ApiOptions {
    let ids = 0;
    const note = (level: Logged["level"]) => (facts: unknown, message?: string) => {
      this.logged.push({ level, facts, message: message ?? "" });
    };
    const observer: ApiObserver = {
      requestFinished: (method, route, status) => this.finished.push({ method, route, status }),
      operationFinished: (operation, status, _durationMs, subject) => {
        this.operations.push({ operation, status });
        this.subjects.push(subject);
      },
      eventsPublished: (room, eventType, count) => this.published.push({ room, eventType, count }),
      requestRejected: (code) => this.rejected.push(code),
      countWaiting: (count) => {
        this.waiting = count;
      },
    };
    return {
      version: "1.2.3",
      store: options.wrapStore === undefined ? this.store : options.wrapStore(this.store),
      log: this.log,
      past: options.past === "off" ? undefined : this.#pastOrRefusal(),
      snapshots: options.snapshots === "off" ? undefined : this.snapshots,
      replication: options.replication === "off" ? undefined : this.replication,
      role: () => "master",
      now: () => this.now,
      stopwatch: () => performance.now() + this.aheadMs,
      random: () => 0.5,
      newRequestId: () => `test-${++ids}`,
      limits: this.limits,
      queuesEnabled: options.queuesEnabled ?? true,
      health: { live: () => this.live, readiness: () => this.checks, draining: () => this.draining },
      observer,
      metrics: async () => ({ contentType: "text/plain; version=0.0.4", text: "annals_up 1\n" }),
      info: () => ({ server: { version: "1.2.3", port: 1 }, memory: { used: 2n } }),
      logger: { info: note("info"), warn: note("warn"), error: note("error") },
      corsOrigins: options.corsOrigins ?? [],
    };
  }

  #pastOrRefusal(): Past {
    const { past } = this.past;
    return {
      read: async (...ask) => this.refusePast ?? past.read(...ask),
      value: async (...ask) => this.refusePast ?? past.value(...ask),
      digest: async (...ask) => this.refusePast ?? past.digest(...ask),
    };
  }

  async request(
    method: string,
    path: string,
    body?: unknown,
    headers: Record<string, string> = {},
  ): Promise<Answer> {
    const sent =
      body === undefined || typeof body === "string" || body instanceof Uint8Array
        ? body
        : JSON.stringify(body);
    const { pathname, search } = new URL(this.url + path);
    const answer = await this.#client.send(method, pathname + search, sent, {
      ...typeOf(method, sent),
      ...headers,
    });
    const { status, text } = answer;
    return {
      status,
      headers: new Headers(answer.headers as Record<string, string>),
      text,
      json: parsed(text),
    };
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.request("GET", path, undefined, headers);
  }

  post(path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Answer> {
    return this.request("POST", path, body, headers);
  }

  /** Runs a command through the envelope; `payload` may be JSON text. */
  async command(command: string, payload: unknown = {}): Promise<Record<string, unknown>> {
    const answer = await this.post("/api/v1/command", { command, request_id: "r-1", payload });
    if (answer.status !== 200) throw new Error(`the envelope answered ${answer.status}: ${answer.text}`);
    return answer.json as Record<string, unknown>;
  }

  /** Writes bytes to a fresh socket and gives back everything until the server closes it, or `quietMs` without a byte. */
  bytes(text: string | Uint8Array, quietMs = 2_000): Promise<string> {
    return new Promise((resolve, reject) => {
      const socket = connect(this.port, "127.0.0.1");
      let received = "";
      socket.setTimeout(quietMs, () => socket.destroy());
      socket.on("data", (chunk) => {
        received += chunk.toString("latin1");
      });
      socket.on("close", () => resolve(received));
      socket.on("error", (error: NodeJS.ErrnoException) => {
        if (error.code !== "ECONNRESET" && error.code !== "EPIPE") reject(error);
      });
      socket.write(text);
    });
  }

  /** Shuts the door as a process does that was told to stop: resolves when what was in flight is answered. */
  drain(): Promise<void> {
    return this.#drain();
  }

  close(): Promise<void> {
    return this.#close();
  }
}

/** What a body is sent as when a test says nothing: JSON where commands are posted, else what text is sent as by `fetch`. */
function typeOf(method: string, body: string | Uint8Array | undefined): Record<string, string> {
  if (body === undefined) return {};
  if (method === "POST") return { "content-type": "application/json" };
  return typeof body === "string" ? { "content-type": "text/plain;charset=UTF-8" } : {};
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
