/** The events of a message's life as JSON, and the place at which a page of it goes on as text. */
import type { Offset } from "../../log/index.js";
import { type Happened, type LifeEvent, type LifePlace, messageIdOf } from "../../projections/index.js";
import type { JsonObject } from "../json-write.js";

/** All but where and when it happened, and what did it. */
export function lifeJson({ event, offset, place }: Happened<LifeEvent>): JsonObject {
  const name = event.type.slice("queue.".length);
  switch (event.type) {
    case "queue.published":
      return {
        event: name,
        priority: event.priority,
        payload_bytes: event.payload.length,
        available_at: event.availableAt || undefined,
        expires_at: event.expiresAt || undefined,
      };
    case "queue.delivered":
      return {
        event: name,
        consumer: event.consumer,
        receipt: messageIdOf({ offset, place }),
        deadline: event.deadline,
      };
    case "queue.requeued":
      return {
        event: name,
        by: event.by,
        retry_count: event.retryCount,
        available_at: event.availableAt || undefined,
      };
    case "queue.died":
      return { event: name, by: event.by, reason: event.reason, retry_count: event.retryCount };
    case "queue.deadline_extended":
      return { event: name, deadline: event.deadline };
    case "queue.acked":
    case "queue.released":
    case "queue.expired":
    case "queue.dead_requeued":
    case "queue.deleted":
    case "queue.purged":
    case "queue.dead_purged":
      return { event: name };
  }
}

const STATES = { w: "waiting", i: "in_flight", d: "dead" } as const;
const LETTERS = { waiting: "w", in_flight: "i", dead: "d" } as const;
const PLACE = /^([1-9]\d{0,15})([wid])$/;

/** Where to read on, and what the message was there: nobody has to read from the beginning again. */
export function placeText({ from, state }: LifePlace): string {
  return `${from}${LETTERS[state]}`;
}

export function parsePlace(text: string): LifePlace | undefined {
  const [, offset, letter] = PLACE.exec(text) ?? [];
  const from = Number(offset);
  if (!Number.isSafeInteger(from)) return undefined;
  if (letter !== "w" && letter !== "i" && letter !== "d") return undefined;
  return { from: from as Offset, state: STATES[letter] };
}
