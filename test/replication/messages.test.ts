/** Every message goes round; whatever else a payload holds is refused with a code. */
import { encode } from "@msgpack/msgpack";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { epoch, offset } from "../../log/index.js";
import { runs } from "../../props/run-settings.js";
import { ReplicationError } from "../../replication/errors.js";
import { CONTROL_BYTES_MAX, FRAME_TYPES, FrameReader, GREETING_BYTES_MAX } from "../../replication/frames.js";
import {
  decodeHelloBody,
  decodeMessage,
  decodeWelcomeBody,
  encodeHelloBody,
  encodeMessage,
  encodeWelcomeBody,
} from "../../replication/message-codec.js";
import type { Message, MessageType, PeerNote } from "../../replication/messages.js";
import {
  bare,
  header,
  headerOfVersion,
  id,
  MESSAGES,
  max,
  node,
  nonce,
  note,
  proof,
} from "../support/protocol-samples.js";

function roundTrip(message: Message, under = 3): Message {
  const reader = new FrameReader();
  reader.greeted("records");
  for (const piece of encodeMessage(message, under)) reader.push(piece);
  const frame = reader.next();
  expect(frame?.epoch).toBe(under);
  return decodeMessage(frame!);
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

const decodeFields = (type: MessageType, fields: unknown): Message =>
  decodeMessage({ type, epoch: 0, payload: encode(fields) });

/** Bytes without their class: a Buffer and a Uint8Array of the same bytes are the same. */
const plain = (value: unknown): unknown =>
  JSON.parse(
    JSON.stringify(value, (_, field) =>
      field instanceof Uint8Array
        ? Buffer.from(field).toString("hex")
        : field?.type === "Buffer"
          ? Buffer.from(field.data).toString("hex")
          : field,
    ),
  );

describe("messages", () => {
  it.each(MESSAGES.map((message, i) => [`${i} ${message.type}`, message] as const))(
    "%s goes round",
    (_, message) => {
      expect(plain(roundTrip(message))).toEqual(plain(message));
    },
  );

  it("every type is among them", () => {
    expect(new Set(MESSAGES.map(({ type }) => type))).toEqual(new Set(Object.keys(FRAME_TYPES)));
  });

  it("greetings go round, of a node with everything and of one with nothing", () => {
    for (const of of [node, bare]) {
      const hello = {
        nonce,
        answers: proof,
        purpose: "ask",
        resync: false,
        heartbeatMs: 1_000,
        node: of,
      } as const;
      expect(plain(decodeHelloBody(encodeHelloBody(hello)))).toEqual(plain(hello));
      const welcome = { answers: nonce, heartbeatMs: 2_000, node: of };
      expect(plain(decodeWelcomeBody(encodeWelcomeBody(welcome)))).toEqual(plain(welcome));
    }
  });

  it("the longest greeting and the longest heartbeat fit into their bounds", () => {
    const long: PeerNote = {
      ...note,
      name: "𝄞".repeat(32),
      listen: { host: "h".repeat(256), port: 65_535 },
      http: "h".repeat(256),
      since: max,
      confirmed: max,
    };
    const statement = { ...node, ...long, primary: long };
    const body = encodeHelloBody({
      nonce,
      answers: nonce,
      purpose: "follow",
      resync: true,
      incarnation: id("1c"),
      heartbeatMs: 1,
      node: statement,
    });
    const more = new Uint8Array(3 * 32);
    const [hello] = encodeMessage({ type: "hello", protocol: 1, body, proof, more }, 0);
    expect(hello!.length).toBeLessThan(GREETING_BYTES_MAX);
    const heartbeat = MESSAGES.find((message) => message.type === "heartbeat")!;
    const many = { ...heartbeat, primary: long, peers: Array.from({ length: 80 }, () => long) } as Message;
    const bytes = encodeMessage(many, 0).reduce((sum, piece) => sum + piece.length, 0);
    expect(bytes).toBeLessThan(CONTROL_BYTES_MAX);
    const found = roundTrip(many);
    expect(found.type === "heartbeat" && found.peers.length).toBe(64);
  });

  it("of as many nodes below as there may be fit into a frame, whatever they are called", () => {
    const place = { host: "h".repeat(256), port: 65_535 };
    const follower = {
      nodeId: id("ab"),
      name: "\u4e2d".repeat(64),
      listen: place,
      http: "h".repeat(256),
      follows: id("aa"),
      version: max,
      durable: offset(max),
      silentMs: max,
    };
    const nodes = Array.from({ length: 70 }, () => follower);
    const under = { epoch: epoch(2 ** 32 - 1), lineageId: id("5e") };
    const pieces = encodeMessage({ type: "below", under, nodes }, 1);
    const bytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
    expect(bytes).toBeGreaterThan(CONTROL_BYTES_MAX / 2);
    expect(bytes).toBeLessThan(CONTROL_BYTES_MAX);
  });

  it("names and words of people lose what a terminal would act upon", () => {
    const refused = roundTrip({ type: "refused", code: "X", message: `a\u001b[2Jb\n${"x".repeat(5_000)}` });
    expect(refused.type === "refused" && refused.message.startsWith("a [2Jb xxx")).toBe(true);
    expect(refused.type === "refused" && refused.message.length).toBe(1_024);
    expect(codeOf(() => decodeFields("refused", { code: "X", message: "a\u001bb" }))).toBe(
      "REPLICATION_MESSAGE_BAD",
    );
  });

  it.each([
    ["probe", { offset: -1 }],
    ["probe", { offset: 0 }],
    ["probe", { offset: 1.5 }],
    ["probe", { offset: 2 ** 53 }],
    ["probe", { offset: Number.NaN }],
    ["probe", { offset: "1" }],
    ["probe", {}],
    ["probe", []],
    ["probe", null],
    ["probe", 7],
    ["challenge", { protocol: 1, nonce: new Uint8Array(31) }],
    ["challenge", { protocol: 70_000, nonce }],
    ["hello", { protocol: 1, body: "text", proof }],
    ["hello", { protocol: 1, body: new Uint8Array(1), proof, more: new Uint8Array(31) }],
    ["hello", { protocol: 1, body: new Uint8Array(1), proof, more: new Uint8Array(97) }],
    ["welcome", { body: new Uint8Array(1), proof: new Uint8Array(33) }],
    ["mark", { position: { offset: 1, crc: 2 ** 32, epoch: 1, lineageId: id("aa") } }],
    ["mark", { position: { offset: 1, crc: 1, epoch: 1, lineageId: id("AA") } }],
    ["cut", {}],
    ["install", { clusterId: id("c1"), from: 2, until: 1 }],
    ["install", { clusterId: "c1", from: 1, until: 1 }],
    ["install", { clusterId: id("c1"), from: 1, until: 1, snapshot: { name: "../x", bytes: 1, offset: 1 } }],
    [
      "install",
      {
        clusterId: id("c1"),
        from: 1,
        until: 1,
        snapshot: { name: "snapshot_1_2.snap", bytes: 1, offset: 1 },
      },
    ],
    [
      "install",
      {
        clusterId: id("c1"),
        from: 1,
        until: 1,
        snapshot: { name: "snapshot_1_1.snap", bytes: 0, offset: 1 },
      },
    ],
    ["ack", { bytes: 0, received: 1, committed: 2, durable: 0 }],
    ["ack", { bytes: 0, received: 1, committed: 0, durable: 2 }],
    ["heartbeat", { end: 0, durable: 0, firstOffset: 0, peers: Array(65).fill({}), peersVersion: 0 }],
    ["heartbeat", { end: 0, durable: 0, firstOffset: 0, peers: [1], peersVersion: 0 }],
    ["fence", { leadership: { epoch: 0, lineageId: id("aa") } }],
    ["fence", { leadership: { epoch: 2 ** 32, lineageId: id("aa") } }],
    ["fenced", { node: { ...node, listen: { host: "a b", port: 1 } } }],
    ["fenced", { node: { ...node, listen: { host: "a", port: 0 } } }],
  ] as const)("a %s with %j is refused", (type, fields) => {
    expect(codeOf(() => decodeFields(type, fields))).toBe("REPLICATION_MESSAGE_BAD");
  });

  it("a run needs a record, known flags and a whole segment header; another format has its own code", () => {
    const run = Buffer.concat(
      encodeMessage({ type: "run", header, startsSegment: true, bytes: new Uint8Array(36) }, 0),
    ).subarray(16);
    const decoded = (change: (bytes: Buffer) => Buffer): string | undefined =>
      codeOf(() => decodeMessage({ type: "run", epoch: 0, payload: change(Buffer.from(run)) }));
    expect(decoded((bytes) => bytes)).toBeUndefined();
    expect(decoded((bytes) => bytes.subarray(0, -1))).toBe("REPLICATION_MESSAGE_BAD");
    expect(decoded(() => Buffer.alloc(0))).toBe("REPLICATION_MESSAGE_BAD");
    for (const at of [1, 2, 3, 20, 40, 107]) {
      const code = decoded((bytes) => {
        bytes[at]! ^= 4;
        return bytes;
      });
      expect(code, `byte ${at}`).toBe("REPLICATION_MESSAGE_BAD");
    }
    const flags = decoded((bytes) => {
      bytes[0] = 2;
      return bytes;
    });
    expect(flags).toBe("REPLICATION_MESSAGE_BAD");
    const later = decoded((bytes) =>
      Buffer.concat([bytes.subarray(0, 4), headerOfVersion(2), bytes.subarray(108)]),
    );
    expect(later).toBe("REPLICATION_FORMAT_UNKNOWN");
  });

  it("a greeting that says no format is that of the first release that replicated", () => {
    const { format: _, ...before } = bare;
    const body = encode({ answers: nonce, heartbeatMs: 1_000, node: before });
    expect(decodeWelcomeBody(body).node.format).toBe(3);
    const zero = encode({ answers: nonce, heartbeatMs: 1_000, node: { ...before, format: 0 } });
    expect(codeOf(() => decodeWelcomeBody(zero))).toBe("REPLICATION_MESSAGE_BAD");
  });

  it("lists within lists that announce more than ever comes get no room for it", () => {
    const unit = encode(Array.from({ length: 1024 }, () => 0)).subarray(0, 3);
    const payload = Buffer.alloc(CONTROL_BYTES_MAX - 1, unit);
    const before = process.memoryUsage().heapUsed;
    expect(codeOf(() => decodeMessage({ type: "fence", epoch: 0, payload }))).toBe("REPLICATION_MESSAGE_BAD");
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(64 * CONTROL_BYTES_MAX);
  });

  it("whatever the payload, a message or a coded refusal comes out", () => {
    const types = Object.keys(FRAME_TYPES) as MessageType[];
    const payload = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.anything({ withNullPrototype: false, withDate: false }).map((value) => {
        try {
          return encode(value);
        } catch {
          return new Uint8Array(0);
        }
      }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...types), payload, (type, bytes) => {
        const code = codeOf(() => decodeMessage({ type, epoch: 0, payload: bytes }));
        expect(code ?? "REPLICATION_MESSAGE_BAD").toMatch(/^REPLICATION_(MESSAGE_BAD|FORMAT_UNKNOWN)$/);
        const hello = codeOf(() => decodeHelloBody(bytes));
        expect(hello).toBe("REPLICATION_MESSAGE_BAD");
      }),
      runs(300),
    );
  });
});
