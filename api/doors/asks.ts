/**
 * What a request may ask beside its operation, the same through every door: that a write happens once however often it is
 * sent (`Idempotency-Key`) or is on the disks of so many replicas (`X-Annals-Acks`), that nothing is answered or decided before an offset, of this history, is there (`X-Annals-Min-Offset`
 * with `X-Annals-Lineage`, or `min_offset`), or that a read shows the state as it was at a moment (`at`).
 */
import type { FastifyRequest } from "fastify";
import { type Refusal, refusal } from "../errors.js";
import type { MinOffset } from "../lineage.js";
import type { Call } from "../operations/call.js";
import { type OnceKey, onceKey } from "../operations/once.js";
import type { Operation } from "../operations/operation.js";
import type { Later } from "../operations/reply.js";
import { type Moment, parseMoment } from "../past.js";
import type { Acks } from "../replication.js";
import { queryOf } from "./request.js";

export interface Asks {
  readonly type: "asks";
  readonly kind: Operation["kind"];
  readonly once: OnceKey | undefined;
  /** Of a write, when it says. */
  readonly acks: Acks | undefined;
  readonly minOffset: MinOffset | undefined;
  /** A read of the past. */
  readonly at: Moment | undefined;
}

const NOTHING: Asks = {
  type: "asks",
  kind: "read",
  once: undefined,
  acks: undefined,
  minOffset: undefined,
  at: undefined,
};
const NOTHING_OF_A_WRITE: Asks = { ...NOTHING, kind: "write" };

/** The part of an operation, and of its door, that decides what may be asked beside it. */
export interface Askable extends Pick<Operation, "kind" | "ofNow"> {
  /** The door compares entity tags itself. */
  readonly comparesTags?: true;
}

/** Where an envelope says what otherwise a header does. */
export interface AsksInBody {
  readonly idempotency_key?: string;
  readonly acks?: number | string;
  readonly min_offset?: number | string;
  readonly at?: number | string;
}

/** `identity` is everything that makes one request another: the operation, its fields, its body. Asked only with a key. */
export function asksOf(
  request: FastifyRequest,
  { kind, ofNow, comparesTags }: Askable,
  identity: () => readonly (string | Uint8Array)[],
  inBody?: AsksInBody,
): Asks | Refusal {
  const { headers } = request;
  const moment = inBody?.at ?? Reflect.get(queryOf(request), AT_FIELD);
  if (kind === "write") {
    if (moment !== undefined) return atUnsupported();
    if (comparesTags !== true && isConditional(headers)) return tagsUnsupported();
    const key = inBody?.idempotency_key ?? headers["idempotency-key"];
    request.once = key === undefined ? "a key" : "client's key";
    const wantedAcks = inBody?.acks ?? headers["x-annals-acks"];
    const minOffset = minOffsetAsked(request, inBody);
    const contradiction = inBody && contradictionOf(headers, inBody);
    if (contradiction !== undefined) return contradiction;
    if (key === undefined && minOffset === undefined && wantedAcks === undefined) return NOTHING_OF_A_WRITE;
    const acks = wantedAcks === undefined ? undefined : parseAcks(String(wantedAcks));
    if (acks === "invalid") return refusal("API_ACKS_INVALID", `acks is 0 to ${ACKS_MAX}, or quorum`);
    if (minOffset !== undefined && "type" in minOffset) return minOffset;
    if (key === undefined) return { ...NOTHING_OF_A_WRITE, acks, minOffset };
    const once = onceKey(key, identity());
    return once.type === "refused" ? once : { ...NOTHING_OF_A_WRITE, once, acks, minOffset };
  }
  const minOffset = minOffsetAsked(request, inBody);
  if (minOffset === undefined && moment === undefined) return NOTHING;
  if (moment !== undefined && ofNow === true) return atUnsupported();
  const at = moment === undefined ? undefined : parseMoment(moment);
  if (moment !== undefined && at === undefined) {
    return refusal(
      "API_AT_INVALID",
      "at is an offset, a time such as 2026-01-31T12:00:00Z, or 1769860800000ms",
    );
  }
  return minOffset !== undefined && "type" in minOffset ? minOffset : { ...NOTHING, minOffset, at };
}

