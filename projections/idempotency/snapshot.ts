/**
 * The kept answers in a snapshot, oldest first: the order in which they are forgotten.
 *
 *   each row   [key str, fingerprint bin (32), expires uint, status uint, revision uint | nil, body str, offset uint]
 */
import { type Offset, offset } from "../../log/index.js";
import { malformed } from "../errors.js";
import type { SectionReader } from "../section.js";
import type { BodyWriter } from "../wire.js";
import type { IdempotencyState } from "./state.js";

const FIELDS = 7;

export function* idempotencyRows(state: IdempotencyState, writer: BodyWriter): Generator<void> {
  for (const [key, kept] of state.answers()) {
    writer.array(FIELDS);
    writer.str(key, Buffer.byteLength(key));
    writer.bin(kept.fingerprint, kept.fingerprint.length);
    writer.uint(kept.expiresAt);
    writer.uint(kept.status);
    if (kept.revision === undefined) writer.nil();
    else writer.uint(kept.revision);
    writer.str(kept.body, Buffer.byteLength(kept.body));
    writer.uint(kept.offset);
    yield;
  }
}

export function idempotencySection(state: IdempotencyState): SectionReader {
  return {
    row(reader) {
      if (reader.array() !== FIELDS) throw malformed("expected a kept answer", reader.at);
      const key = reader.str();
      const from = reader.passBin();
      const fingerprint = new Uint8Array(reader.bytes.subarray(from, reader.at));
      const expiresAt = reader.uint();
      const status = reader.uint();
      const revision: Offset | undefined = reader.passNil() ? undefined : offset(reader.uint());
      const body = reader.str();
      state.restore(key, { fingerprint, expiresAt, status, revision, body, offset: offset(reader.uint()) });
    },
    end: () => undefined,
  };
}
