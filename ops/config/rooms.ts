/**
 * Translates the configuration into what each room takes: units of the file become units of the code. What SIGHUP may
 * change is kept in objects that the rooms hold and this file changes in place; everything else is fixed for the process.
 */
import type { ApiLimits } from "../../api/index.js";
import type { LogSettings } from "../../log/index.js";
import type { EvictionPolicy, IdempotencyRules, KvRules, StoreRules } from "../../projections/index.js";
import { LiveQueueRules } from "./queue-rules.js";
import type { Setting } from "./setting.js";
import { type ConfigValues, isSettingPath, settingPaths, settings } from "./settings.js";
import { LiveStreamRules } from "./stream-rules.js";

const MIB = 1_048_576;

export function logSettings(values: ConfigValues): LogSettings {
  return {
    fsyncMode: values["persistence.wal.fsync_mode"],
    fsyncIntervalMs: values["persistence.wal.fsync_interval_ms"],
    segmentBytes: values["log.segment_bytes"],
    segmentAgeMs: values["log.segment_age_secs"] * 1000,
    reserveBytes: values["log.reserve_bytes"],
    recordBytesMax: values["log.record_bytes_max"],
    pendingBytesMax: values["log.pending_bytes_max"],
  };
}

class LiveKvRules implements KvRules {
  maxMemoryBytes = 0;
  evictionPolicy: EvictionPolicy = "noeviction";
  allowFlush = false;
  keyBytesMax = 0;
  valueBytesMax = 0;
  removedKeysBytesMax = 0;

  apply(values: ConfigValues): void {
    this.maxMemoryBytes = values["kv_store.max_memory_mb"] * MIB;
    this.evictionPolicy = values["kv_store.eviction_policy"];
    this.allowFlush = values["kv_store.allow_flush_commands"];
    this.keyBytesMax = values["limits.key_bytes_max"];
    this.valueBytesMax = values["kv_store.max_value_size_bytes"];
    this.removedKeysBytesMax = values["history.removed_keys_bytes_max"];
  }
}

class LiveIdempotencyRules implements IdempotencyRules {
  windowMs = 0;
  answersMax = 0;
  bytesMax = 0;

  apply(values: ConfigValues): void {
    this.windowMs = values["idempotency.window_secs"] * 1000;
    this.answersMax = values["idempotency.answers_max"];
    this.bytesMax = values["idempotency.bytes_max"];
  }
}

class LiveLimits implements ApiLimits {
  readonly bodyBytesMax: number;
  readonly jsonDepthMax: number;
  readonly headersBytesMax: number;
  readonly batchItemsMax: number;
  readonly headersTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly keepAliveTimeoutMs: number;
  readonly connectionsMax: number;
  readonly writesInFlightMax: number;
  readonly transactionsMax: number;
  readonly transactionBytesMax: number;
  readonly transactionIdleMs: number;
  waitingRequestsMax = 0;
  waitMsMax = 0;
  keyBytesMax = 0;
  minOffsetWaitMs = 0;
  historyRecordsMax = 0;
  liveReadersMax = 0;
  longPollTimeoutMs = 0;
  eventStreamMaxMs = 0;
  slowRequestMs = 0;

  constructor(values: ConfigValues) {
    this.bodyBytesMax = values["limits.body_bytes_max"];
    this.jsonDepthMax = values["limits.json_depth_max"];
    this.headersBytesMax = values["limits.headers_bytes_max"];
    this.batchItemsMax = values["limits.batch_items_max"];
    this.headersTimeoutMs = values["limits.headers_timeout_ms"];
    this.requestTimeoutMs = values["limits.request_timeout_ms"];
    this.keepAliveTimeoutMs = values["limits.keep_alive_timeout_ms"];
    this.connectionsMax = values["limits.connections_max"];
    this.writesInFlightMax = values["limits.writes_in_flight_max"];
    this.transactionsMax = values["limits.transactions_max"];
    this.transactionBytesMax = values["limits.transaction_bytes_max"];
    this.transactionIdleMs = values["limits.transaction_idle_secs"] * 1000;
  }

  apply(values: ConfigValues): void {
    this.keyBytesMax = values["limits.key_bytes_max"];
    this.minOffsetWaitMs = values["limits.min_offset_wait_ms"];
    this.historyRecordsMax = values["history.records_max"];
    this.waitingRequestsMax = values["limits.waiting_requests_max"];
    this.waitMsMax = values["queue.wait_secs_max"] * 1000;
    this.liveReadersMax = values["limits.live_readers_max"];
    this.longPollTimeoutMs = values["limits.long_poll_timeout_ms"];
    this.eventStreamMaxMs = values["limits.event_stream_max_ms"];
    this.slowRequestMs = values["limits.slow_request_ms"];
  }
}

/** What the doors and the store hold, and what SIGHUP changes in them. */
export class LiveSettings {
  readonly rules: StoreRules;
  readonly limits: ApiLimits;
  readonly #kv = new LiveKvRules();
  readonly #idempotency = new LiveIdempotencyRules();
  readonly #queue = new LiveQueueRules();
  readonly #stream = new LiveStreamRules();
  readonly #limits: LiveLimits;

  constructor(values: ConfigValues) {
    this.#limits = new LiveLimits(values);
    this.rules = {
      kv: this.#kv,
      queue: this.#queue,
      stream: this.#stream,
      idempotency: this.#idempotency,
    };
    this.limits = this.#limits;
    this.apply(values);
  }

  apply(values: ConfigValues): void {
    this.#kv.apply(values);
    this.#idempotency.apply(values);
    this.#queue.apply(values);
    this.#stream.apply(values);
    this.#limits.apply(values);
  }
}

export interface Change {
  readonly path: string;
  readonly from: unknown;
  readonly to: unknown;
  /** False when only a restart applies it. */
  readonly live: boolean;
}

/** The node is one of a set. */
export function isReplicated(values: ConfigValues): boolean {
  return values["replication.enabled"] && values["replication.role"] !== "standalone";
}

/** Between standing alone and being one of a set lies a start. */
function staysWhereItIs(path: string, before: ConfigValues, after: ConfigValues): boolean {
  return !path.startsWith("replication.") || (isReplicated(before) && isReplicated(after));
}

export function changesBetween(before: ConfigValues, after: ConfigValues): Change[] {
  return settingPaths.filter(isSettingPath).flatMap((path): Change[] => {
    const [from, to] = [before[path], after[path]];
    if (JSON.stringify(from) === JSON.stringify(to)) return [];
    const setting: Setting = settings[path];
    return [{ path, from, to, live: setting.live === true && staysWhereItIs(path, before, after) }];
  });
}
