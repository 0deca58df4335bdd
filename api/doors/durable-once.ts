/**
 * Writes of the durable streams door that may come with an idempotency key: what makes one another, and how their answers,
 * which are headers alone, are kept and told again.
 */
import type { FastifyRequest } from "fastify";
import type { Offset } from "../../log/index.js";
import type { Decider, Step } from "../../projections/index.js";
import type { Call } from "../operations/call.js";
import type { OnceForm } from "../operations/once.js";
import type { Later } from "../operations/reply.js";
import { pathOf } from "./durable-request.js";
import { answer, type DurableResult } from "./durable-result.js";

const OWN_HEADER = /^(content-type$|stream-|producer-)/;

/** `operation` is its name. */
export function identityOf(operation: string, request: FastifyRequest): (string | Uint8Array)[] {
  const { body, headers } = request;
  const own = Object.entries(headers).filter(([name]) => OWN_HEADER.test(name));
  const sorted = own.sort(([left], [right]) => (left < right ? -1 : 1));
  return [operation, pathOf(request), JSON.stringify(sorted), Buffer.isBuffer(body) ? body : ""];
}

/** As `Call.execute`, or as `Call.executeOnce` when the request has a key. */
export function perform<Command, Answer>(
  call: Call,
  decide: Decider<Command, Answer>,
  command: Command,
  map: (answer: Answer, offset: Offset) => DurableResult,
): Later<DurableResult> {
  if (call.once === undefined) return call.execute(decide, command, map);
  const step: Step<DurableResult> = {
    decide(state, context, rules) {
      const decision = decide(state, command, context, rules);
      if (decision.type === "rejected") return decision;
      return { ...decision, answer: (offset, place) => map(decision.answer(offset, place), offset) };
    },
  };
  return call.executeOnce(call.once, step, headersForm);
}

/** The kept text is the list of the answer's headers. */
export const headersForm: OnceForm<DurableResult> = {
  keep(result) {
    // A write's answer has no body.
    if (result.type !== "answer" || result.body !== undefined) return undefined;
    return { status: result.status, revision: undefined, body: JSON.stringify(result.headers) };
  },
  again({ status, body }) {
    const headers: unknown = JSON.parse(body);
    if (!Array.isArray(headers)) throw new TypeError("a kept answer of this door is a list of headers");
    return answer(status, [...headers.map(String), "Idempotent-Replayed", "true"]);
  },
};
