/**
 * What the streams hold together, kept as they change, so that whoever measures walks over none: for all streams whose names have the
 * same first part (up to the first `/`; each door gives its own). Not in the digest, never used to decide anything.
 */
import type { FamilySums } from "./contract.js";
import type { Stream } from "./stream.js";

class StreamFamily {
  /** The oldest first. */
  readonly streams = new Set<Stream>();
  messages = 0;
  bytes = 0;
  indexBytes = 0;
  subscribers = 0;

  get sums(): FamilySums {
    const { messages, bytes, indexBytes, subscribers } = this;
    return { streams: this.streams.size, messages, bytes, indexBytes, subscribers };
  }

  /** Takes a stream's share in (1) or out (-1). */
  weigh(stream: Stream, sign: 1 | -1): void {
    this.messages += sign * stream.kept;
    this.bytes += sign * stream.index.bytes;
    this.indexBytes += sign * stream.index.residentBytes;
  }
}

export class StreamFamilies {
  readonly #families = new Map<string, StreamFamily>();

  /** `prefix` with its `/`. */
  get(prefix: string): StreamFamily | undefined {
    return this.#families.get(prefix);
  }

  all(): Iterable<StreamFamily> {
    return this.#families.values();
  }

  of(stream: Stream): StreamFamily {
    const prefix = stream.name.slice(0, stream.name.indexOf("/") + 1);
    const known = this.#families.get(prefix);
    if (known !== undefined) return known;
    const family = new StreamFamily();
    this.#families.set(prefix, family);
    return family;
  }

  /** What changes a stream is put between the two; one of them alone where it comes or goes. */
  beforeChange(stream: Stream): void {
    this.of(stream).weigh(stream, -1);
  }

  afterChange(stream: Stream): void {
    this.of(stream).weigh(stream, 1);
  }
}
