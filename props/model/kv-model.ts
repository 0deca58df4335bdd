/**
 * The simplest possible key-value store: a Map, a clock and a counter of records. Written from what the operations promise,
 * without a look at how the projection does it; slow and obvious on purpose.
 */
import {
  BYTES_TYPE,
  type Expiry,
  JSON_TYPE,
  type RejectionCode,
  type SetCommand,
  TEXT_TYPE,
  type ValueInput,
} from "../../projections/index.js";

export interface ModelEntry {
  /** One character per byte. */
  readonly bytes: string;
  readonly contentType: string;
  readonly revision: number;
  readonly expiresAt: number;
}

interface KeyQuestion {
  readonly op: "get" | "exists" | "ttl" | "length" | "type";
  readonly key: string;
}
interface RangeQuestion {
  readonly op: "getRange";
  readonly key: string;
  readonly start: number;
  readonly end: number;
}

export type Operation =
  | { readonly op: "set"; readonly command: SetCommand }
  | { readonly op: "getSet"; readonly key: string; readonly value: ValueInput; readonly contentType: string }
  | {
      readonly op: "setMany" | "setManyIfAbsent";
      readonly pairs: readonly { key: string; value: ValueInput; contentType: string }[];
    }
  | { readonly op: "delete"; readonly key: string; readonly ifRevision: number | undefined }
  | { readonly op: "deleteMany" | "getMany"; readonly keys: readonly string[] }
  | { readonly op: "increment"; readonly key: string; readonly amount: bigint }
  | { readonly op: "expire"; readonly key: string; readonly expiry: Expiry }
  | KeyQuestion
  | { readonly op: "persist"; readonly key: string }
  | { readonly op: "append"; readonly key: string; readonly value: ValueInput }
  | { readonly op: "setRange"; readonly key: string; readonly offset: number; readonly value: ValueInput }
  | RangeQuestion
  | { readonly op: "rename" | "renameIfAbsent"; readonly key: string; readonly destination: string }
  | { readonly op: "copy"; readonly key: string; readonly destination: string; readonly replace: boolean }
  | { readonly op: "flush" }
  | { readonly op: "size" };

export type Expected = { readonly answer: unknown } | { readonly refused: RejectionCode };

const latin1 = (value: ValueInput): string => Buffer.from(value as string).toString("latin1");
const refused = (code: RejectionCode): Expected => ({ refused: code });

export class KvModel {
  readonly entries = new Map<string, ModelEntry>();
  now: number;
  /** Records that the log must have. */
  records = 0;
  /** How often each interesting thing happened. */
  expired = 0;

  constructor(now: number) {
    this.now = now;
  }

  run(operation: Operation): Expected {
    for (const [key, entry] of this.entries) {
      if (entry.expiresAt !== 0 && entry.expiresAt <= this.now) {
        this.entries.delete(key);
        this.expired++;
      }
    }
    return this.#run(operation);
  }

