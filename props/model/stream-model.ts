/**
 * Streams as simply as they can be said: arrays of messages. Every append is remembered for ever; what is trimmed is a number.
 * Nothing here is fast, and nothing is shared with the projection.
 */

export interface ModelMessage {
  readonly text: string;
  readonly tag: string | undefined;
  readonly time: number;
  /** Which append it came with, counted over the whole model, and the bytes of that append. */
  readonly append: number;
  readonly appendBytes: number;
}

export interface ModelWriter {
  readonly id: string;
  readonly epoch: number;
  readonly seq: number;
}

export interface ModelRetention {
  readonly count?: number;
  readonly bytes?: number;
  readonly ageMs?: number;
}

export interface ModelAppend {
  readonly name: string;
  readonly texts: readonly string[];
  readonly tag?: string;
  readonly close?: boolean;
  readonly producer?: ModelWriter;
  readonly writerSeq?: string;
  readonly expectedOffset?: number;
}

export interface ModelCreate {
  readonly name: string;
  readonly texts: readonly string[];
  readonly retention: ModelRetention;
  readonly ttlMs?: number;
  readonly expiresInMs?: number;
  readonly fork?: { readonly source: string; readonly at: number };
}

export class ModelStream {
  /** Shared ones first. */
  readonly messages: ModelMessage[] = [];
  shared = 0;
  source: ModelStream | undefined;
  readonly forks = new Set<ModelStream>();
  gone = false;
  trimmed = 0;
  closedBy: ModelWriter | "nobody" | undefined;
  writerSeq = "";
  readonly producers = new Map<string, { epoch: number; seq: number }>();

  constructor(
    readonly name: string,
    readonly generation: number,
    readonly retention: ModelRetention,
    readonly ttlMs: number | undefined,
    readonly expiresAt: number | undefined,
    public touchedAt: number,
  ) {}

  get end(): number {
    return this.messages.length;
  }

  isOver(now: number): boolean {
    if (this.ttlMs !== undefined) return now >= this.touchedAt + this.ttlMs + Math.ceil(this.ttlMs / 20);
    return this.expiresAt !== undefined && now >= this.expiresAt;
  }

  earliest(now: number): number {
    const { ageMs } = this.retention;
    let earliest = this.trimmed;
    if (this.source !== undefined)
      earliest = Math.max(earliest, Math.min(this.source.earliest(now), this.shared));
    if (ageMs !== undefined) {
      const young = this.messages.findIndex(({ time }) => time >= now - ageMs);
      earliest = Math.max(earliest, young < 0 ? this.end : young);
    }
    return earliest;
  }

  /** Whole appends of its own that have a message that is kept, oldest first: the end of each. */
  private ownAppends(): { end: number; bytes: number; time: number }[] {
    const appends = new Map<number, { end: number; bytes: number; time: number }>();
    this.messages.forEach(({ append, appendBytes, time }, index) => {
      if (index >= this.shared) appends.set(append, { end: index + 1, bytes: appendBytes, time });
    });
    return [...appends.values()].filter(({ end }) => end > this.trimmed);
  }

  keep(now: number): void {
    const { count, bytes, ageMs } = this.retention;
    for (;;) {
      const appends = this.ownAppends();
      const [oldest] = appends;
      if (oldest === undefined || appends.length === 1) break;
      const isOld = ageMs !== undefined && oldest.time < now - ageMs;
      const isMuch = bytes !== undefined && appends.reduce((sum, each) => sum + each.bytes, 0) > bytes;
      if (!isOld && !isMuch) break;
      this.trimmed = Math.max(this.trimmed, oldest.end);
    }
    if (count !== undefined) this.trimmed = Math.max(this.trimmed, this.end - count);
  }
}

export class StreamModel {
  now: number;
  readonly streams = new Map<string, ModelStream>();
  private generations = 0;
  private appends = 0;

  constructor(now: number) {
    this.now = now;
  }

  standing(name: string): "live" | "gone" | "over" | "absent" {
    const stream = this.streams.get(name);
    if (stream === undefined) return "absent";
    if (stream.gone) return "gone";
    if (!stream.isOver(this.now)) return "live";
    return stream.forks.size > 0 ? "gone" : "over";
  }

  /** The stream, or the code with which every command and query on it is refused. */
  live(name: string): ModelStream | string {
    const standing = this.standing(name);
    const stream = this.streams.get(name);
    if (standing === "live" && stream !== undefined) return stream;
    return standing === "gone" ? "STREAM_GONE" : "STREAM_NOT_FOUND";
  }

