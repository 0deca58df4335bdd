/** What the API is given by `ops/`: it builds routes and nothing else; it opens no file, reads no clock, knows no registry. */
import type { EventLog } from "../log/index.js";
import type { Store } from "../projections/index.js";
import type { Past } from "./past.js";
import type { Replication } from "./replication.js";
import type { Snapshots } from "./snapshots.js";

export interface ApiLimits {
  /** Largest request body, bytes. */
  readonly bodyBytesMax: number;
  /** Deepest nesting of a JSON body. */
  readonly jsonDepthMax: number;
  /** Longest key, UTF-8 bytes: the rule of the key-value store, so that reads and writes judge a key alike. */
  readonly keyBytesMax: number;
  /** Request line and headers together; a percent-encoded key takes up to three times its bytes here. */
  readonly headersBytesMax: number;
  /** Most keys, pairs or messages in one request, over all operations of a batch. */
  readonly batchItemsMax: number;
  /** Time for a client to send its headers / its whole request. */
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly connectionsMax: number;
  /** Writes that may be waiting for the log at once; one more is answered 503 with Retry-After. */
  readonly writesInFlightMax: number;
  /** How long a read that names a minimum offset waits for it. */
  readonly minOffsetWaitMs: number;
  /** Records that one request for a history may read. */
  readonly historyRecordsMax: number;
  /** Open transactions and watches at once. */
  readonly transactionsMax: number;
  /** Bytes that all writes queued in transactions may take. */
  readonly transactionBytesMax: number;
  /** A transaction that nobody touched for so long is forgotten. */
  readonly transactionIdleMs: number;
  /** Requests that may wait for something to arrive at once; one more is answered 503 with Retry-After. */
  readonly waitingRequestsMax: number;
  /** Longest time that a request may ask to wait. */
  readonly waitMsMax: number;
  /** Readers that wait for a durable stream at once, by long-poll or events; one more is answered 429. */
  readonly liveReadersMax: number;
  /** A long-poll that sees nothing is answered after this. */
  readonly longPollTimeoutMs: number;
  /** A connection for server-sent events ends after this, and its client connects again. */
  readonly eventStreamMaxMs: number;
  /** A request that takes longer is logged as slow. */
  readonly slowRequestMs: number;
}

export interface ReadinessCheck {
  readonly name: string;
  readonly ok: boolean;
  /** Requests belong here all the same; `/health` tells the detail instead of `ok`. */
  readonly impaired?: boolean;
  readonly detail: string;
}

/** Truth about the process, kept by `ops/`. */
export interface HealthSource {
  /** False when the process is wedged and only a restart helps. */
  live(): boolean;
  /** Ready when every check is ok. */
  readiness(): readonly ReadinessCheck[];
  /** True from SIGTERM on: requests still in flight finish, new ones are told to go elsewhere. */
  draining(): boolean;
}

/** What durable streams are measured under, all together: their names are without bound and follow from paths. */
export const DURABLE_STREAMS = "ds/*";

/** What the API tells whoever measures it. Called on the hot path; must return at once. */
export interface ApiObserver {
  /** One HTTP request answered. `route` is the pattern (`/kv/get/:key`), never a user's text. */
  requestFinished(method: string, route: string, status: number, durationMs: number): void;
  /**
   * One operation run, through whatever door. `status` is "success" or "error"; the time that the client asked to wait is
   * not in `durationMs`. `subject` is the queue or room it was about, empty when there is none of that name or it was
   * refused before anybody looked; for durable streams DURABLE_STREAMS.
   */
  operationFinished(
    operation: string,
    status: "success" | "error",
    durationMs: number,
    subject?: string,
  ): void;
  /** Events that a request published to a room (or DURABLE_STREAMS), alone or in a batch, told when they are committed. */
  eventsPublished(room: string, eventType: string, count: number): void;
  /** A request refused before any operation ran, by error code. */
  requestRejected(code: string): void;
  /** Told once, when the server is built: how to count those who wait, at any time. */
  countWaiting(count: () => WaitingCounts): void;
}

/** Requests that are answered, or written on, when something arrives. */
export interface WaitingCounts {
  /** Consumers that wait for a message. */
  readonly queue: number;
  /** Readers of durable streams: long polls, and server-sent events. */
  readonly streamPoll: number;
  readonly streamEvents: number;
}

export interface MetricsPage {
  readonly contentType: string;
  readonly text: string;
}

export type NodeRole = "master" | "replica" | "standalone";

/** The part of pino that the API uses. */
export type ApiLogger = Pick<import("fastify").FastifyBaseLogger, "info" | "warn" | "error">;

export interface ApiOptions {
  readonly version: string;
  readonly store: Store;
  readonly log: Pick<
    EventLog,
    "committedOffset" | "durableOffset" | "endOffset" | "firstOffset" | "epochs" | "markAt"
  >;
  /** Who looks back; undefined = switched off. */
  readonly past: Past | undefined;
  /** Who makes snapshots; undefined = switched off. */
  readonly snapshots: Snapshots | undefined;
  /** Undefined of a node that stands alone. */
  readonly replication?: Replication | undefined;
  /** What this node is; one that stands alone is a master without replicas. */
  readonly role: () => NodeRole;
  /** Ms since 1970, never running backward. */
  readonly now: () => number;
  /** Ms by a steady clock of high resolution (`performance.now`), for durations only. */
  readonly stopwatch: () => number;
  /** A number in [0, 1). */
  readonly random: () => number;
  /** Text for a new request id. */
  readonly newRequestId: () => string;
  readonly limits: ApiLimits;
  /** False: the operations on queues are refused. */
  readonly queuesEnabled: boolean;
  readonly health: HealthSource;
  readonly observer: ApiObserver;
  readonly metrics: () => Promise<MetricsPage>;
  /** `/info`: sections by name, each a flat object. */
  readonly info: () => Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** pino, or anything of its shape. */
  readonly logger: ApiLogger;
  /** Origins allowed by CORS; empty = none. */
  readonly corsOrigins: readonly string[];
}
