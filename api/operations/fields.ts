/** The fields that operations share, each with its schema and its meaning, and how they become parts of a command. */
import { Type } from "@sinclair/typebox";
import type { Expiry } from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import { JsonText } from "../json-write.js";

export const closed = { additionalProperties: false } as const;

export const Key = Type.String({ description: "Any Unicode except nothing at all; bounded in bytes." });

export const Value = Type.Unknown({
  description:
    "A string is stored as its text. Any other JSON is stored as the JSON text that was sent, character by character.",
});

/** Longest name of a transaction's owner. */
export const CLIENT_ID_MAX = 128;

export const ClientId = Type.Optional(
  Type.String({
    minLength: 1,
    maxLength: CLIENT_ID_MAX,
    description:
      "With an open transaction of this client the write is queued in it (`queued` in the answer), without one it is done at once; see transaction.multi.",
  }),
);

export const Ttl = Type.Integer({
  description: "Seconds until the key expires.",
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
});

export const ExpirySchema = Type.Object(
  {
    type: Type.Union([
      Type.Literal("seconds"),
      Type.Literal("milliseconds"),
      Type.Literal("unix_seconds"),
      Type.Literal("unix_milliseconds"),
    ]),
    value: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }),
  },
  { ...closed, description: "When the key expires; wins over `ttl`." },
);

export const Revision = Type.Integer({
  description: "Offset of the key's last change; 0 = the key is not there.",
  minimum: 0,
  maximum: Number.MAX_SAFE_INTEGER,
});

export const LogOffset = Type.Integer({
  description: "Offset in the log that this answer tells of. It is committed by the configured rule.",
});

export const Success = Type.Literal(true);

/** A 64-bit integer as a JSON number, all digits exact, or as a string of digits. */
export const Amount = Type.Unsafe<unknown>(
  Type.Union([Type.Integer(), Type.String({ pattern: "^-?[0-9]{1,20}$" })], {
    description:
      "Signed 64-bit integer, as a number (every digit counts) or as a string of digits. Default 1.",
  }),
);

export const Integer64 = Type.Unsafe<unknown>(
  Type.Integer({ description: "Signed 64-bit integer, all digits exact: parse it as such beyond 2^53." }),
);

/** A stored value as JSON: its text, or its bytes if it isn't UTF-8. */
export const TextOrBytes = Type.Union([
  Type.String(),
  Type.Array(Type.Integer({ minimum: 0, maximum: 255 }), { description: "A value that is not UTF-8." }),
]);

export const Pairs = Type.Array(Type.Object({ key: Key, value: Value }, closed), {
  description: "Written as one record: all there or none, also after a crash.",
});

export function expiryOf(input: { ttl?: number; expiry?: Expiry }): Expiry | undefined {
  if (input.expiry !== undefined) return input.expiry;
  return input.ttl === undefined ? undefined : { type: "seconds", value: input.ttl };
}

const INT64_MIN = -(2n ** 63n);
const INT64_MAX = 2n ** 63n - 1n;

/** The amount of an increment: `JsonText` from a body, a string from a query or a body, absent = 1. */
export function amountOf(amount: unknown): bigint | Refusal {
  if (amount === undefined) return 1n;
  const text = amount instanceof JsonText ? amount.text : String(amount);
  const value = integerOf(text);
  if (value === undefined) return refusal("API_FIELD_INVALID", 'field "amount" must be an integer');
  if (value < INT64_MIN || value > INT64_MAX) {
    return refusal("KV_INTEGER_OVERFLOW", "the amount does not fit into 64 bits");
  }
  return value;
}

const DECIMAL = /^(-?)([0-9]+)(?:\.([0-9]+))?(?:e([+-]?[0-9]+))?$/i;
/** What `JSON.parse` takes for a finite number has no more of them before its point, unless it is 0. */
const DIGITS_MAX = 309;

/** A decimal number by its value, every digit exactly: `1.0` and `1.5e1` are integers, `0.99999999999999999999` is none. */
function integerOf(text: string): bigint | undefined {
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = DECIMAL.exec(text) ?? [];
  if (whole === "") return undefined;
  const digits = whole + fraction;
  const places = fraction.length - Number(exponent);
  if (places <= 0) return BigInt(`${sign}${digits}${"0".repeat(Math.min(-places, DIGITS_MAX))}`);
  const kept = digits.slice(0, -places);
  return /^0*$/.test(digits.slice(kept.length)) ? BigInt(`${sign}${kept === "" ? "0" : kept}`) : undefined;
}
