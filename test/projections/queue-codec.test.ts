/** The bodies of queue events: the worked example, every event there and back, and what is not an event. */
import { describe, expect, it } from "vitest";
import { offset } from "../../log/index.js";
import { encodeRecord } from "../../projections/events.js";
import { DEFAULT_QUEUE_CONFIG, decodeEvents, type QueueEvent } from "../../projections/index.js";

const cause = { command: "queue.ack" };
const about = { queue: "q", message: { offset: offset(2 ** 40), place: 70_000 } };
const events: readonly QueueEvent[] = [
  { type: "queue.created", queue: "ü", config: DEFAULT_QUEUE_CONFIG },
  {
    type: "queue.created",
    queue: "q",
    config: { ...DEFAULT_QUEUE_CONFIG, backoff: { type: "exponential", delayMs: 5, maxDelayMs: 2 ** 33 } },
  },
  { type: "queue.deleted", queue: "q" },
  {
    type: "queue.published",
    queue: "q",
    payload: new Uint8Array([0, 255]),
    headers: { a: "b", "": "ü", ["__proto__"]: "x" },
    priority: 9,
    maxRetries: 70_000,
    availableAt: 2 ** 41,
    expiresAt: 0,
    dedupKey: "k",
    dedupUntil: 3,
  },
  { type: "queue.delivered", ...about, consumer: "c", deadline: 2 ** 41 },
  { type: "queue.acked", ...about },
  { type: "queue.requeued", ...about, by: "nack", retryCount: 1, availableAt: 0 },
  { type: "queue.requeued", ...about, by: "deadline", retryCount: 300, availableAt: 9 },
  { type: "queue.requeued", ...about, by: "unsent", retryCount: 0, availableAt: 0 },
  { type: "queue.died", ...about, by: "nack", reason: "rejected", retryCount: 1 },
  { type: "queue.died", ...about, by: "deadline", reason: "max_retries", retryCount: 1 },
  { type: "queue.deadline_extended", ...about, deadline: 1 },
  { type: "queue.released", ...about },
  { type: "queue.expired", ...about },
  { type: "queue.purged", queue: "q" },
  { type: "queue.dead_requeued", ...about },
  { type: "queue.dead_purged", queue: "q" },
];

const kept = (record: ReturnType<typeof encodeRecord>) => ({ ...record, body: Uint8Array.from(record.body) });

describe("queue events", () => {
  it("are written as the worked example says", () => {
    const record = encodeRecord(
      [{ type: "queue.acked", queue: "q", message: { offset: offset(7), place: 0 } }],
      cause,
    );
    expect(record.kind).toBe(36);
    expect(Buffer.from(record.body).toString("hex")).toBe("94a171070091a971756575652e61636b");
  });

  it.each(events.map((event) => [event.type, event] as const))(
    "come back from the log: %s",
    (_type, event) => {
      expect(decodeEvents(kept(encodeRecord([event], cause)))).toEqual({ events: [event], cause });
    },
  );

  it("come back together, with one cause", () => {
    const record = kept(encodeRecord(events, { ...cause, requestId: "r" }));
    expect(decodeEvents(record)).toEqual({ events, cause: { ...cause, requestId: "r" } });
  });

  it.each(events.map((event) => [event.type, event] as const))(
    "cut short are malformed: %s",
    (_type, event) => {
      const { body, ...record } = kept(encodeRecord([event], cause));
      for (let length = 0; length < body.length; length++) {
        expect(() => decodeEvents({ ...record, body: body.subarray(0, length) })).toThrow(
          expect.objectContaining({ code: expect.stringMatching(/^PROJECTION_EVENT_(MALFORMED|UNKNOWN)$/) }),
        );
      }
    },
  );

  it("of another version need another release", () => {
    const record = kept(encodeRecord([{ type: "queue.purged", queue: "q" }], cause));
    expect(() => decodeEvents({ ...record, version: 2 })).toThrow(
      expect.objectContaining({ code: "PROJECTION_EVENT_UNKNOWN" }),
    );
  });
});
