/** What the doors read of a request in the same way. */
import type { FastifyRequest } from "fastify";
import type { Caller } from "../operations/call.js";

export function callerOf(request: FastifyRequest, { once, acks }: Pick<Caller, "once" | "acks">): Caller {
  const { id, headers } = request;
  return {
    requestId: id,
    // Kept with the record only when the caller chose it.
    causeId: headers["x-request-id"] === id ? id : undefined,
    connection: request.raw.socket,
    once,
    acks,
  };
}

export function queryOf({ query }: FastifyRequest): object {
  return typeof query === "object" && query !== null ? query : {};
}
