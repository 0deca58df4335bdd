/**
 * What the durable streams protocol says in headers: reading what a request brings, strictly, and the names and values of
 * what an answer tells. It knows neither the store nor how answers leave.
 */
import type { IncomingHttpHeaders } from "node:http";
import type { Offset } from "../../log/index.js";
import type { EventPlace, Lifetime, Producer } from "../../projections/index.js";
import { type Refusal, refusal } from "../errors.js";
import { parseInstant } from "../instants.js";
import type { Epochs } from "../lineage.js";
import { formatToken } from "./durable-offsets.js";
import { pathIn } from "./url.js";

export const DURABLE_PATH = "/v1/stream/";

/** On every answer, refusals too: a browser takes the body for what it is called, and any page may load it. */
export const SECURITY_HEADERS: readonly string[] = [
  ...["X-Content-Type-Options", "nosniff"],
  ...["Cross-Origin-Resource-Policy", "cross-origin"],
];

/** Those that an answer at this URL has, whoever gives it: what can't be decoded or is too long never comes to this door. */
export function headersAt(url = ""): readonly string[] {
  return pathIn(url).startsWith(DURABLE_PATH) ? SECURITY_HEADERS : [];
}

/** What a page of another origin must be able to read (CORS). */
export const EXPOSED_HEADERS: readonly string[] = [
  ...["Location", "Stream-Next-Offset", "Stream-Cursor", "Stream-Up-To-Date", "Stream-Closed"],
  ...["Stream-TTL", "Stream-Expires-At", "Stream-SSE-Data-Encoding"],
  ...["Producer-Epoch", "Producer-Seq", "Producer-Expected-Seq", "Producer-Received-Seq"],
];

export function tailHeaders(epochs: Epochs, tail: EventPlace, closed: boolean): string[] {
  const headers = ["Stream-Next-Offset", formatToken(epochs, tail)];
  if (closed) headers.push("Stream-Closed", "true");
  return headers;
}

/** As every write of this server tells it. */
export function offsetHeader(offset: Offset): string[] {
  return ["X-Annals-Offset", String(offset)];
}

export function lifetimeHeaders({ ttlMs, expiresAt }: Lifetime): string[] {
  if (ttlMs !== undefined) return ["Stream-TTL", String(ttlMs / 1_000)];
  return expiresAt === undefined ? [] : ["Stream-Expires-At", new Date(expiresAt).toISOString()];
}

/** Node joins a header that came twice with a comma, so every rule below refuses a repeated one by itself. */
export function headerOf(headers: IncomingHttpHeaders, name: string): string | undefined {
  const value = headers[name];
  return Array.isArray(value) ? value.join(", ") : value;
}

/** Only `true`, in any case, counts; any other value is as good as none. */
export function closesStream(headers: IncomingHttpHeaders): boolean {
  return headerOf(headers, "stream-closed")?.trim().toLowerCase() === "true";
}

export type Found<Value> = { readonly type: "found"; readonly value: Value } | Refusal;

function found<Value>(value: Value): Found<Value> {
  return { type: "found", value };
}

function bad(message: string): Refusal {
  return refusal("API_HEADER_INVALID", message);
}

/** Digits without a leading zero, exact. */
function wholeNumber(text: string): number | undefined {
  if (!/^(0|[1-9][0-9]{0,15})$/.test(text)) return undefined;
  const value = Number(text);
  return Number.isSafeInteger(value) ? value : undefined;
}

/** A longer life than this is `Stream-Expires-At`'s business, and ends within what a date can say. */
const TTL_SECS_MAX = 1_000 * 366 * 86_400;

export function lifetimeOf(headers: IncomingHttpHeaders): Found<Lifetime | undefined> {
  const ttl = headerOf(headers, "stream-ttl");
  const expires = headerOf(headers, "stream-expires-at");
  if (ttl !== undefined && expires !== undefined)
    return bad("give Stream-TTL or Stream-Expires-At, not both");
  if (ttl !== undefined) {
    const secs = wholeNumber(ttl);
    if (secs === undefined || secs > TTL_SECS_MAX) {
      return bad("Stream-TTL must be a whole number of seconds without sign or leading zero");
    }
    return found({ ttlMs: secs * 1_000 });
  }
  if (expires === undefined) return found(undefined);
  const expiresAt = instantOf(expires);
  return expiresAt === undefined ? bad("Stream-Expires-At must be an RFC 3339 time") : found({ expiresAt });
}

/** The protocol wants all that RFC 3339 does: the T and the seconds, too. */
const WHOLE = /^.{10}T.{5}:/i;

/** What lies before 1970 is over, as every past is; 0 would mean that there is no end. */
function instantOf(text: string): number | undefined {
  const time = WHOLE.test(text) ? parseInstant(text) : undefined;
  return time === undefined ? undefined : Math.max(1, time);
}

export function producerOf(headers: IncomingHttpHeaders): Found<Producer | undefined> {
  const id = headerOf(headers, "producer-id");
  const epochText = headerOf(headers, "producer-epoch");
  const seqText = headerOf(headers, "producer-seq");
  if (id === undefined && epochText === undefined && seqText === undefined) return found(undefined);
  if (id === undefined || epochText === undefined || seqText === undefined) {
    return bad("Producer-Id, Producer-Epoch and Producer-Seq come together or not at all");
  }
  if (id.trim() === "") return bad("Producer-Id must not be empty");
  const epoch = wholeNumber(epochText);
  const seq = wholeNumber(seqText);
  if (epoch === undefined || seq === undefined) {
    return bad("Producer-Epoch and Producer-Seq must be whole numbers up to 2^53 - 1");
  }
  return found({ id, epoch, seq });
}

/** Where a fork is asked for, as it was written. */
export interface ForkRequest {
  /** Path of the source on this server. */
  readonly path: string;
  readonly offset: string | undefined;
  /** Messages (JSON) or bytes (else) of what follows the offset. */
  readonly extra: number;
}

export function forkOf(headers: IncomingHttpHeaders): Found<ForkRequest | undefined> {
  const path = headerOf(headers, "stream-forked-from");
  const offset = headerOf(headers, "stream-fork-offset");
  const extraText = headerOf(headers, "stream-fork-sub-offset");
  if (path === undefined) {
    if (offset === undefined && extraText === undefined) return found(undefined);
    return bad("Stream-Fork-Offset and Stream-Fork-Sub-Offset need Stream-Forked-From");
  }
  const extra = extraText === undefined ? 0 : wholeNumber(extraText);
  if (extra === undefined) return bad("Stream-Fork-Sub-Offset must be a whole number without leading zero");
  return found({ path, offset, extra });
}

/** The type alone, for comparing. */
export function bareType(contentType: string): string {
  return contentType.split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

export function isJsonType(contentType: string): boolean {
  return bareType(contentType) === "application/json";
}

/** True when one of the tags, or `*`, is this one. */
export function matchesTag(header: string, tag: string): boolean {
  if (header.trim() === "*") return true;
  return header.split(",").some((item) => item.trim().replace(/^W\//, "") === tag);
}