  #run(o: Operation): Expected {
    switch (o.op) {
      case "set":
        return this.#set(o.command);
      case "getSet": {
        const old = this.#stored(o.key);
        this.#write([{ ...o, expiresAt: 0 }]);
        return { answer: old === undefined ? {} : { old } };
      }
      case "setMany":
      case "setManyIfAbsent":
        return this.#setMany(o.op, o.pairs);
      case "delete": {
        const entry = this.entries.get(o.key);
        if (o.ifRevision !== undefined && o.ifRevision !== (entry?.revision ?? 0)) {
          return refused("KV_REVISION_MISMATCH");
        }
        return { answer: { deleted: this.#remove([o.key]) === 1 } };
      }
      case "deleteMany":
        return { answer: { deleted: this.#remove(o.keys) } };
      case "getMany":
        return { answer: o.keys.map((key) => this.entries.get(key)) };
      case "increment":
        return this.#increment(o.key, o.amount);
      case "expire":
      case "persist":
        return this.#expiry(o);
      case "rename":
      case "renameIfAbsent":
        return this.#rename(o);
      case "copy":
        return this.#copy(o);
      case "append":
      case "setRange":
        return this.#edit(o);
      case "flush": {
        const flushed = this.entries.size;
        if (flushed > 0) this.records++;
        this.entries.clear();
        return { answer: { flushed } };
      }
      default:
        return this.#read(o);
    }
  }

  #read(o: KeyQuestion | RangeQuestion | { op: "size" }): Expected {
    if (o.op === "size") return { answer: { size: this.entries.size } };
    const entry = this.entries.get(o.key);
    if (o.op === "getRange") return this.#range(o, entry);
    if (o.op === "get") return { answer: entry };
    if (o.op === "exists") return { answer: { exists: entry !== undefined } };
    if (o.op === "length") return { answer: { length: entry?.bytes.length ?? 0 } };
    if (o.op === "type") return { answer: { type: entry === undefined ? undefined : "string" } };
    if (entry === undefined) return refused("KV_KEY_NOT_FOUND");
    return { answer: { ttlMs: entry.expiresAt === 0 ? null : entry.expiresAt - this.now } };
  }

  #range(o: RangeQuestion, entry: ModelEntry | undefined): Expected {
    if (entry === undefined) return { answer: undefined };
    const bytes = [...entry.bytes]
      .filter((_byte, index, all) => {
        const from = o.start < 0 ? all.length + o.start : o.start;
        const last = o.end < 0 ? all.length + o.end : o.end;
        return index >= from && index <= last;
      })
      .join("");
    const isPartOfJson = bytes !== entry.bytes && entry.contentType === JSON_TYPE;
    return { answer: { bytes, contentType: isPartOfJson ? TEXT_TYPE : entry.contentType } };
  }

  #set(c: SetCommand): Expected {
    if (c.nx && c.xx) return refused("KV_OPTIONS_CONFLICT");
    if (c.keepTtl && c.expiry) return refused("KV_OPTIONS_CONFLICT");
    const expiresAt = c.expiry === undefined ? 0 : this.#deadline(c.expiry);
    if (expiresAt === undefined) return refused("KV_EXPIRY_INVALID");
    const before = this.entries.get(c.key);
    if (c.ifRevision !== undefined && c.ifRevision !== (before?.revision ?? 0)) {
      return refused("KV_REVISION_MISMATCH");
    }
    const old = c.get && before !== undefined ? { old: this.#stored(c.key) } : {};
    if ((c.nx && before) || (c.xx && !before)) {
      return { answer: { written: false, revision: before?.revision ?? 0, created: false, ...old } };
    }
    this.#write([{ ...c, expiresAt: c.keepTtl ? (before?.expiresAt ?? 0) : expiresAt }]);
    return { answer: { written: true, revision: this.records, created: before === undefined, ...old } };
  }

  #setMany(
    op: "setMany" | "setManyIfAbsent",
    pairs: readonly { key: string; value: ValueInput; contentType: string }[],
  ): Expected {
    const distinct = new Set(pairs.map((pair) => pair.key)).size;
    if (op === "setManyIfAbsent") {
      if (pairs.some((pair) => this.entries.has(pair.key))) return { answer: { written: false } };
      this.#write(pairs.map((pair) => ({ ...pair, expiresAt: 0 })));
      return { answer: { written: true } };
    }
    this.#write(pairs.map((pair) => ({ ...pair, expiresAt: 0 })));
    return { answer: { written: distinct } };
  }

