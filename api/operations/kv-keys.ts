/** The operations on keys as such, whatever their value: is it there, when does it expire, what is it called. */
import { Type } from "@sinclair/typebox";
import { kv } from "../../projections/index.js";
import { refusal } from "../errors.js";
import { closed, ExpirySchema, expiryOf, Key, LogOffset, Success, Ttl } from "./fields.js";
import { defineOperation } from "./operation.js";
import { shown, written } from "./reply.js";
import { write } from "./write.js";

const OneKey = Type.Object({ key: Key }, closed);

export const exists = defineOperation({
  name: "kv.exists",
  aliases: ["key.exists"],
  kind: "read",
  summary: "Ask whether a key is there",
  input: OneKey,
  output: Type.Object({ exists: Type.Boolean(), key: Type.String() }),
  errors: ["KV_KEY_INVALID"],
  rest: [{ method: "GET", path: "/key/{key}/exists" }],
  run: (input, call) =>
    call.query(kv.exists, input, (answer) => shown({ exists: answer.exists, key: input.key })),
});

export const type = defineOperation({
  name: "key.type",
  kind: "read",
  summary: "Ask what kind of value a key has",
  input: OneKey,
  output: Type.Object({
    key: Type.String(),
    type: Type.String({ description: "`none` when it is not there." }),
  }),
  errors: ["KV_KEY_INVALID"],
  rest: [{ method: "GET", path: "/key/{key}/type" }],
  run: (input, call) =>
    call.query(kv.type, input, (answer) => shown({ key: input.key, type: answer.type ?? "none" })),
});

export const expire = defineOperation({
  name: "kv.expire",
  kind: "write",
  summary: "Let a key expire",
  input: Type.Object({ key: Key, ttl: Type.Optional(Ttl), expiry: Type.Optional(ExpirySchema) }, closed),
  output: Type.Object({
    result: Type.Boolean({ description: "False when the key is not there." }),
    log_offset: LogOffset,
  }),
  errors: ["KV_KEY_INVALID", "KV_EXPIRY_INVALID"],
  rest: [{ method: "POST", path: "/key/{key}/expire" }],
  prepare(input) {
    const expiry = expiryOf(input);
    if (expiry === undefined) return refusal("API_FIELD_MISSING", 'field "ttl" (or "expiry") is missing');
    return write(kv.expire, { key: input.key, expiry }, ({ result }, offset) =>
      written({ result, log_offset: offset }, offset),
    );
  },
});

export const ttl = defineOperation({
  name: "kv.ttl",
  kind: "read",
  summary: "Ask how long a key has to live",
  input: OneKey,
  output: Type.Object({
    ttl: Type.Union([Type.Integer(), Type.Null()], {
      description: "Whole seconds; null: it does not expire.",
    }),
    ttl_ms: Type.Union([Type.Integer(), Type.Null()]),
  }),
  errors: ["KV_KEY_INVALID", "KV_KEY_NOT_FOUND"],
  rest: [{ method: "GET", path: "/key/{key}/ttl" }],
  run: (input, call) =>
    call.query(kv.ttl, input, ({ ttlMs }) =>
      shown({ ttl: ttlMs === null ? null : Math.floor(ttlMs / 1000), ttl_ms: ttlMs }),
    ),
});

export const persist = defineOperation({
  name: "kv.persist",
  kind: "write",
  summary: "Take a key's expiry away",
  input: OneKey,
  output: Type.Object({
    result: Type.Boolean({ description: "False when the key is not there or did not expire." }),
    log_offset: LogOffset,
  }),
  errors: ["KV_KEY_INVALID"],
  rest: [{ method: "POST", path: "/key/{key}/persist" }],
  prepare: (input) =>
    write(kv.persist, input, ({ result }, offset) => written({ result, log_offset: offset }, offset)),
});

const TwoKeys = Type.Object({ key: Key, destination: Key }, closed);

export const rename = defineOperation({
  name: "key.rename",
  kind: "write",
  summary: "Rename a key",
  description: "Value and expiry go along; a key that has the new name is replaced.",
  input: TwoKeys,
  output: Type.Object({
    success: Success,
    key: Type.String(),
    destination: Type.String(),
    log_offset: LogOffset,
  }),
  errors: ["KV_KEY_INVALID", "KV_KEY_NOT_FOUND", "KV_MEMORY_FULL"],
  rest: [{ method: "POST", path: "/key/{key}/rename" }],
  prepare: (input) =>
    write(kv.rename, input, (_answer, offset) =>
      written({ success: true, key: input.key, destination: input.destination, log_offset: offset }, offset),
    ),
});

export const renameIfAbsent = defineOperation({
  name: "key.renamenx",
  kind: "write",
  summary: "Rename a key, unless the new name is taken",
  input: TwoKeys,
  output: Type.Object({ success: Type.Boolean(), renamed: Type.Boolean(), log_offset: LogOffset }),
  errors: ["KV_KEY_INVALID", "KV_KEY_NOT_FOUND", "KV_MEMORY_FULL"],
  rest: [{ method: "POST", path: "/key/{key}/renamenx" }],
  prepare: (input) =>
    write(kv.renameIfAbsent, input, ({ renamed }, offset) =>
      written({ success: renamed, renamed, log_offset: offset }, offset),
    ),
});

export const copy = defineOperation({
  name: "key.copy",
  kind: "write",
  summary: "Copy a key",
  input: Type.Object(
    {
      key: Key,
      destination: Key,
      replace: Type.Optional(Type.Boolean({ description: "Replace the destination if it is there." })),
    },
    closed,
  ),
  output: Type.Object({
    success: Type.Boolean(),
    copied: Type.Boolean({ description: "False when the key is not there, or the destination is." }),
    log_offset: LogOffset,
  }),
  errors: ["KV_KEY_INVALID", "KV_MEMORY_FULL"],
  rest: [{ method: "POST", path: "/key/{key}/copy" }],
  prepare: (input) => {
    const command = { key: input.key, destination: input.destination, replace: input.replace ?? false };
    return write(kv.copy, command, ({ copied }, offset) =>
      written({ success: copied, copied, log_offset: offset }, offset),
    );
  },
});

export const randomKey = defineOperation({
  name: "key.randomkey",
  kind: "read",
  summary: "Get any key",
  input: Type.Object({}, closed),
  output: Type.Object({
    key: Type.Union([Type.String(), Type.Null()], { description: "null: there is none." }),
  }),
  errors: [],
  rest: [{ method: "GET", path: "/key/randomkey" }],
  run: (_input, call) => call.query(kv.randomKey, {}, (answer) => shown({ key: answer.key ?? null })),
});

export const keyOperations = [exists, type, expire, ttl, persist, rename, renameIfAbsent, copy, randomKey];
