/**
 * Fields of a MessagePack map from the other side: each is read with its type and bound, or the message is refused. What is not asked for is
 * passed over, so that a later release may add fields.
 */
import { decode, encode } from "@msgpack/msgpack";
import { ReplicationError } from "./errors.js";
import { CONTROL_BYTES_MAX } from "./frames.js";
import { PEERS_MAX } from "./messages.js";

export const encodeFields = (fields: Readonly<Record<string, unknown>>): Uint8Array =>
  encode(fields, { ignoreUndefined: true });

/** Room for all entries of a list is made when its length is read, in each of lists within lists: no list is longer than that of the nodes. */
const LIMITS = {
  maxStrLength: CONTROL_BYTES_MAX,
  maxBinLength: CONTROL_BYTES_MAX,
  maxArrayLength: PEERS_MAX,
  maxMapLength: 64,
  maxExtLength: 0,
};

export class Fields {
  readonly #of: string;
  readonly #values: Readonly<Record<string, unknown>>;

  private constructor(of: string, values: Readonly<Record<string, unknown>>) {
    this.#of = of;
    this.#values = values;
  }

  /** @throws ReplicationError REPLICATION_MESSAGE_BAD, here and below. */
  static decode(of: string, payload: Uint8Array): Fields {
    let value: unknown;
    try {
      value = decode(payload, LIMITS);
    } catch (error) {
      throw new ReplicationError("REPLICATION_MESSAGE_BAD", `${of} is no MessagePack map`, { of }, error);
    }
    return Fields.#from(of, value);
  }

  static #from(of: string, value: unknown): Fields {
    if (value === null || typeof value !== "object" || Array.isArray(value) || value instanceof Uint8Array)
      throw new ReplicationError("REPLICATION_MESSAGE_BAD", `${of} is no map`, { of });
    return new Fields(of, value as Readonly<Record<string, unknown>>);
  }

  has(name: string): boolean {
    return this.#get(name) !== undefined;
  }

  /** A whole number from `min` to `max`. */
  count(name: string, max = Number.MAX_SAFE_INTEGER, min = 0): number {
    const value = this.#get(name);
    if (typeof value !== "number" || !Number.isSafeInteger(value) || value < min || value > max)
      throw this.#bad(name, `a whole number from ${min} to ${max}`);
    return value;
  }

  flag(name: string): boolean {
    const value = this.#get(name);
    if (typeof value !== "boolean") throw this.#bad(name, "true or false");
    return value;
  }

  /** Text of at most `lengthMax` characters, none of them a control character. */
  text(name: string, lengthMax: number): string {
    const value = this.#get(name);
    if (typeof value !== "string" || value.length > lengthMax || hasControls(value))
      throw this.#bad(name, `text of at most ${lengthMax} characters`);
    return value;
  }

  /** Visible ASCII: addresses. */
  ascii(name: string, lengthMax: number): string {
    const value = this.#get(name);
    if (typeof value !== "string" || value.length > lengthMax || !/^[\x21-\x7e]+$/.test(value))
      throw this.#bad(name, `1 to ${lengthMax} visible characters`);
    return value;
  }

  id(name: string): string {
    const value = this.#get(name);
    if (typeof value !== "string" || !/^[0-9a-f]{32}$/.test(value)) throw this.#bad(name, "32 hex digits");
    return value;
  }

  /** A copy: what a message lies in is the reader's of frames. */
  bytes(name: string, min: number, max: number): Uint8Array {
    const value = this.#get(name);
    if (!(value instanceof Uint8Array) || value.length < min || value.length > max)
      throw this.#bad(name, `${min} to ${max} bytes`);
    return Uint8Array.from(value);
  }

  fields(name: string): Fields {
    return Fields.#from(`${this.#of}.${name}`, this.#get(name));
  }

  list(name: string, countMax: number): readonly Fields[] {
    const value = this.#get(name);
    if (!Array.isArray(value) || value.length > countMax)
      throw this.#bad(name, `a list of at most ${countMax}`);
    return value.map((entry, index) => Fields.#from(`${this.#of}.${name}[${index}]`, entry));
  }

  /** What `read` makes of it, or undefined when the field is not there. */
  optional<Value>(name: string, read: (name: string) => Value): Value | undefined {
    return this.has(name) ? read(name) : undefined;
  }

  #get(name: string): unknown {
    const value = Object.hasOwn(this.#values, name) ? this.#values[name] : undefined;
    return value === null ? undefined : value;
  }

  #bad(name: string, expected: string): ReplicationError {
    const field = `${this.#of}.${name}`;
    return new ReplicationError("REPLICATION_MESSAGE_BAD", `${field} is not ${expected}`, {
      field,
      expected,
      found: describe(this.#get(name)),
    });
  }
}

/** Words of the other side end up in logs and on terminals. */
function hasControls(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || (code >= 0x7f && code < 0xa0)) return true;
  }
  return false;
}

function describe(value: unknown): string {
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (value === undefined) return "nothing";
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  return typeof value;
}
