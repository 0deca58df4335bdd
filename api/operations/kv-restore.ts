/**
 * Undoing: keys under a pattern become again what they were at a moment, as new events. Two walks, a page and a record each: over
 * the keys that were there then, and over those that are there now, of which some were not. What is different is decided
 * against the state as it is when the page is written, not as it was when it was read.
 */
import { type Static, Type } from "@sinclair/typebox";
import { bytesOf, type EntriesQuery, kv, type RestoreCommand } from "../../projections/index.js";
import { Checker } from "../checker.js";
import { type Refusal, refusal } from "../errors.js";
import { type Json, JsonText, writeJson } from "../json-write.js";
import { type Moment, parseMoment } from "../past.js";
import type { Call } from "./call.js";
import { closed, Key, LogOffset } from "./fields.js";
import { replyForm } from "./once.js";
import { defineOperation } from "./operation.js";
import { type Reply, shown, written } from "./reply.js";
import { write } from "./write.js";

const PAGE_DEFAULT = 100;
const PAGE_MAX = 1_000;
/** Bytes of values after which a page is made smaller: it travels as text, and becomes one record. */
const PAGE_BYTES_MAX = 2 << 20;

const Limit = Type.Optional(
  Type.Integer({ minimum: 1, maximum: PAGE_MAX, description: `Default ${PAGE_DEFAULT}.` }),
);

const EntriesOutput = Type.Object({
  entries: Type.Array(
    Type.Object({
      key: Type.String(),
      value: Type.Optional(Type.String({ description: "Its bytes in base64." })),
      content_type: Type.String(),
      value_bytes: Type.Integer(),
      expires_at: Type.Union([Type.Integer(), Type.Null()], { description: "Ms since 1970; null: never." }),
      revision: Type.Integer(),
    }),
  ),
  cursor: Type.Union([Type.String(), Type.Null()], { description: "For the next page; null: complete." }),
});

const entriesOutput = new Checker(EntriesOutput);

export const entries = defineOperation({
  name: "kv.entries",
  kind: "read",
  summary: "List keys with all that they have, a page at a time",
  description:
    "By pattern as kv.scan, or by name; every byte of a value is kept. A page has fewer keys than asked for when they or their values are large.",
  input: Type.Object(
    {
      pattern: Type.Optional(Type.String({ description: "Glob. Default `*`." })),
      keys: Type.Optional(
        Type.Array(Key, { description: "Instead of a pattern; those that are there are listed." }),
      ),
      cursor: Type.Optional(Type.String({ description: "From the page before." })),
      limit: Limit,
      values: Type.Optional(Type.Boolean({ description: "False: without the values. Default: with them." })),
    },
    closed,
  ),
  output: EntriesOutput,
  errors: [
    "KV_KEY_INVALID",
    "KV_PATTERN_INVALID",
    "KV_CURSOR_INVALID",
    "KV_VALUES_TOO_LARGE",
    "API_BATCH_TOO_LARGE",
  ],
  rest: [{ method: "POST", path: "/kv/entries" }],
  run({ pattern = "*", keys, cursor, limit = PAGE_DEFAULT, values = true }, call) {
    const of = keys === undefined ? { pattern, limit, ...(cursor !== undefined && { cursor }) } : { keys };
    const query: EntriesQuery = { of, bytesMax: values ? PAGE_BYTES_MAX : undefined };
    return call.query(kv.entries, query, (page) =>
      shown({
        entries: page.entries.map(({ key, head, value }) => ({
          key,
          value: value === undefined ? undefined : bytesOf(value).toString("base64"),
          content_type: head.contentType,
          value_bytes: head.valueBytes,
          expires_at: head.expiresAt || null,
          revision: head.revision,
        })),
        cursor: page.cursor ?? null,
      }),
    );
  },
});

const RestoreInput = Type.Object(
  {
    pattern: Type.String({ description: "Glob over keys; `*` for all." }),
    at: Type.Union([Type.Integer({ minimum: 0 }), Type.String()], {
      description: "The moment: an offset, a time with its zone, or ms since 1970 as `1769860800000ms`.",
    }),
    dry_run: Type.Optional(Type.Boolean({ description: "Say what would change, and change nothing." })),
    cursor: Type.Optional(Type.String({ description: "From the page before." })),
    limit: Limit,
  },
  closed,
);

const ChangeShown = Type.Object({
  key: Type.String(),
  change: Type.Union([
    Type.Literal("created"),
    Type.Literal("replaced"),
    Type.Literal("expiry_changed"),
    Type.Literal("deleted"),
  ]),
  revision: Type.Integer({ description: "That the key had before; 0: it was not there." }),
});

