// The parts of the durable streams door that need no store: tokens, cursors, headers, JSON mode, event frames.
import { IncomingMessage, ServerResponse } from "node:http";
import { Socket } from "node:net";
import { describe, expect, it } from "vitest";
import { nextCursor } from "../../api/doors/durable-cursor.js";
import { base64Frame, controlFrame, needsBase64, textFrame } from "../../api/doors/durable-frames.js";
import { closesStream, forkOf, lifetimeOf, matchesTag, producerOf } from "../../api/doors/durable-headers.js";
import { joinJson, splitJson } from "../../api/doors/durable-json.js";
import { LiveReaders, LiveWait } from "../../api/doors/durable-live.js";
import { formatToken, isOfLostHistory, parseReadOffset } from "../../api/doors/durable-offsets.js";
import { epoch, offset } from "../../log/index.js";
import { Wakes } from "../../projections/index.js";
import { StoredSlice } from "../../projections/stream/stored-slice.js";

const T = (position: number, place = 0) => ({ offset: offset(position), place });

const EPOCHS = [{ epoch: epoch(1), first: offset(1), lineageId: `0f3c9a1e${"0".repeat(24)}` }];

/** Each text as an append of its own, read. */
const slicesOf = (texts: readonly string[]) =>
  texts.map((text, first) => {
    const lengths = [Buffer.byteLength(text)];
    const stored = { source: Buffer.from(`>${text}<`), start: 1, lengths, tags: [], metadata: [] };
    return new StoredSlice({ event: T(first + 1), first, skip: 0, count: 1 }, 0, stored);
  });

describe("an offset token", () => {
  it("sorts as text as it sorts as a number, and comes back", () => {
    const tokens = [T(1), T(9), T(10), T(10, 2), T(99_999), T(Number.MAX_SAFE_INTEGER)];
    const texts = tokens.map((token) => formatToken(EPOCHS, token));
    expect([...texts].sort()).toEqual(texts);
    for (const [index, text] of texts.entries()) {
      expect(parseReadOffset(text)).toEqual({ type: "at", token: tokens[index], lineage: "0f3c9a1e" });
    }
    expect(formatToken([], T(5))).toBe("0000000000000005_0000000000000000");
    expect(formatToken(EPOCHS, T(0))).toBe("0000000000000000_0000000000000000");
  });

  it("is of a lost history when its lineage was left behind before it", () => {
    const restored = [EPOCHS[0]!, { epoch: epoch(4), first: offset(10), lineageId: "b".repeat(32) }];
    const isLost = (text: string): boolean => {
      const read = parseReadOffset(text);
      if (read?.type !== "at") throw new Error(`${text} is no token`);
      return isOfLostHistory(restored, read);
    };
    const told = (at: number, suffix: string): string =>
      `${String(at).padStart(16, "0")}_${"0".repeat(16)}${suffix}`;
    expect([9, 10].map((at) => isLost(told(at, "_0f3c9a1e")))).toEqual([false, true]);
    expect([9, 10].map((at) => isLost(told(at, "_bbbbbbbb")))).toEqual([true, false]);
    expect([0, 9, 10].map((at) => isLost(told(at, "")))).toEqual([false, false, true]);
    expect(isLost(told(12, "_cccccccc"))).toBe(true);
  });

  it("of zeros is before everything", () => {
    expect(parseReadOffset("0000000000000000_0000000000000000")).toEqual({ type: "at", token: T(0) });
  });

  it.each(["", "1", "-2", "Now", "0_0", "0000000000000001", "0000000000000001_000000000000000a"])(
    "is not %j",
    (text) => expect(parseReadOffset(text)).toBeUndefined(),
  );

  it("is not one with anything around it", () => {
    const token = formatToken(EPOCHS, T(7));
    for (const text of [
      ` ${token}`,
      `${token}\n`,
      `${token},`,
      `+${token}`,
      `${token}0`,
      token.slice(0, -1),
      token.toUpperCase(),
    ]) {
      expect(parseReadOffset(text), text).toBeUndefined();
    }
  });

  it("past 2^53 stays past everything that exists", () => {
    const found = parseReadOffset("9999999999999999_9999999999999999");
    expect(found).toEqual({ type: "at", token: T(Number.MAX_SAFE_INTEGER, Number.MAX_SAFE_INTEGER) });
  });
});

describe("a cursor", () => {
  const EPOCH = Date.UTC(2024, 9, 9);

  it("is the number of the 20-second interval", () => {
    expect(nextCursor(EPOCH + 19_999, undefined, 0)).toBe("0");
    expect(nextCursor(EPOCH + 20_000, undefined, 0)).toBe("1");
  });

  it("is always greater than one that a client has already, by up to an hour", () => {
    const now = EPOCH + 100 * 20_000;
    for (const random of [0, 0.5, 0.999_999]) {
      const next = Number(nextCursor(now, "100", random));
      expect(next).toBeGreaterThan(100);
      expect(next).toBeLessThanOrEqual(100 + 180);
    }
    expect(nextCursor(now, "99", 0.5)).toBe("100");
  });

  it("of anything but digits counts as none", () => {
    expect(nextCursor(EPOCH + 40_000, "9e9", 0)).toBe("2");
  });
});