  #increment(key: string, amount: bigint): Expected {
    const entry = this.entries.get(key);
    const text = entry?.bytes ?? "0";
    if (
      !/^-?[0-9]+$/.test(text) ||
      BigInt(text).toString() !== text ||
      BigInt.asIntN(64, BigInt(text)) !== BigInt(text)
    ) {
      return refused("KV_NOT_AN_INTEGER");
    }
    const value = BigInt(text) + amount;
    if (BigInt.asIntN(64, value) !== value) return refused("KV_INTEGER_OVERFLOW");
    this.#write([{ key, value: String(value), contentType: TEXT_TYPE, expiresAt: entry?.expiresAt ?? 0 }]);
    return { answer: { value } };
  }

  #expiry(o: Extract<Operation, { op: "expire" }> | { op: string; key: string }): Expected {
    const expiresAt = "expiry" in o ? this.#deadline(o.expiry) : 0;
    if (expiresAt === undefined) return refused("KV_EXPIRY_INVALID");
    const entry = this.entries.get(o.key);
    if (entry === undefined || (expiresAt === 0 && entry.expiresAt === 0))
      return { answer: { result: false } };
    this.records++;
    this.entries.set(o.key, { ...entry, expiresAt, revision: this.records });
    return { answer: { result: true } };
  }

  #rename(o: { op: "rename" | "renameIfAbsent"; key: string; destination: string }): Expected {
    const entry = this.entries.get(o.key);
    if (entry === undefined) return refused("KV_KEY_NOT_FOUND");
    if (o.op === "renameIfAbsent" && this.entries.has(o.destination)) return { answer: { renamed: false } };
    if (o.key === o.destination) return { answer: { renamed: true } };
    this.records++;
    this.entries.delete(o.key);
    this.entries.set(o.destination, { ...entry, revision: this.records });
    return { answer: { renamed: true } };
  }

  #copy(o: { key: string; destination: string; replace: boolean }): Expected {
    const entry = this.entries.get(o.key);
    if (entry === undefined || (!o.replace && this.entries.has(o.destination)))
      return { answer: { copied: false } };
    if (o.key === o.destination) return { answer: { copied: true } };
    this.records++;
    this.entries.set(o.destination, { ...entry, revision: this.records });
    return { answer: { copied: true } };
  }

  #edit(o: Extract<Operation, { op: "append" | "setRange" }>): Expected {
    const entry = this.entries.get(o.key);
    const before = entry?.bytes ?? "";
    const added = latin1(o.value);
    const at = o.op === "append" ? before.length : o.offset;
    if (added === "" && !(o.op === "append" && entry === undefined))
      return { answer: { length: before.length } };
    const bytes = before.slice(0, at).padEnd(at, "\0") + added + before.slice(at + added.length);
    const created = typeof o.value === "string" ? TEXT_TYPE : BYTES_TYPE;
    const kept = entry?.contentType === JSON_TYPE ? TEXT_TYPE : entry?.contentType;
    this.#write([
      {
        key: o.key,
        value: Buffer.from(bytes, "latin1"),
        contentType: kept ?? created,
        expiresAt: entry?.expiresAt ?? 0,
      },
    ]);
    return { answer: { length: bytes.length } };
  }

  #stored(key: string): { bytes: string; contentType: string } | undefined {
    const entry = this.entries.get(key);
    return entry === undefined ? undefined : { bytes: entry.bytes, contentType: entry.contentType };
  }

  #write(sets: { key: string; value: ValueInput; contentType: string; expiresAt: number }[]): void {
    if (sets.length === 0) return;
    this.records++;
    for (const { key, value, contentType, expiresAt } of sets) {
      this.entries.set(key, { bytes: latin1(value), contentType, expiresAt, revision: this.records });
    }
  }

  #remove(keys: readonly string[]): number {
    const present = new Set(keys.filter((key) => this.entries.has(key)));
    if (present.size > 0) this.records++;
    for (const key of present) this.entries.delete(key);
    return present.size;
  }

  #deadline({ type, value }: Expiry): number | undefined {
    if (!Number.isInteger(value) || value <= 0) return undefined;
    const at = {
      seconds: this.now + value * 1000,
      milliseconds: this.now + value,
      unix_seconds: value * 1000,
      unix_milliseconds: value,
    }[type];
    return at > this.now && at <= 8.64e15 ? at : undefined;
  }
}
