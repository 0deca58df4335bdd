/**
 * The keys in a snapshot. Written and read by hand, as `kv.set` is: a start from a snapshot is made of it.
 *
 *   first row   [last offset, last removal]
 *   each key    [key bin (UTF-8), value bin, type uint | str, expires uint | nil, revision uint]
 *
 * In the order of the slots, expired keys too: whether one is still held shows in what is charged for memory. How often and how
 * lately a key was used is local and stays behind.
 */
import { offset } from "../../log/index.js";
import { malformed } from "../errors.js";
import { ROWS_BYTES, type SectionReader } from "../section.js";
import type { BodyReader, BodyWriter } from "../wire.js";
import { type KeyStored, WELL_KNOWN_TYPES } from "./codec.js";
import type { KvState } from "./state.js";

const KEY_FIELDS = 5;

export function* kvRows(state: KvState, writer: BodyWriter): Generator<void> {
  const { table, lastOffset, lastRemoval } = state;
  writer.array(2);
  writer.uint(lastOffset);
  writer.uint(lastRemoval);
  for (let slot = 0; slot < table.slotEnd; slot++) {
    if (!table.holds(slot)) continue;
    const memory = table.memoryAt(slot);
    const keyStart = table.positionAt(slot);
    const keyEnd = keyStart + table.keyBytesAt(slot);
    writer.array(KEY_FIELDS);
    writer.binFrom(memory, keyStart, keyEnd);
    writer.binFrom(memory, keyEnd, keyEnd + table.valueBytesAt(slot));
    const contentType = table.contentTypeAt(slot);
    const known = WELL_KNOWN_TYPES.indexOf(contentType);
    if (known < 0) writer.str(contentType, Buffer.byteLength(contentType));
    else writer.uint(known);
    const expiresAt = table.expiresAt(slot);
    if (expiresAt === 0) writer.nil();
    else writer.uint(expiresAt);
    writer.uint(table.revisionAt(slot));
    if (writer.length >= ROWS_BYTES) yield;
  }
}

export function kvSection(state: KvState): SectionReader {
  let isFirst = true;
  return {
    row(reader) {
      if (!isFirst) return readKey(state, reader);
      isFirst = false;
      if (reader.array() !== 2) throw malformed("expected [last offset, last removal]", 0);
      state.lastOffset = offset(reader.uint());
      state.lastRemoval = offset(reader.uint());
    },
    end() {
      if (isFirst) throw malformed("expected rows of keys", 0);
    },
  };
}

function readKey({ table }: KvState, reader: BodyReader): void {
  if (reader.array() !== KEY_FIELDS) throw malformed("expected a key", reader.at);
  const keyStart = reader.passBin();
  const keyEnd = reader.at;
  const valueStart = reader.passBin();
  const valueEnd = reader.at;
  const contentType = reader.isStr() ? reader.str() : WELL_KNOWN_TYPES[reader.uint()];
  if (contentType === undefined || keyStart === keyEnd) throw malformed("expected a key", keyStart);
  const expiresAt = reader.uintOrNil(0);
  const revision = offset(reader.uint());
  const source = reader.bytes;
  const hash = table.hashOf(source, keyStart, keyEnd);
  if (table.findBytes(source, keyStart, keyEnd, hash) >= 0) throw malformed("a key comes twice", keyStart);
  const stored: KeyStored = {
    type: "kv.set",
    source,
    keyStart,
    keyEnd,
    valueStart,
    valueEnd,
    contentType,
    expiresAt,
  };
  table.add(stored, hash, revision);
}