describe("headers", () => {
  it.each(["true", "TRUE", " True "])("close a stream with %j", (value) => {
    expect(closesStream({ "stream-closed": value })).toBe(true);
  });

  it.each(["1", "yes", "false", "true, true", ""])("do not close a stream with %j", (value) => {
    expect(closesStream({ "stream-closed": value })).toBe(false);
  });

  it.each([
    ["0", 0],
    ["1", 1_000],
    ["3600", 3_600_000],
  ])("take %s as a time to live", (text, ttlMs) => {
    expect(lifetimeOf({ "stream-ttl": text })).toEqual({ type: "found", value: { ttlMs } });
  });

  it.each(["01", "+1", "-1", "1.0", "1e3", "", " ", "1, 2", "99999999999999999"])(
    "refuse %j as a time to live",
    (text) => expect(lifetimeOf({ "stream-ttl": text })).toMatchObject({ code: "API_HEADER_INVALID" }),
  );

  it("take RFC 3339 times with any zone, and nothing else", () => {
    const at = (text: string) => lifetimeOf({ "stream-expires-at": text });
    const expected = { type: "found", value: { expiresAt: Date.UTC(2030, 0, 1, 10) } };
    expect(at("2030-01-01T10:00:00Z")).toEqual(expected);
    expect(at("2030-01-01T12:00:00.000+02:00")).toEqual(expected);
    expect(at("2030-01-01t10:00:00z")).toEqual(expected);
    expect(at("2028-02-29T23:59:59-23:59")).toMatchObject({ type: "found" });
    for (const text of [
      "tomorrow",
      "2030-01-01",
      "2030-13-01T00:00:00Z",
      "2030-01-01T10:00:00",
      "1893492000",
      "2030-01-01T10:00Z",
      "2030-01-01 10:00:00Z",
      "2027-02-29T00:00:00Z",
      "2027-02-30T00:00:00Z",
      "2027-04-31T00:00:00+02:00",
      "2027-02-28T24:00:00Z",
    ]) {
      expect(at(text), text).toMatchObject({ code: "API_HEADER_INVALID" });
    }
  });

  it("take a time that is long past for one that is past, not for none", () => {
    for (const text of ["1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "0001-01-01T00:00:00Z"]) {
      expect(lifetimeOf({ "stream-expires-at": text }), text).toEqual({
        type: "found",
        value: { expiresAt: 1 },
      });
    }
  });

  it("refuse a time to live beside an expiry", () => {
    const both = { "stream-ttl": "1", "stream-expires-at": "2030-01-01T10:00:00Z" };
    expect(lifetimeOf(both)).toMatchObject({ code: "API_HEADER_INVALID" });
  });

  it("name a producer whole or not at all", () => {
    const whole = { "producer-id": "p", "producer-epoch": "0", "producer-seq": "9007199254740991" };
    const value = { id: "p", epoch: 0, seq: Number.MAX_SAFE_INTEGER };
    expect(producerOf(whole)).toEqual({ type: "found", value });
    expect(producerOf({})).toEqual({ type: "found", value: undefined });
    for (const name of Object.keys(whole)) {
      expect(producerOf({ ...whole, [name]: undefined }), name).toMatchObject({ type: "refused" });
    }
    for (const bad of [
      { "producer-seq": "9007199254740992" },
      { "producer-seq": "1, 2" },
      { "producer-epoch": "0x1" },
      { "producer-id": " " },
    ]) {
      expect(producerOf({ ...whole, ...bad }), JSON.stringify(bad)).toMatchObject({ type: "refused" });
    }
  });

  it("refuse a place to fork at without a source", () => {
    expect(forkOf({ "stream-fork-sub-offset": "0" })).toMatchObject({ type: "refused" });
    expect(forkOf({ "stream-fork-offset": "-1" })).toMatchObject({ type: "refused" });
  });

  it("match an entity tag as a list, weak or strong, or any", () => {
    for (const header of ['"a"', 'W/"a"', '"b", "a"', "*"]) expect(matchesTag(header, '"a"')).toBe(true);
    for (const header of ['"A"', "a", ""]) expect(matchesTag(header, '"a"')).toBe(false);
  });
});

describe("JSON mode", () => {
  const messages = (text: string) => {
    const split = splitJson(Buffer.from(text), 64);
    return split.type === "messages" ? split.messages.map(String) : split.code;
  };

  it("makes an array one message an element, one level deep, and anything else one message", () => {
    expect(messages("[1,[2,3],{}]")).toEqual(["1", "[2,3]", "{}"]);
    expect(messages(' {"a":[1]}\n')).toEqual(['{"a":[1]}']);
    expect(messages("null")).toEqual(["null"]);
    expect(messages("[]")).toEqual([]);
  });

  it("changes no value: digits, exponents, repeated members and escapes come back as they were sent", () => {
    const values = ["12345678901234567890", "1e400", "1.0", "-0", '{"a":1,"a":2}', '"\\u0061"', '" ] , "'];
    expect(messages(`[ ${values.join(" , ")} ]`)).toEqual(values);
    expect(String(joinJson(slicesOf(values)))).toBe(`[${values.join(",")}]`);
    expect(String(joinJson([]))).toBe("[]");
  });

  it.each(["{", "[1,]", "NaN", "'a'", "", "\ufeff1", "1 2"])("refuses %j", (text) => {
    expect(messages(text)).toBe("API_JSON_INVALID");
  });

  it("refuses what is not UTF-8, and what is nested too deep", () => {
    expect(splitJson(Buffer.from([0x22, 0xff, 0x22]), 64)).toMatchObject({ code: "API_TEXT_INVALID" });
    expect(messages("[".repeat(65) + "]".repeat(65))).toBe("API_JSON_TOO_DEEP");
  });
});

describe("an event frame", () => {
  /** As a browser reads it: lines end with CRLF, LF or CR; an empty line ends an event. */
  function events(text: string): { event: string; data: string }[] {
    const found: { event: string; data: string }[] = [];
    let event = "";
    let data: string[] = [];
    for (const line of text.split(/\r\n|\r|\n/)) {
      if (line === "") {
        if (data.length > 0) found.push({ event, data: data.join("\n") });
        event = "";
        data = [];
      } else if (line.startsWith("event:")) event = line.slice(6).trim();
      else if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
    }
    return found;
  }

  it.each([
    "a\n\nevent: control\ndata: {}\n\n",
    "a\r\revent: control\rdata: {}\r\r",
    "a\r\n\r\nevent: control\r\ndata: {}",
    "\n",
    " leading",
    "id: 7\nretry: 1",
    ":comment",
  ])("holds a payload of %j and nothing else", (payload) => {
    const expected = payload.replace(/\r\n|\r/g, "\n");
    expect(events(textFrame(Buffer.from(payload)))).toEqual([{ event: "data", data: expected }]);
  });

  it("gives back every byte of a binary payload", () => {
    const payload = Buffer.alloc(200_000, Buffer.from([0, 10, 13, 255, 7]));
    const [event, ...rest] = events(base64Frame(payload));
    expect(rest).toEqual([]);
    expect(Buffer.from(event?.data.replaceAll("\n", "") ?? "", "base64").equals(payload)).toBe(true);
  });

  it("of control is one line of JSON", () => {
    const frame = controlFrame({ streamNextOffset: formatToken(EPOCHS, T(3)), upToDate: true });
    expect(frame).toMatch(/^event: control\ndata:\{[^\n]*\}\n\n$/);
  });

  it("is text for text and JSON, base64 for everything else", () => {
    for (const type of ["text/plain", "TEXT/HTML; charset=x", "application/json; charset=utf-8"]) {
      expect(needsBase64(type)).toBe(false);
    }
    for (const type of ["application/octet-stream", "image/png", "application/jsonl", "application/ndjson"]) {
      expect(needsBase64(type)).toBe(true);
    }
  });
});

describe("a live wait", () => {
  function waiting(timeoutMs = 60_000) {
    const readers = new LiveReaders();
    const wakes = new Wakes();
    const response = new ServerResponse(new IncomingMessage(new Socket()));
    const wait = new LiveWait({ readers, kind: "poll", wakes, topic: "stream:s", timeoutMs, response });
    return { readers, wakes, response, wait };
  }

  it("does not miss a ring that came while nobody was waiting, and does not count it twice", async () => {
    const { wait, wakes, response } = waiting();
    wakes.ring("stream:s");
    await wait.ring();
    let rang = false;
    const second = wait.ring().then(() => {
      rang = true;
    });
    await new Promise(setImmediate);
    expect(rang).toBe(false);
    response.emit("close");
    await second;
    expect(wait.over).toBe("gone");
    wait.close();
  });

  it.each([
    ["its time passes", "time", (): void => undefined],
    ["the server drains", "drain", ({ readers }: ReturnType<typeof waiting>) => readers.endAll()],
    ["its client leaves", "gone", ({ response }: ReturnType<typeof waiting>) => response.emit("close")],
  ] as const)("ends when %s, whatever it waits for", async (_name, over, end) => {
    for (const what of ["ring", "drained"] as const) {
      const parts = waiting(over === "time" ? 20 : 60_000);
      const waited = what === "ring" ? parts.wait.ring() : parts.wait.drained(parts.response);
      end(parts);
      await waited;
      expect(parts.wait.over).toBe(over);
      parts.wait.close();
    }
  });

  it("leaves nothing behind when it is closed", () => {
    const { wait, wakes, readers, response } = waiting();
    expect([readers.count, wakes.areHeard, response.listenerCount("close")]).toEqual([1, true, 1]);
    wait.close();
    expect([readers.count, wakes.areHeard, response.listenerCount("close")]).toEqual([0, false, 0]);
  });
});
