/**
 * The keys in a snapshot. Written and read by hand, as `kv.set` is: a start from a snapshot is made of it.
 *
 *   first row          [last offset, last removal, 1 if every removed key is remembered, else 0]
 *   each key           [key bin (UTF-8), value bin, type uint | str, expires uint | nil, revision uint, 1 if its chain is whole, else 0]
 *   each removed key   [key bin (UTF-8), last event uint, 1 if its chain is whole, else 0]    the one removed longest ago first
 *
 * Keys in the order of the slots, expired ones too: whether one is still held shows in what is charged for memory. How often and
 * how lately a key was used is local and stays behind. What is remembered of removed keys is no part of what the state is, but
 * without it the history of a key that comes back would begin anew after each start.
 *
 * Format 1 has no removed keys, and neither of the marks: its first row has two fields, its keys have five. Read from it, a chain is
 * known to be whole only where no key had ever been removed.
 */
import { offset } from "../../log/index.js";
import { utf8 } from "../bytes.js";
import { malformed } from "../errors.js";
import type { SectionReader } from "../section.js";
import type { BodyReader, BodyWriter } from "../wire.js";
import { type KeyStored, WELL_KNOWN_TYPES } from "./codec.js";
import type { KvState } from "./state.js";

const FIRST_FIELDS = 3;
const KEY_FIELDS = 6;
const REMOVED_FIELDS = 3;
/** Of format 1. */
const FIRST_FIELDS_1 = 2;
const KEY_FIELDS_1 = 5;

export function* kvRows(state: KvState, writer: BodyWriter): Generator<void> {
  const { table, removed, lastOffset, lastRemoval } = state;
  writer.array(FIRST_FIELDS);
  writer.uint(lastOffset);
  writer.uint(lastRemoval);
  writer.uint(removed.isWhole ? 1 : 0);
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
    writer.uint(table.isWholeAt(slot) ? 1 : 0);
    yield;
  }
  for (const { key, offset: last, isWhole } of removed.ends()) {
    writer.array(REMOVED_FIELDS);
    writer.bin(key, Buffer.byteLength(key));
    writer.uint(last);
    writer.uint(isWhole ? 1 : 0);
    yield;
  }
}

export function kvSection(state: KvState): SectionReader {
  let isFirst = true;
  return {
    row(reader, formatVersion) {
      if (isFirst) {
        isFirst = false;
        readFirst(state, reader, formatVersion);
        return;
      }
      const fields = reader.array();
      if (formatVersion === 1) {
        if (fields !== KEY_FIELDS_1) throw malformed("expected a key", reader.at);
        state.table.setWhole(readKey(state, reader), state.removed.isWhole);
      } else if (fields === KEY_FIELDS) state.table.setWhole(readKey(state, reader), readMark(reader));
      else if (fields === REMOVED_FIELDS) readRemoved(state, reader);
      else throw malformed("expected a key", reader.at);
    },
    end() {
      if (isFirst) throw malformed("expected rows of keys", 0);
    },
  };
}

function readFirst(state: KvState, reader: BodyReader, formatVersion: number): void {
  const fields = formatVersion === 1 ? FIRST_FIELDS_1 : FIRST_FIELDS;
  if (reader.array() !== fields) throw malformed("expected what is true of all keys", 0);
  state.lastOffset = offset(reader.uint());
  state.lastRemoval = offset(reader.uint());
  // Format 1 does not tell which keys were removed before; when none was, nothing is missing.
  const isWhole = formatVersion === 1 ? state.lastRemoval === 0 : readMark(reader);
  if (!isWhole) state.removed.forgetTo(state.lastRemoval);
}

function readMark(reader: BodyReader): boolean {
  const mark = reader.uint();
  if (mark > 1) throw malformed("expected 0 or 1", reader.at);
  return mark === 1;
}

/** Past this process's own bound it is forgotten again, the one removed longest ago first. */
function readRemoved({ table, removed }: KvState, reader: BodyReader): void {
  const start = reader.passBin();
  const key = utf8(reader.bytes, start, reader.at);
  const last = offset(reader.uint());
  const isWhole = readMark(reader);
  if (last === 0 || key === "" || table.find(key) >= 0) throw malformed("expected a removed key", start);
  removed.remember(key, last, isWhole);
}

/** The fields that every format has; returns the key's slot. */
function readKey({ table }: KvState, reader: BodyReader): number {
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
    previous: 0,
  };
  return table.add(stored, hash, revision);
}
