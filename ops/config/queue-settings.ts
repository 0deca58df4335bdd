/**
 * The settings of queues. The first five are what a queue gets that is created without saying otherwise; a queue keeps
 * what it was created with, so changing them changes no queue that is there.
 */
import type { Setting } from "./setting.js";

const DAY_SECS = 86_400;
const MIB = 1_048_576;

export const queueSettings = {
  "queue.enabled": {
    kind: "switch",
    default: true,
    why: "Whether the operations on queues are served. Off, they are refused (400); what the queues hold stays in the log.",
  },
  "queue.max_depth": {
    kind: "number",
    default: 100_000,
    min: 1,
    max: 100_000_000,
    live: true,
    why: "Default for new queues: messages that may wait, be delayed or be in flight, together. One more is refused (507).",
  },
  "queue.ack_deadline_secs": {
    kind: "number",
    default: 30,
    min: 1,
    max: 7 * DAY_SECS,
    unit: "s",
    live: true,
    why: "Default for new queues: time for a consumer to acknowledge; past it the message is delivered again.",
  },
  "queue.default_max_retries": {
    kind: "number",
    default: 3,
    min: 0,
    max: 1_000_000,
    live: true,
    why: "Default for new queues: deliveries after the first one, before a message goes to the dead letter queue.",
  },
  "queue.default_priority": {
    kind: "number",
    default: 5,
    min: 0,
    max: 9,
    live: true,
    why: "Default for new queues: priority of a message that has none; 9 is delivered first.",
  },
  "queue.prefetch_limit": {
    kind: "number",
    default: 0,
    min: 0,
    max: 1_000_000,
    live: true,
    why: "Default for new queues: messages that one consumer may hold without having acknowledged them; 0 = any number.",
  },
  "queue.payload_bytes_max": {
    kind: "number",
    default: MIB,
    min: 1,
    max: 48 * MIB,
    unit: "bytes",
    live: true,
    why: "Largest payload of a message. It must fit into a record with room for its headers: 64 KiB below `log.record_bytes_max`.",
  },
  "queue.max_memory_mb": {
    kind: "number",
    default: 4096,
    min: 1,
    max: 1_048_576,
    unit: "MiB",
    live: true,
    why: "Memory that the messages of all queues may take together; past it publishing is refused (507).",
  },
  "queue.queues_max": {
    kind: "number",
    default: 10_000,
    min: 1,
    max: 1_000_000,
    live: true,
    why: "Queues that there may be.",
  },
  "queue.dead_letters_max": {
    kind: "number",
    default: 100_000,
    min: 1,
    max: 100_000_000,
    live: true,
    why: "Dead letters that a queue may hold; one that has so many takes no more messages until someone looks at them.",
  },
  "queue.wait_secs_max": {
    kind: "number",
    default: 60,
    min: 1,
    max: 3600,
    unit: "s",
    live: true,
    why: "Longest time that a consumer may wait for a message. Below the timeout of every proxy in between, else waiting ends in their error.",
  },
} satisfies Record<string, Setting>;
