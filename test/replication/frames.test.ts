/** Frames out of bytes in any pieces; whatever the bytes, nothing but frames or a coded fault comes out, and memory is bounded. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { crc32 } from "../../log/index.js";
import { runs, seededRandom } from "../../props/run-settings.js";
import { lend } from "../../props/world/lend.js";
import { ReplicationError } from "../../replication/errors.js";
import {
  CHUNK_BYTES_MAX,
  CONTROL_BYTES_MAX,
  checkOf,
  encodeFrame,
  FRAME_HEADER_BYTES,
  FRAME_TYPES,
  type Frame,
  FrameReader,
  GREETING_BYTES_MAX,
  RUN_BYTES_MAX,
} from "../../replication/frames.js";
import { encodeMessage } from "../../replication/message-codec.js";
import type { MessageType } from "../../replication/messages.js";

const whole = (pieces: readonly Uint8Array[]): Buffer => Buffer.concat(pieces);

function frameOf(type: MessageType, payload: Uint8Array, epoch = 0): Buffer {
  return whole(encodeFrame(type, epoch, [payload]));
}

function readerOf(takes: "greetings" | "words" | "records"): FrameReader {
  const reader = new FrameReader();
  if (takes !== "greetings") reader.greeted(takes);
  return reader;
}

function readAll(reader: FrameReader): Frame[] {
  const frames: Frame[] = [];
  for (let frame = reader.next(); frame !== undefined; frame = reader.next())
    frames.push({ ...frame, payload: Uint8Array.from(frame.payload) });
  return frames;
}

function codeOf(act: () => unknown): string | undefined {
  try {
    act();
  } catch (error) {
    if (error instanceof ReplicationError) return error.code;
    throw error;
  }
  return undefined;
}

/** A header that claims anything, with a check that holds, and a crc that holds for what follows it here. */
function claim(length: number, type: number, following = new Uint8Array(0)): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + following.length);
  bytes.writeUInt32LE(length, 0);
  bytes.writeUInt8(type, 8);
  bytes.writeUIntLE(checkOf(bytes), 9, 3);
  bytes.set(following, FRAME_HEADER_BYTES);
  bytes.writeUInt32LE(crc32(bytes.subarray(8), 0), 4);
  return bytes;
}

