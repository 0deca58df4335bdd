/**
 * Reads a JSON body: bounded in bytes by the server, in depth before it is parsed, Unicode or refused. The text is kept
 * beside what was parsed from it, because some values are taken from it exactly as they were sent.
 *
 * `__proto__` and `constructor` are members like any other: `JSON.parse` makes them own members, and nothing here ever
 * merges a parsed object into another.
 */
import { isUtf8 } from "node:buffer";
import type { FastifyInstance, FastifyRequest } from "fastify";
import { type Refusal, refusal } from "../errors.js";
import { deeperThan } from "../json-text.js";

export interface JsonBody {
  readonly type: "json";
  readonly text: string;
  readonly root: "body";
  readonly value: unknown;
}

export function registerJsonBody(server: FastifyInstance, depthMax: number): void {
  server.removeAllContentTypeParsers();
  server.addContentTypeParser<Buffer>("application/json", { parseAs: "buffer" }, (_request, bytes, done) => {
    // A refusal is handed on as the body, not as an error: the body has been read, so the connection may stay.
    done(null, bytes.length === 0 ? undefined : readJson(bytes, depthMax));
  });
}

export function readJson(bytes: Buffer, depthMax: number): JsonBody | Refusal {
  if (!isUtf8(bytes)) return refusal("API_TEXT_INVALID", "the body is not UTF-8");
  const text = bytes.toString("utf8");
  if (deeperThan(text, depthMax)) {
    return refusal("API_JSON_TOO_DEEP", `the body is nested deeper than ${depthMax} levels`);
  }
  try {
    return { type: "json", text, root: "body", value: JSON.parse(text) };
  } catch {
    return refusal("API_JSON_INVALID", "the body is not JSON");
  }
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