/** Wherever it stands: a condition that is passed over would be broken without a word. */
function minOffsetAsked(request: FastifyRequest, inBody?: AsksInBody): MinOffset | Refusal | undefined {
  const { headers } = request;
  const inHeader = headers["x-annals-min-offset"];
  const inQuery: unknown = Reflect.get(queryOf(request), MIN_OFFSET_FIELD);
  // Few requests name one.
  if (inHeader === undefined && inQuery === undefined && inBody?.min_offset === undefined) return undefined;
  const [wanted, ...others] = [inBody?.min_offset, inHeader, inQuery].filter((place) => place !== undefined);
  const minOffset = minOffsetOf(wanted, headers);
  if ("type" in minOffset) return minOffset;
  if (others.every((other) => isSame(minOffsetOf(other, headers), minOffset))) return minOffset;
  return refusal("API_MIN_OFFSET_INVALID", "the request names two minimum offsets that differ");
}

/** Whichever of two were taken, the other would be broken without a word. */
function isSame(other: MinOffset | Refusal, { offset, lineage }: MinOffset): boolean {
  return !("type" in other) && other.offset === offset && other.lineage === lineage;
}

/** The lineage stands behind the offset, or in the header in which it was told. */
function minOffsetOf(wanted: unknown, headers: FastifyRequest["headers"]): MinOffset | Refusal {
  const [, digits = "", own] = MIN_OFFSET.exec(String(wanted)) ?? [];
  const offset = digits === "" ? Number.NaN : Number(digits);
  const lineage = own ?? headers["x-annals-lineage"]?.toString();
  if (Number.isSafeInteger(offset) && (lineage === undefined || LINEAGE.test(lineage)))
    return { offset, lineage };
  return refusal(
    "API_MIN_OFFSET_INVALID",
    "a minimum offset is a whole number from 0, or one with its lineage, eight digits: 42@0f3c9a1e",
  );
}

/** A node knows of 64 nodes at most, itself among them. */
const ACKS_MAX = 63;

function parseAcks(text: string): Acks | "invalid" {
  if (text === "quorum") return text;
  return /^\d{1,2}$/.test(text) && Number(text) <= ACKS_MAX ? Number(text) : "invalid";
}

const LINEAGE = /^[0-9a-f]{8}$/;
const MIN_OFFSET = /^([0-9]{1,16})(?:@([0-9a-f]{8}))?$/;

/** What an envelope says and its head says otherwise: whichever were taken, the other would be broken without a word. */
function contradictionOf(headers: FastifyRequest["headers"], inBody: AsksInBody): Refusal | undefined {
  if (differs(inBody.idempotency_key, headers["idempotency-key"])) {
    return refusal("API_IDEMPOTENCY_KEY_INVALID", "the request names two idempotency keys that differ");
  }
  if (differs(inBody.acks, headers["x-annals-acks"])) {
    return refusal("API_ACKS_INVALID", "the request asks for two numbers of confirmations that differ");
  }
  return undefined;
}

function differs(inBody: number | string | undefined, inHeader: string | string[] | undefined): boolean {
  return inBody !== undefined && inHeader !== undefined && String(inBody) !== String(inHeader);
}

/** Passed over, the condition would be broken without a word. */
function isConditional(headers: FastifyRequest["headers"]): boolean {
  return headers["if-match"] !== undefined || headers["if-none-match"] !== undefined;
}

function tagsUnsupported(): Refusal {
  const message = "of writes only PUT and DELETE /kv/{key} take If-Match and If-None-Match";
  return refusal("API_PRECONDITION_UNSUPPORTED", message);
}

function atUnsupported(): Refusal {
  return refusal("API_AT_UNSUPPORTED", "only a read of keys, queues or streams can be asked of the past");
}

/** The query fields that every read takes. */
const MIN_OFFSET_FIELD = "min_offset";
export const AT_FIELD = "at";
export const READ_FIELDS: ReadonlySet<string> = new Set([MIN_OFFSET_FIELD, AT_FIELD]);

/** `run`, at once or when the log has what was asked for. */
export function asAsked<Result>(
  { minOffset, kind }: Asks,
  run: (call: Call) => Later<Result | Refusal>,
): (call: Call) => Later<Result | Refusal> {
  if (minOffset === undefined) return run;
  return (call) => call.whenReached(minOffset, kind).then((refused) => refused ?? run(call));
}
