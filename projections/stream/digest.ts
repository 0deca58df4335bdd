/**
 * The fingerprint of the streams: SHA-256 over every stream in order of its name's UTF-16 code units: its facts, its
 * producers in order of their ids, and every entry of its index that is kept. Two replays of one log are equal exactly when their
 * digests are. What time alone does (an expiry, an age) is no part of it until an event says so.
 */
import { createHash, type Hash } from "node:crypto";
import { type GiveWay, goOn } from "../give-way.js";
import type { StreamState } from "./state.js";
import type { Stream } from "./stream.js";

export function streamDigest(state: StreamState, giveWay: GiveWay): string {
  const hash = createHash("sha256");
  add(hash, [state.generations, state.lastOffset]);
  const names = [...state.streams.keys()].sort((a, b) => (a < b ? -1 : 1));
  for (const name of names) {
    const stream = state.streams.get(name);
    if (stream !== undefined) addStream(hash, stream, giveWay);
  }
  return hash.digest("hex");
}

/** One stream's part, as a fingerprint of its own. */
export function fingerprintOf(stream: Stream): string {
  const hash = createHash("sha256");
  addStream(hash, stream, goOn);
  return hash.digest("hex");
}

function addStream(hash: Hash, stream: Stream, giveWay: GiveWay): void {
  const { createdAt, contentType, lifetime, retention, fork, fingerprint, index } = stream;
  add(hash, [stream.name, stream.id, stream.generation, createdAt, contentType, fingerprint]);
  add(hash, [lifetime.ttlMs, lifetime.expiresAt, retention.count, retention.bytes, retention.ageMs]);
  add(hash, [fork?.source, fork?.sourceId, fork?.at, stream.gone, stream.forks]);
  add(hash, [stream.trimmed, stream.dropped, stream.tail, stream.touchedAt, stream.lastOffset]);
  add(hash, [stream.closed, stream.closedAt, closer(stream), stream.writerSeq, index.end, index.bytes]);
  const producers = [...(stream.producers ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
  for (const [id, { epoch, seq, seen }] of producers) add(hash, [id, epoch, seq, seen]);
  for (const { first, count, bytes, offset, place, time } of index.from(0)) {
    add(hash, [first, count, bytes, offset, place, time]);
    giveWay();
  }
}

function closer({ closedBy }: Stream): readonly unknown[] {
  return closedBy === undefined ? [] : [closedBy.id, closedBy.epoch, closedBy.seq];
}

/** JSON is unambiguous: where one field ends and the next begins is part of it. */
function add(hash: Hash, fields: readonly unknown[]): void {
  hash.update(JSON.stringify(fields)).update("\n");
}
