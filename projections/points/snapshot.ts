/**
 * The restore points in a snapshot, oldest first. A snapshot without any has no chunk of this section, as those have that were
 * written before there were points.
 *
 *   each row   [name str, offset uint, timestamp uint]
 */
import { offset } from "../../log/index.js";
import { malformed } from "../errors.js";
import type { SectionReader } from "../section.js";
import type { BodyWriter } from "../wire.js";
import type { PointState } from "./state.js";

const FIELDS = 3;

export function* pointRows(state: PointState, writer: BodyWriter): Generator<void> {
  for (const { name, offset: at, timestamp } of state.all()) {
    writer.array(FIELDS);
    writer.str(name, Buffer.byteLength(name));
    writer.uint(at);
    writer.uint(timestamp);
    yield;
  }
}

export function pointSection(state: PointState): SectionReader {
  return {
    row(reader) {
      if (reader.array() !== FIELDS) throw malformed("expected a restore point", reader.at);
      const name = reader.str();
      const at = offset(reader.uint());
      state.put({ name, offset: at, timestamp: reader.uint() });
    },
    end: () => undefined,
  };
}