describe("frames", () => {
  it("have the layout of the worked example", () => {
    const bytes = whole(encodeMessage({ type: "probe", offset: 7 as never }, 3));
    expect(bytes.toString("hex")).toBe("090000009769e46905e361580300000081a66f666673657407");
  });

  it("come out as they went in, however the bytes are cut", () => {
    const types = Object.keys(FRAME_TYPES) as MessageType[];
    const one = fc.record({
      type: fc.constantFrom(...types),
      epoch: fc.nat(0xffffffff),
      size: fc.oneof(fc.nat(200), fc.nat(60_000)),
    });
    fc.assert(
      fc.property(
        fc.array(one, { maxLength: 12 }),
        fc.nat(),
        fc.constantFrom(1, 7, 100, 5_000, 70_000),
        (all, start, most) => {
          const random = seededRandom(start);
          const frames = all.map(({ type, epoch, size }) => {
            const payload = Buffer.from(Array.from({ length: size }, () => Math.floor(random() * 256)));
            return { type, epoch, payload: Uint8Array.from(payload) };
          });
          const bytes = whole(
            frames.flatMap(({ type, epoch, payload }) => encodeFrame(type, epoch, [payload])),
          );
          const reader = readerOf("records");
          const found: Frame[] = [];
          for (let at = 0; at < bytes.length; ) {
            const end = Math.min(bytes.length, at + 1 + Math.floor(random() * most));
            lend(bytes.subarray(at, end), (piece) => reader.push(piece));
            // Some are read at once, some when more has come.
            if (random() < 0.7) found.push(...readAll(reader));
            at = end;
          }
          found.push(...readAll(reader));
          expect(found.length).toBe(frames.length);
          found.forEach(({ type, epoch, payload }, i) => {
            expect({ type, epoch }).toEqual({ type: frames[i]!.type, epoch: frames[i]!.epoch });
            expect(Buffer.compare(payload, frames[i]!.payload)).toBe(0);
          });
          expect(reader.bufferedBytes).toBe(0);
        },
      ),
      runs(40),
    );
  });

  it("stay as they are until the next one is asked for, whatever comes meanwhile", () => {
    const sizes = fc.array(fc.oneof(fc.nat(300), fc.nat(60_000)), { minLength: 2, maxLength: 6 });
    fc.assert(
      fc.property(sizes, fc.constantFrom(1, 3, 17), (all, step) => {
        const reader = readerOf("records");
        const bytes = whole(all.map((size, i) => frameOf("run", Buffer.alloc(size, i + 1))));
        let at = 0;
        const piece = (): void => {
          const end = Math.min(bytes.length, at + Math.ceil(bytes.length / step / 4));
          lend(bytes.subarray(at, end), (lent) => reader.push(lent));
          at = end;
        };
        let read = 0;
        while (read < all.length) {
          const frame = reader.next();
          if (frame === undefined) {
            piece();
            continue;
          }
          for (let more = 0; more < step; more++) piece();
          expect(frame.payload.length).toBe(all[read]);
          expect(frame.payload.every((byte) => byte === read + 1)).toBe(true);
          read++;
        }
        expect(reader.next()).toBeUndefined();
        expect(reader.bufferedBytes).toBe(0);
      }),
      runs(100),
    );
  });

  it("are never made of damaged bytes: any flipped bit is a fault at once", () => {
    const bytes = frameOf("ack", Buffer.from("some payload that is not looked at"), 9);
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = Buffer.from(bytes);
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      const reader = readerOf("records");
      reader.push(damaged);
      let frame: Frame | undefined;
      const code = codeOf(() => {
        frame = reader.next();
      });
      expect(frame, `bit ${bit}`).toBeUndefined();
      expect(code, `bit ${bit}`).toBe("REPLICATION_FRAME_BAD");
    }
  });

  it("garbage is a fault at once or soon, never a frame", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), (bytes) => {
        const reader = readerOf("records");
        reader.push(bytes);
        const code = codeOf(() => expect(readAll(reader)).toEqual([]));
        if (bytes.length >= FRAME_HEADER_BYTES && code === undefined)
          expect(Buffer.from(bytes).readUInt32LE(0)).toBeGreaterThan(bytes.length - FRAME_HEADER_BYTES);
      }),
      runs(300),
    );
  });

  it.each([
    ["greetings", "hello", GREETING_BYTES_MAX],
    ["greetings", "run", GREETING_BYTES_MAX],
    ["words", "ack", CONTROL_BYTES_MAX],
    ["words", "run", CONTROL_BYTES_MAX],
    ["words", "chunk", CONTROL_BYTES_MAX],
    ["records", "heartbeat", CONTROL_BYTES_MAX],
    ["records", "chunk", CHUNK_BYTES_MAX],
    ["records", "run", RUN_BYTES_MAX],
  ] as const)(
    "who takes %s refuses a length of %s above its bound, before a byte of it is kept",
    (takes, type, bound) => {
      const accepted = readerOf(takes);
      accepted.push(claim(bound, FRAME_TYPES[type]));
      expect(accepted.next()).toBeUndefined();
      for (const length of [bound + 1, 0x7fffffff, 0xffffffff]) {
        const reader = readerOf(takes);
        reader.push(claim(length, FRAME_TYPES[type]));
        expect(codeOf(() => reader.next())).toBe("REPLICATION_FRAME_BAD");
        reader.push(Buffer.alloc(1_000));
        expect(reader.bufferedBytes).toBe(0);
        expect(codeOf(() => reader.next())).toBe("REPLICATION_FRAME_BAD");
      }
    },
  );

  it("unknown types and a check that does not hold are faults, also with a crc that holds", () => {
    for (const type of [0, 23, 255]) {
      const reader = readerOf("records");
      reader.push(claim(0, type));
      expect(codeOf(() => reader.next())).toBe("REPLICATION_FRAME_BAD");
    }
    const unchecked = claim(0, FRAME_TYPES.ack);
    unchecked.writeUInt8(unchecked.readUInt8(9) ^ 1, 9);
    unchecked.writeUInt32LE(crc32(unchecked.subarray(8), 0), 4);
    const reader = readerOf("records");
    reader.push(unchecked);
    expect(codeOf(() => reader.next())).toBe("REPLICATION_FRAME_BAD");
  });

  it("a large frame in pieces of one byte costs about its bytes", () => {
    const reader = readerOf("records");
    reader.push(claim(RUN_BYTES_MAX, FRAME_TYPES.run));
    const bytes = 3_000_000;
    const before = process.memoryUsage();
    const piece = Buffer.alloc(1);
    for (let i = 0; i < bytes; i++) reader.push(piece);
    expect(reader.next()).toBeUndefined();
    const after = process.memoryUsage();
    const grown = after.heapUsed + after.arrayBuffers - before.heapUsed - before.arrayBuffers;
    expect(reader.bufferedBytes).toBe(bytes + FRAME_HEADER_BYTES);
    expect(grown).toBeLessThan(40_000_000);
  });
});