  create(command: ModelCreate): ModelStream | string {
    const { name, texts, retention, fork } = command;
    const standing = this.standing(name);
    if (standing === "live") return "STREAM_EXISTS";
    if (standing === "gone") return "STREAM_GONE";
    const source = fork === undefined ? undefined : this.live(fork.source);
    if (typeof source === "string" || (fork !== undefined && fork.source === name))
      return "STREAM_FORK_INVALID";
    if (fork !== undefined && source !== undefined && fork.at > source.end) return "STREAM_FORK_INVALID";
    const before = this.streams.get(name);
    if (before !== undefined) this.remove(before);
    const expiresAt = command.expiresInMs === undefined ? undefined : this.now + command.expiresInMs;
    this.generations += 1;
    const stream = new ModelStream(name, this.generations, retention, command.ttlMs, expiresAt, this.now);
    if (fork !== undefined && source !== undefined) {
      stream.source = source;
      stream.shared = fork.at;
      stream.messages.push(...source.messages.slice(0, fork.at));
      source.forks.add(stream);
    }
    this.streams.set(name, stream);
    this.add(stream, texts, undefined);
    return stream;
  }

  append(
    command: ModelAppend,
  ): string | { readonly type: string; readonly first?: number; readonly end: number } {
    const stream = this.live(command.name);
    if (typeof stream === "string") return stream;
    const { producer, writerSeq, expectedOffset, texts } = command;
    const { end } = stream;
    if (stream.closedBy !== undefined) {
      const by = stream.closedBy;
      if (by !== "nobody" && producer !== undefined && JSON.stringify(by) === JSON.stringify(producer)) {
        return { type: "duplicate", end };
      }
      const isBare = command.close === true && texts.length === 0 && producer === undefined;
      return { type: isBare ? "already_closed" : "refused_closed", end };
    }
    const said = producer === undefined ? undefined : this.judge(stream, producer);
    if (said !== undefined) return { type: said, end };
    if (writerSeq !== undefined && writerSeq <= stream.writerSeq) return "STREAM_WRITER_SEQ";
    if (expectedOffset !== undefined && expectedOffset !== end) return "STREAM_OFFSET_MISMATCH";
    if (texts.length === 0 && command.close !== true) return "STREAM_MESSAGE_INVALID";
    if (producer !== undefined)
      stream.producers.set(producer.id, { epoch: producer.epoch, seq: producer.seq });
    if (writerSeq !== undefined) stream.writerSeq = writerSeq;
    stream.touchedAt = this.now;
    this.add(stream, texts, command.tag);
    if (command.close === true) stream.closedBy = producer ?? "nobody";
    if (texts.length === 0) return { type: "closed", end };
    return { type: "appended", first: end, end: stream.end };
  }

  private judge(stream: ModelStream, { id, epoch, seq }: ModelWriter): string | undefined {
    const last = stream.producers.get(id);
    if (last === undefined) return seq === 0 ? undefined : "gap";
    if (epoch < last.epoch) return "stale_epoch";
    if (epoch > last.epoch) return seq === 0 ? undefined : "epoch_start";
    if (seq <= last.seq) return "duplicate";
    return seq === last.seq + 1 ? undefined : "gap";
  }

  private add(stream: ModelStream, texts: readonly string[], tag: string | undefined): void {
    if (texts.length === 0) return;
    this.appends += 1;
    const appendBytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text), 0);
    for (const text of texts) {
      stream.messages.push({ text, tag, time: this.now, append: this.appends, appendBytes });
    }
    stream.keep(this.now);
  }

  delete(name: string): string | undefined {
    const stream = this.live(name);
    if (typeof stream === "string") return stream;
    this.remove(stream);
    return undefined;
  }

  remove(stream: ModelStream): void {
    if (stream.forks.size > 0) {
      stream.gone = true;
      return;
    }
    this.streams.delete(stream.name);
    stream.source?.forks.delete(stream);
    if (stream.source?.gone === true && stream.source.forks.size === 0) this.remove(stream.source);
  }

  trim(name: string, before: number): string | number {
    const stream = this.live(name);
    if (typeof stream === "string") return stream;
    if (before > stream.end) return "STREAM_OFFSET_BEYOND_END";
    const earliest = stream.earliest(this.now);
    if (before <= earliest) return earliest;
    stream.trimmed = before;
    return before;
  }

  touch(name: string): string | boolean {
    const stream = this.live(name);
    if (typeof stream === "string") return stream;
    if (stream.ttlMs === undefined) return false;
    if (this.now - stream.touchedAt < Math.ceil(stream.ttlMs / 20)) return false;
    stream.touchedAt = this.now;
    return true;
  }

  /** Everything whose time is over goes. */
  sweep(): void {
    for (const stream of [...this.streams.values()]) {
      if (!stream.gone && stream.isOver(this.now)) this.remove(stream);
    }
  }
}