export const restore = defineOperation({
  name: "kv.restore",
  kind: "write",
  summary: "Make keys again what they were at a moment",
  description:
    "Writes what differs between then and now under a pattern as new events, a page at a time, each page one atomic record; repeat with `cursor` until it is null, and with the offset that `at` says. What had an expiry that has passed by now stays gone. `annals undo` does all pages.",
  input: RestoreInput,
  output: Type.Object({
    at: Type.Integer({ description: "Offset of the state that is restored." }),
    dry_run: Type.Boolean(),
    changes: Type.Array(ChangeShown),
    cursor: Type.Union([Type.String(), Type.Null()], { description: "For the next page; null: done." }),
    log_offset: LogOffset,
  }),
  errors: [
    "KV_PATTERN_INVALID",
    "KV_CURSOR_INVALID",
    "KV_MEMORY_FULL",
    "API_AT_INVALID",
    "API_AT_BEFORE_FIRST",
    "LOG_OFFSET_BEYOND_END",
  ],
  rest: [{ method: "POST", path: "/kv/restore" }],
  async run(input, call): Promise<Reply> {
    const moment = parseMoment(input.at);
    if (moment === undefined) {
      return refusal(
        "API_AT_INVALID",
        "at is an offset, a time such as 2026-01-31T12:00:00Z, or 1769860800000ms",
      );
    }
    // Before it waits for what they wait for.
    const refused = call.refuseWrites();
    if (refused !== undefined) return refused;
    const dryRun = input.dry_run ?? false;
    const again = await call.repeated(replyForm);
    if (again !== undefined) return again;
    const page = await pageOf(input, moment, call);
    if (page.type === "refused") return page;
    const command: RestoreCommand = { keys: page.keys, dryRun };
    return write(kv.restore, command, ({ changes }, offset) =>
      written(
        {
          at: page.at,
          dry_run: dryRun,
          changes: changes.map((change) => ({ ...change })),
          cursor: page.cursor,
          log_offset: offset,
        },
        offset,
      ),
    ).run(call);
  },
});

interface Page {
  readonly type: "page";
  readonly at: number;
  readonly keys: RestoreCommand["keys"];
  readonly cursor: string | null;
}

/** `then` or `now`: which keys are walked, and the cursor of that walk. */
const CURSOR = /^(then|now)(?::(.{1,64}))?$/;

function pageOf(input: Static<typeof RestoreInput>, moment: Moment, call: Call): Promise<Page | Refusal> {
  const [, walk, cursor] = CURSOR.exec(input.cursor ?? "then") ?? [];
  const scan = {
    pattern: input.pattern,
    limit: Math.min(input.limit ?? PAGE_DEFAULT, call.limits.batchItemsMax),
    ...(cursor !== undefined && { cursor }),
  };
  if (walk === "then") return thereThen(scan, moment, call);
  if (walk === "now") return thereNow(scan, moment, call);
  return Promise.resolve(refusal("KV_CURSOR_INVALID", "the cursor is not one that a page gave"));
}

interface Scan {
  readonly pattern: string;
  readonly limit: number;
  readonly cursor?: string;
}

async function thereThen(scan: Scan, moment: Moment, call: Call): Promise<Page | Refusal> {
  const then = await entriesAt({ ...scan }, moment, call);
  if (then.type === "refused") return then;
  const keys = then.entries.map(({ key, value = "", content_type, expires_at }) => ({
    key,
    was: { value: Buffer.from(value, "base64"), contentType: content_type, expiresAt: expires_at ?? 0 },
  }));
  return { type: "page", at: then.at, keys, cursor: then.cursor === null ? "now" : `then:${then.cursor}` };
}

/** Keys that are there now and were not then. */
async function thereNow(scan: Scan, moment: Moment, call: Call): Promise<Page | Refusal> {
  const now = await call.query(kv.scan, scan, (page) => ({ type: "scan" as const, ...page }));
  if (now.type === "refused") return now;
  const then = await entriesAt({ keys: [...now.keys], values: false }, moment, call);
  if (then.type === "refused") return then;
  const were = new Set(then.entries.map(({ key }) => key));
  const keys = now.keys.flatMap((key) => (were.has(key) ? [] : [{ key, was: undefined }]));
  return { type: "page", at: then.at, keys, cursor: now.cursor === undefined ? null : `now:${now.cursor}` };
}

type EntriesThen = Static<typeof EntriesOutput> & { readonly type: "entries"; readonly at: number };

async function entriesAt(input: object, moment: Moment, call: Call): Promise<EntriesThen | Refusal> {
  const reply = await call.lookBack((past, signal) => past.read(entries.name, input, moment, signal));
  if (reply.type === "refused") return reply;
  const payload = parsed(reply.payload);
  if (!entriesOutput.accepts(payload) || reply.at === undefined)
    throw new TypeError("not what kv.entries answers");
  return { type: "entries", at: reply.at, ...payload };
}

function parsed(payload: Json): unknown {
  return JSON.parse(payload instanceof JsonText ? payload.text : writeJson(payload));
}

export const restoreOperations = [entries, restore];
