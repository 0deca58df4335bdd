/** The operations on one key's value: set, get, delete, count, cut and splice. */
import { Type } from "@sinclair/typebox";
import { kv, type SetCommand } from "../../projections/index.js";
import { refusal } from "../errors.js";
import type { Json } from "../json-write.js";
import {
  Amount,
  amountOf,
  closed,
  ExpirySchema,
  expiryOf,
  Integer64,
  Key,
  LogOffset,
  Revision,
  Success,
  TextOrBytes,
  Ttl,
  Value,
} from "./fields.js";
import { defineOperation } from "./operation.js";
import { shown, written } from "./reply.js";
import { byteList, textOrBytes, typedValue, valueText } from "./values.js";
import { write } from "./write.js";

/** A command with optional members, while it is being put together. */
type Draft<Command> = { -readonly [Name in keyof Command]: Command[Name] };

export const set = defineOperation({
  name: "kv.set",
  kind: "write",
  summary: "Set a key",
  description: "Takes away an expiry that the key had, unless `keepttl` is given.",
  input: Type.Object(
    {
      key: Key,
      value: Value,
      ttl: Type.Optional(Ttl),
      expiry: Type.Optional(ExpirySchema),
      nx: Type.Optional(Type.Boolean({ description: "Only if the key is not there." })),
      xx: Type.Optional(Type.Boolean({ description: "Only if the key is there." })),
      keepttl: Type.Optional(Type.Boolean({ description: "Keep the expiry that the key has." })),
      get: Type.Optional(Type.Boolean({ description: "Give back the value that was there." })),
      if_revision: Type.Optional(Revision),
    },
    closed,
  ),
  output: Type.Object({
    success: Success,
    key: Type.String(),
    written: Type.Boolean({ description: "False when `nx` or `xx` was not met." }),
    revision: Revision,
    log_offset: LogOffset,
    old_value: Type.Optional(TextOrBytes),
  }),
  errors: [
    "KV_KEY_INVALID",
    "KV_VALUE_NOT_TEXT",
    "KV_VALUE_TOO_LARGE",
    "KV_EXPIRY_INVALID",
    "KV_OPTIONS_CONFLICT",
    "KV_REVISION_MISMATCH",
    "KV_MEMORY_FULL",
  ],
  exact: [["value"]],
  rest: [{ method: "POST", path: "/kv/set" }],
  prepare(input) {
    const { value, contentType } = typedValue(input.value);
    const command: Draft<SetCommand> = { key: input.key, value, contentType };
    const expiry = expiryOf(input);
    if (expiry !== undefined) command.expiry = expiry;
    if (input.nx !== undefined) command.nx = input.nx;
    if (input.xx !== undefined) command.xx = input.xx;
    if (input.keepttl !== undefined) command.keepTtl = input.keepttl;
    if (input.get !== undefined) command.get = input.get;
    if (input.if_revision !== undefined) command.ifRevision = input.if_revision;
    return write(kv.set, command, (answer, offset) => {
      const payload = {
        success: true,
        key: input.key,
        written: answer.written,
        revision: answer.revision,
        log_offset: offset,
        old_value: answer.old === undefined ? undefined : textOrBytes(answer.old),
      };
      return written(payload, offset, answer.revision);
    });
  },
});

export const get = defineOperation({
  name: "kv.get",
  kind: "read",
  summary: "Get a key's value",
  description:
    'The value\'s text as a JSON string, or its bytes as an array of numbers. In the envelope `null` means that the key is not there; the REST route then answers 200 with `{"error":"Key not found"}`, as documented.',
  input: Type.Object(
    {
      key: Key,
      type: Type.Optional(
        Type.Union([Type.Literal("string"), Type.Literal("bytes")], { description: "Default: string." }),
      ),
    },
    closed,
  ),
  output: Type.Union([TextOrBytes, Type.Null()]),
  errors: ["KV_KEY_INVALID", "KV_VALUE_NOT_TEXT"],
  rest: [{ method: "GET", path: "/kv/get/{key}", shape: absentAsDocumented }],
  run(input, call) {
    return call.query(kv.get, input, (entry) => {
      if (entry === undefined) return shown(null);
      if (input.type === "bytes") return shown(byteList(entry.bytes), entry.revision);
      // Most values are text; one that isn't is not bent into it.
      const text = textOrBytes(entry);
      if (typeof text === "string") return shown(text, entry.revision);
      return refusal("KV_VALUE_NOT_TEXT", "the value is not UTF-8; ask for type=bytes or use GET /kv/{key}");
    });
  },
});

/** The one route where the documented contract answers an absence with 200 and an error in the body. */
function absentAsDocumented(payload: Json): Json {
  return payload === null ? { error: "Key not found" } : payload;
}

export const del = defineOperation({
  name: "kv.del",
  kind: "write",
  summary: "Delete a key",
  input: Type.Object({ key: Key, if_revision: Type.Optional(Revision) }, closed),
  output: Type.Object({ deleted: Type.Boolean(), key: Type.String(), log_offset: LogOffset }),
  errors: ["KV_KEY_INVALID", "KV_REVISION_MISMATCH"],
  rest: [{ method: "DELETE", path: "/kv/del/{key}" }],
  prepare(input) {
    const command =
      input.if_revision === undefined
        ? { key: input.key }
        : { key: input.key, ifRevision: input.if_revision };
    return write(kv.delete, command, ({ deleted }, offset) =>
      written({ deleted, key: input.key, log_offset: offset }, offset),
    );
  },
});

const CountInput = Type.Object({ key: Key, amount: Type.Optional(Amount) }, closed);
const CountOutput = Type.Object({ value: Integer64, log_offset: LogOffset });
const countErrors = ["KV_KEY_INVALID", "KV_NOT_AN_INTEGER", "KV_INTEGER_OVERFLOW", "KV_MEMORY_FULL"] as const;

