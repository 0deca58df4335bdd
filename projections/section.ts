/** What a projection's part of a snapshot is written and read with. */
import type { BodyReader } from "./wire.js";

/**
 * Reads one section's rows, in order, into a state that was empty. Rows of an older format are upgraded here, on reading: the state
 * comes out as that format knew it.
 */
export interface SectionReader {
  /** One row. The reader stands at its beginning. @throws ProjectionError when it is none. */
  row(reader: BodyReader, formatVersion: number): void;
  /** There are no more. */
  end(): void;
}
