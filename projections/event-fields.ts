/**
 * Event bodies through the MessagePack package: an array of fields, the last one the cause. What a body says is checked
 * field by field, for a checksum only proves that it is what somebody wrote.
 */
import { isUtf8 } from "node:buffer";
import { Decoder, Encoder } from "@msgpack/msgpack";
import { type Offset, offset } from "../log/index.js";
import type { Cause } from "./decision.js";
import { malformed, ProjectionError } from "./errors.js";

const encoder = new Encoder();
// Strings come as bytes: the package's own text decoder drops a byte order mark and lets broken UTF-8 pass.
const decoder = new Decoder({ rawStrings: true, maxMapLength: 0, maxExtLength: 0 });

/** Borrowed: valid until the next call. */
export function encodeFields(fields: readonly unknown[]): Uint8Array {
  return encoder.encodeSharedRef(fields);
}

function decodeFields(body: Uint8Array): readonly unknown[] {
  let decoded: unknown;
  try {
    decoded = decoder.decode(body);
  } catch (error) {
    throw new ProjectionError("PROJECTION_EVENT_MALFORMED", "event body is not MessagePack", {}, error);
  }
  if (!Array.isArray(decoded)) throw malformed("expected an array", 0);
  return decoded;
}

export const causeStrings = (cause: Cause | undefined): string[] | null =>
  cause === undefined
    ? null
    : cause.requestId === undefined
      ? [cause.command]
      : [cause.command, cause.requestId];

/** The fields of a decoded body in order, each checked for what it must be. */
export class EventFields {
  readonly #values: readonly unknown[];
  #next = 0;

  constructor(body: Uint8Array | readonly unknown[]) {
    this.#values = body instanceof Uint8Array ? decodeFields(body) : body;
  }

  text(): string {
    return textOfField(this.#take(), this.#next);
  }

  textOrUint(): string | number {
    if (typeof this.#values[this.#next] === "number") return this.uint();
    return this.text();
  }

  uint(): number {
    if (this.#values[this.#next] === null)
      throw malformed("expected an unsigned integer in field", this.#next);
    return this.uintOrNil();
  }

  boolean(): boolean {
    const value = this.#take();
    if (typeof value !== "boolean") throw malformed("expected a boolean in field", this.#next);
    return value;
  }

  /** An array, whose elements are read by the fields that are given. */
  list<Element>(read: (fields: EventFields) => Element): Element[] {
    const value = this.#take();
    if (!Array.isArray(value)) throw malformed("expected an array in field", this.#next);
    const fields = new EventFields(value);
    const elements: Element[] = [];
    while (fields.#next < fields.#values.length) elements.push(read(fields));
    return elements;
  }

  bytes(): Uint8Array {
    const value = this.#take();
    if (!(value instanceof Uint8Array)) throw malformed("expected a binary in field", this.#next);
    return new Uint8Array(value);
  }

  uintOrNil(): number {
    const value = this.#take();
    if (value === null) return 0;
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
      throw malformed("expected an unsigned integer in field", this.#next);
    }
    return value;
  }

  offset(): Offset {
    if (this.#values[this.#next] === null) throw malformed("expected an offset in field", this.#next);
    return offset(this.uintOrNil());
  }

  cause(): Cause | undefined {
    const value = this.#take();
    if (value === null) return undefined;
    if (!Array.isArray(value) || value.length < 1 || value.length > 2) {
      throw malformed("expected a cause in field", this.#next);
    }
    const command = textOfField(value[0], this.#next);
    return value.length === 1 ? { command } : { command, requestId: textOfField(value[1], this.#next) };
  }

  end(): void {
    if (this.#next !== this.#values.length) throw malformed("fields left over after field", this.#next);
  }

  #take(): unknown {
    if (this.#next >= this.#values.length) throw malformed("missing field", this.#next);
    return this.#values[this.#next++];
  }
}

function textOfField(value: unknown, field: number): string {
  if (!(value instanceof Uint8Array) || !isUtf8(value)) throw malformed("expected a string in field", field);
  return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("utf8");
}