export const incr = defineOperation({
  name: "kv.incr",
  kind: "write",
  summary: "Add to a key that holds an integer",
  description: "Exact for 64 bits. A key that is not there counts as 0. The expiry stays.",
  input: CountInput,
  output: CountOutput,
  errors: countErrors,
  exact: [["amount"]],
  rest: [{ method: "POST", path: "/kv/{key}/incr" }],
  prepare(input) {
    const amount = amountOf(input.amount);
    if (typeof amount !== "bigint") return amount;
    return write(kv.increment, { key: input.key, amount }, ({ value }, offset) =>
      written({ value, log_offset: offset }, offset),
    );
  },
});

export const decr = defineOperation({
  name: "kv.decr",
  kind: "write",
  summary: "Subtract from a key that holds an integer",
  description: "As kv.incr. The smallest 64-bit integer itself cannot be subtracted.",
  input: CountInput,
  output: CountOutput,
  errors: countErrors,
  exact: [["amount"]],
  rest: [{ method: "POST", path: "/kv/{key}/decr" }],
  prepare(input) {
    const amount = amountOf(input.amount);
    if (typeof amount !== "bigint") return amount;
    if (amount === -(2n ** 63n)) {
      return refusal("KV_INTEGER_OVERFLOW", "the negated amount does not fit into 64 bits");
    }
    return write(kv.increment, { key: input.key, amount: -amount }, ({ value }, offset) =>
      written({ value, log_offset: offset }, offset),
    );
  },
});

export const append = defineOperation({
  name: "kv.append",
  kind: "write",
  summary: "Append to a key's value",
  input: Type.Object({ key: Key, value: Value }, closed),
  output: Type.Object({ length: Type.Integer({ description: "Bytes, afterwards." }), log_offset: LogOffset }),
  errors: ["KV_KEY_INVALID", "KV_VALUE_NOT_TEXT", "KV_VALUE_TOO_LARGE", "KV_MEMORY_FULL"],
  exact: [["value"]],
  rest: [{ method: "POST", path: "/kv/{key}/append" }],
  prepare(input) {
    const command = { key: input.key, value: valueText(input.value) };
    return write(kv.append, command, ({ length }, offset) => written({ length, log_offset: offset }, offset));
  },
});

const Position = Type.Integer({
  minimum: Number.MIN_SAFE_INTEGER,
  maximum: Number.MAX_SAFE_INTEGER,
  description: "Byte, from 0; negative counts from the end. Both ends are part of the range.",
});

export const getRange = defineOperation({
  name: "kv.getrange",
  kind: "read",
  summary: "Get a part of a key's value",
  description:
    "A range of bytes. One that cuts a character in two is no text any more and comes as an array of bytes.",
  input: Type.Object({ key: Key, start: Type.Optional(Position), end: Type.Optional(Position) }, closed),
  output: Type.Union([TextOrBytes, Type.Null()]),
  errors: ["KV_KEY_INVALID"],
  rest: [{ method: "GET", path: "/kv/{key}/getrange" }],
  run(input, call) {
    const query = { key: input.key, start: input.start ?? 0, end: input.end ?? -1 };
    return call.query(kv.getRange, query, (part) => shown(part === undefined ? null : textOrBytes(part)));
  },
});

export const setRange = defineOperation({
  name: "kv.setrange",
  kind: "write",
  summary: "Overwrite a part of a key's value",
  description: "A gap between the end of the value and the offset is filled with zero bytes.",
  input: Type.Object(
    { key: Key, offset: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER }), value: Value },
    closed,
  ),
  output: Type.Object({ length: Type.Integer({ description: "Bytes, afterwards." }), log_offset: LogOffset }),
  errors: ["KV_KEY_INVALID", "KV_VALUE_NOT_TEXT", "KV_VALUE_TOO_LARGE", "KV_MEMORY_FULL"],
  exact: [["value"]],
  rest: [{ method: "POST", path: "/kv/{key}/setrange" }],
  prepare(input) {
    const command = { key: input.key, offset: input.offset, value: valueText(input.value) };
    return write(kv.setRange, command, ({ length }, offset) =>
      written({ length, log_offset: offset }, offset),
    );
  },
});

export const length = defineOperation({
  name: "kv.strlen",
  kind: "read",
  summary: "Get the length of a key's value",
  input: Type.Object({ key: Key }, closed),
  output: Type.Object({ length: Type.Integer({ description: "Bytes; 0 when the key is not there." }) }),
  errors: ["KV_KEY_INVALID"],
  rest: [{ method: "GET", path: "/kv/{key}/strlen" }],
  run(input, call) {
    return call.query(kv.length, input, (answer) => shown({ length: answer.length }));
  },
});

export const getSet = defineOperation({
  name: "kv.getset",
  kind: "write",
  summary: "Set a key and get the value that was there",
  input: Type.Object({ key: Key, value: Value }, closed),
  output: Type.Union([TextOrBytes, Type.Null()]),
  errors: ["KV_KEY_INVALID", "KV_VALUE_NOT_TEXT", "KV_VALUE_TOO_LARGE", "KV_MEMORY_FULL"],
  exact: [["value"]],
  rest: [{ method: "POST", path: "/kv/{key}/getset" }],
  prepare(input) {
    const command = { key: input.key, ...typedValue(input.value) };
    return write(kv.getSet, command, ({ old }, offset) =>
      written(old === undefined ? null : textOrBytes(old), offset),
    );
  },
});

export const valueOperations = [set, get, del, incr, decr, append, getRange, setRange, length, getSet];
