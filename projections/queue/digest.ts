/**
 * The queues' fingerprint: SHA-256 over them in order of their names (UTF-16 code units). Two states are equal at an offset exactly
 * when their digests are; how they came there (slots, queue numbers, heaps) leaves no trace.
 *
 *   for each queue: JSON of name, configuration, last change, totals, remembered keys in order, number of messages; then its
 *   messages in order of publish, each as JSON of what is known of it, a line feed, the payload's length and the payload
 */
import { createHash, type Hash } from "node:crypto";
import { compareRefs } from "./ids.js";
import type { Queue } from "./queue.js";
import type { QueueState } from "./state.js";

/** `at`: a key whose window has passed by then is no part of it, forgotten or not. */
export function digestOf(state: QueueState, at: number): string {
  const hash = createHash("sha256");
  const queues = [...state.queues()].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const queue of queues) addQueue(hash, queue, state, at);
  return hash.digest("hex");
}

/** One queue's part, as a fingerprint of its own. */
export function fingerprintOf(queue: Queue, state: QueueState, at: number): string {
  const hash = createHash("sha256");
  addQueue(hash, queue, state, at);
  return hash.digest("hex");
}

function addQueue(hash: Hash, queue: Queue, state: QueueState, at: number): void {
  const messages = queue.slots.map((slot) => ({ slot, head: queue.headOf(slot) }));
  messages.sort((a, b) => compareRefs(a.head.ref, b.head.ref));
  const { config, name, lastOffset, totals } = queue;
  const keys = [...queue.keys.remembered(at)];
  hash.update(`${JSON.stringify([name, config, lastOffset, totals, keys, messages.length])}\n`);
  for (const { slot, head } of messages) {
    hash.update(`${JSON.stringify([head, state.table.headersOf(slot)])}\n`);
    const payload = state.table.payloadOf(slot);
    hash.update(`${payload.length}\n`).update(payload);
  }
}
