/**
 * The queues' fingerprint: SHA-256 over them in order of their names (UTF-16 code units). Two states are equal at an offset exactly
 * when their digests are; how they came there (slots, queue numbers, heaps) leaves no trace.
 *
 *   for each queue: JSON of name, configuration, last change, totals, remembered keys in order, number of messages; then its
 *   messages in order of publish, each as JSON of what is known of it, a line feed, the payload's length and the payload
 */
import { createHash, type Hash } from "node:crypto";
import { type GiveWay, goOn } from "../give-way.js";
import type { Queue } from "./queue.js";
import type { QueueState } from "./state.js";

/** `at`: a key whose window has passed by then is no part of it, forgotten or not. */
export function digestOf(state: QueueState, at: number, giveWay: GiveWay = goOn): string {
  const hash = createHash("sha256");
  const queues = [...state.queues()].sort((a, b) => (a.name < b.name ? -1 : 1));
  for (const queue of queues) addQueue(hash, queue, state, at, giveWay);
  return hash.digest("hex");
}

/** One queue's part, as a fingerprint of its own. */
export function fingerprintOf(queue: Queue, state: QueueState, at: number): string {
  const hash = createHash("sha256");
  addQueue(hash, queue, state, at, goOn);
  return hash.digest("hex");
}

function addQueue(hash: Hash, queue: Queue, { table }: QueueState, at: number, giveWay: GiveWay): void {
  // Numbers only: what is known of all messages at once would be as much again as the state.
  const slots = Uint32Array.from(queue.slots).sort((a, b) => {
    giveWay();
    return table.isOlder(a, b) ? -1 : 1;
  });
  const { config, name, lastOffset, totals } = queue;
  const keys = [...queue.keys.remembered(at)];
  hash.update(`${JSON.stringify([name, config, lastOffset, totals, keys, slots.length])}\n`);
  for (const slot of slots) {
    hash.update(`${JSON.stringify([queue.headOf(slot), table.headersOf(slot)])}\n`);
    const payload = table.payloadOf(slot);
    hash.update(`${payload.length}\n`).update(payload);
    giveWay();
  }
}
