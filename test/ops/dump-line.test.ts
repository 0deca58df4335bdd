import { describe, expect, it } from "vitest";
import { epoch, type LogRecord, offset } from "../../log/index.js";
import { dumpLine } from "../../ops/cli/dump-line.js";
import { encodeRecord } from "../../projections/events.js";
import type { StoreEvent } from "../../projections/index.js";

function recordOf(events: readonly StoreEvent[]): LogRecord {
  const { kind, version, body } = encodeRecord(events, { command: "kv.set", requestId: "r1" });
  const copy = Uint8Array.prototype.slice.call(body);
  return { offset: offset(7), timestamp: 0, epoch: epoch(1), kind, version, body: copy, crc: 0xab };
}

const set = (value: string | Uint8Array): StoreEvent => ({
  type: "kv.set",
  key: "k",
  value,
  contentType: "application/octet-stream",
  expiresAt: 1000,
  previous: offset(3),
});

describe("a dumped record", () => {
  it("shows text as text, times as ISO, and who asked", () => {
    expect(dumpLine(recordOf([set("héllo")]))).toEqual({
      offset: 7,
      time: "1970-01-01T00:00:00.000Z",
      epoch: 1,
      crc: "000000ab",
      kind: "kv.set",
      events: [
        {
          type: "kv.set",
          key: "k",
          value: "héllo",
          contentType: "application/octet-stream",
          expiresAt: "1970-01-01T00:00:01.000Z",
          previous: 3,
        },
      ],
      cause: { command: "kv.set", requestId: "r1" },
    });
  });

  it("shows bytes that are no text as base64", () => {
    const [event] = dumpLine(recordOf([set(Uint8Array.of(0xff, 0x00, 0xfe))]))["events"] as Record<
      string,
      unknown
    >[];
    expect(event).toMatchObject({ valueBase64: "/wD+" });
    expect(event).not.toHaveProperty("value");
  });

  it("shows queue events with the ids that clients know, and payloads and times readably", () => {
    const message = { offset: offset(3), place: 1 };
    const events: StoreEvent[] = [
      {
        type: "queue.published",
        queue: "q",
        payload: new TextEncoder().encode("héllo"),
        headers: { a: "b" },
        priority: 5,
        maxRetries: 3,
        availableAt: 1000,
        expiresAt: 0,
        dedupKey: "",
        dedupUntil: 0,
      },
      { type: "queue.delivered", queue: "q", message, consumer: "c", deadline: 2000 },
      { type: "queue.acked", queue: "q", message: { offset: offset(0), place: 0 } },
    ];
    expect(dumpLine(recordOf(events))).toMatchObject({
      kind: "several",
      events: [
        {
          type: "queue.published",
          queue: "q",
          messageId: "7-0",
          payload: "héllo",
          headers: { a: "b" },
          availableAt: "1970-01-01T00:00:01.000Z",
        },
        {
          type: "queue.delivered",
          messageId: "3-1",
          receipt: "7-1",
          consumer: "c",
          deadline: "1970-01-01T00:00:02.000Z",
        },
        { type: "queue.acked", messageId: "7-0" },
      ],
    });
    const bytes = { ...events[0], payload: Uint8Array.of(0xff) } as StoreEvent;
    expect((dumpLine(recordOf([bytes]))["events"] as object[])[0]).toMatchObject({ payloadBase64: "/w==" });
    expect((dumpLine(recordOf([bytes]))["events"] as object[])[0]).not.toHaveProperty("expiresAt");
  });

  it("shows the messages of a stream and what a request was known by, however deep their bytes lie", () => {
    const bytes = (text: string) => new TextEncoder().encode(text);
    const events: StoreEvent[] = [
      {
        type: "stream.appended",
        name: "room/r",
        messages: [{ bytes: bytes('{"a":1}') }, { bytes: Uint8Array.of(0xff) }],
        closes: false,
      },
      {
        type: "idempotency.answered",
        key: "once",
        fingerprint: new Uint8Array(32).fill(0xff),
        expiresAt: 1000,
        status: 200,
        revision: undefined,
        body: "{}",
      },
    ];
    expect(dumpLine(recordOf(events))["events"]).toMatchObject([
      {
        name: "room/r",
        messages: [{ bytes: '{"a":1}' }, { bytesBase64: "/w==" }],
      },
      { key: "once", fingerprintBase64: Buffer.alloc(32, 0xff).toString("base64") },
    ]);
  });

  it("shows a record that this release cannot read, instead of stopping", () => {
    const record = { ...recordOf([set("x")]), kind: 60_000 };
    expect(dumpLine(record)).toMatchObject({
      kind: 60_000,
      error: "PROJECTION_EVENT_UNKNOWN",
      bodyBase64: Buffer.from(record.body).toString("base64"),
    });
  });
});
