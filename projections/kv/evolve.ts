/**
 * How the key-value state follows from its records. Cannot fail and cannot refuse: an event is a fact. The same function
 * serves live, restart and, later, replicas.
 */

import { offset as asOffset, unreachable } from "../../log/index.js";
import type { ProjectedRecord } from "../projector.js";
import type { KeyStored, KvChange } from "./codec.js";
import type { KvState } from "./state.js";

type KvRecord = ProjectedRecord<KvChange>;

export function evolve(state: KvState, record: KvRecord): KvState {
  for (const change of record.changes) apply(state, change, record);
  if (record.changes.length > 0) state.lastOffset = record.offset;
  return state;
}

function apply(state: KvState, change: KvChange, record: KvRecord): void {
  switch (change.type) {
    case "kv.set":
      stored(state, change, record);
      break;
    case "kv.deleted":
      state.operations.dels++;
      removed(state, change.key, record);
      break;
    case "kv.evicted":
      state.evictedTotal++;
      removed(state, change.key, record);
      break;
    case "kv.expiry_changed": {
      const slot = state.table.find(change.key);
      if (slot >= 0) state.table.setExpiry(slot, change.expiresAt, record.offset);
      break;
    }
    case "kv.flushed":
      state.rememberAll(record.offset);
      state.table.clear();
      state.lastRemoval = record.offset;
      break;
    default:
      unreachable(change);
  }
}

function stored(state: KvState, change: KeyStored, { offset, timestamp }: KvRecord): void {
  const { table, access } = state;
  const { source, keyStart, keyEnd } = change;
  state.operations.sets++;
  const hash = table.hashOf(source, keyStart, keyEnd);
  const slot = table.findBytes(source, keyStart, keyEnd, hash);
  if (slot < 0) {
    const added = table.add(change, hash, offset);
    table.setWhole(added, state.beginsWhole(added, change.previous));
    access.begin(added, timestamp);
    return;
  }
  if (table.isExpired(slot, timestamp)) state.expiredTotal++;
  if (change.previous === 0) {
    // Whoever wrote it did not know of the events before it: there the key had expired and was gone.
    table.setWhole(slot, false);
    state.lastRemoval = asOffset(Math.max(state.lastRemoval, table.revisionAt(slot)));
  }
  table.replace(slot, change, offset);
  access.touch(slot, timestamp);
}

function removed(state: KvState, key: string, { offset }: KvRecord): void {
  const slot = state.table.find(key);
  if (slot >= 0) {
    state.removed.remember(key, offset, state.table.isWholeAt(slot));
    state.table.remove(slot);
  }
  state.lastRemoval = offset;
}
