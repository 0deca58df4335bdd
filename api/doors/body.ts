/**
 * Reads a JSON body: bounded in bytes by the server, in depth before it is parsed, Unicode or refused. The text is kept
 * beside what was parsed from it, because some values are taken from it exactly as they were sent.
 *
 * `__proto__` and `constructor` are members like any other: `JSON.parse` makes them own members, and nothing here ever
 * merges a parsed object into another.
 */
import { isAscii, isUtf8 } from "node:buffer";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Refusal, refusal } from "../errors.js";
import { deeperThan } from "../json-text.js";
import type { ApiLimits } from "../options.js";
import { registerBody } from "./body-bytes.js";

export interface JsonBody {
  readonly type: "json";
  readonly text: string;
  readonly root: "body";
  readonly value: unknown;
}

export function registerJsonBody(server: FastifyInstance, limits: ApiLimits): void {
  server.removeAllContentTypeParsers();
  // A refusal is handed on as the body, not as an error: the body has been read, so the connection may stay.
  registerBody(server, "application/json", limits.bodyBytesMax, (bytes) =>
    bytes.length === 0 ? undefined : readJson(bytes, limits.jsonDepthMax),
  );
}

function readJson(bytes: Buffer, depthMax: number): JsonBody | Refusal {
  const text = textOf(bytes);
  if (text === undefined) return refusal("API_TEXT_INVALID", "the body is not UTF-8");
  if (deeperThan(text, depthMax)) {
    return refusal("API_JSON_TOO_DEEP", `the body is nested deeper than ${depthMax} levels`);
  }
  try {
    return { type: "json", text, root: "body", value: JSON.parse(text) };
  } catch {
    return refusal("API_JSON_INVALID", "the body is not JSON");
  }
}

/** The most common text is decoded the fastest. */
function textOf(bytes: Buffer): string | undefined {
  if (isAscii(bytes)) return bytes.toString("latin1");
  return isUtf8(bytes) ? bytes.toString("utf8") : undefined;
}

/** The body that `registerJsonBody` has read; undefined when there was none. */
export function bodyOf(request: FastifyRequest): JsonBody | Refusal | undefined {
  const { body } = request;
  return isReadBody(body) ? body : undefined;
}

/** Only `readJson` and an absent body can stand there: the server has no other parser on these routes. */
function isReadBody(body: unknown): body is JsonBody | Refusal {
  return typeof body === "object" && body !== null;
}

export function isFields(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
