/** The rules of queues as the configuration has them, changed in place by SIGHUP. What no setting names is the projection's own. */
import { DEFAULT_QUEUE_RULES, type QueueConfig, type QueueRules } from "../../projections/index.js";
import type { ConfigValues } from "./settings.js";

const MIB = 1_048_576;

export class LiveQueueRules implements QueueRules {
  readonly nameBytesMax = DEFAULT_QUEUE_RULES.nameBytesMax;
  readonly headersBytesMax = DEFAULT_QUEUE_RULES.headersBytesMax;
  readonly consumeBytesMax = DEFAULT_QUEUE_RULES.consumeBytesMax;
  queuesMax = DEFAULT_QUEUE_RULES.queuesMax;
  payloadBytesMax = DEFAULT_QUEUE_RULES.payloadBytesMax;
  memoryBytesMax = DEFAULT_QUEUE_RULES.memoryBytesMax;
  deadLettersMax = DEFAULT_QUEUE_RULES.deadLettersMax;
  batchMax = DEFAULT_QUEUE_RULES.batchMax;
  defaults: QueueConfig = DEFAULT_QUEUE_RULES.defaults;

  apply(values: ConfigValues): void {
    this.queuesMax = values["queue.queues_max"];
    this.payloadBytesMax = values["queue.payload_bytes_max"];
    this.memoryBytesMax = values["queue.max_memory_mb"] * MIB;
    this.deadLettersMax = values["queue.dead_letters_max"];
    this.batchMax = values["limits.batch_items_max"];
    this.defaults = {
      ...DEFAULT_QUEUE_RULES.defaults,
      maxDepth: values["queue.max_depth"],
      ackDeadlineMs: values["queue.ack_deadline_secs"] * 1000,
      maxRetries: values["queue.default_max_retries"],
      priority: values["queue.default_priority"],
      prefetchLimit: values["queue.prefetch_limit"],
    };
  }
}
