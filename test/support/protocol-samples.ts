/** One of each message at least, with everything in it and with nothing: what tests of the protocol go through. */
import { crc32 } from "../../log/checksum.js";
import { encodeSegmentHeader, epoch, offset, type SegmentHeader } from "../../log/index.js";
import { encodeHelloBody, encodeWelcomeBody } from "../../replication/message-codec.js";
import type { FollowerNote, Message, NodeStatement, PeerNote } from "../../replication/messages.js";
import type { Position } from "../../replication/position.js";

export const id = (byte: string): string => byte.repeat(16);
const leadership = { epoch: epoch(3), lineageId: id("5e") };
const position: Position = { offset: offset(70), crc: 0xfedcba98, epoch: epoch(3), lineageId: id("5e") };
export const note: PeerNote = {
  nodeId: id("aa"),
  name: "böse",
  listen: { host: "fe80::1%eth0", port: 15_501 },
  http: "http://10.0.0.1:15500",
  since: 3,
  confirmed: 2,
};
const follower: FollowerNote = {
  nodeId: id("ab"),
  name: "drei",
  listen: note.listen,
  http: note.http,
  follows: id("aa"),
  incarnation: id("1f"),
  version: 4,
  durable: offset(7),
  silentMs: 12,
};
export const node: NodeStatement = {
  clusterId: id("c1"),
  nodeId: id("aa"),
  name: "one",
  listen: note.listen,
  http: note.http,
  format: 7,
  own: leadership,
  heard: leadership,
  end: position,
  firstOffset: offset(1),
  owes: true,
  leads: true,
  primary: note,
};
export const bare: NodeStatement = {
  clusterId: undefined,
  nodeId: id("bb"),
  name: "",
  listen: undefined,
  http: undefined,
  format: 1,
  own: undefined,
  heard: undefined,
  end: undefined,
  firstOffset: offset(0),
  leads: false,
  primary: undefined,
};
export const header: SegmentHeader = {
  epoch: epoch(3),
  baseOffset: offset(9),
  createdAt: 1_700_000_000_000,
  clusterId: id("c1"),
  nodeId: id("aa"),
  lineageId: id("5e"),
  epochFirst: offset(9),
  chainTimestamp: 5,
  chainCrc: 77,
};
/** A whole segment header of another format version. */
export function headerOfVersion(version: number, like = header): Uint8Array {
  const bytes = Buffer.from(encodeSegmentHeader(like));
  bytes.writeUInt16LE(version, 8);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, -4), 0), bytes.length - 4);
  return bytes;
}
export const nonce = new Uint8Array(32).fill(7);
export const proof = new Uint8Array(32).fill(8);
export const max = Number.MAX_SAFE_INTEGER;

export const MESSAGES: readonly Message[] = [
  { type: "challenge", protocol: 1, nonce },
  {
    type: "hello",
    protocol: 65_535,
    body: encodeHelloBody({
      nonce,
      answers: nonce,
      purpose: "follow",
      resync: true,
      incarnation: id("1c"),
      heartbeatMs: 1,
      node,
    }),
    proof,
    more: new Uint8Array(96).fill(9),
  },
  {
    type: "welcome",
    body: encodeWelcomeBody({ answers: nonce, heartbeatMs: 1_000, node: bare }),
    proof: new Uint8Array(0),
  },
  { type: "refused", code: "REPLICATION_FENCED", message: "words" },
  { type: "probe", offset: offset(max) },
  { type: "mark", position },
  { type: "mark", position: undefined },
  { type: "continue", from: offset(1) },
  { type: "cut", after: position },
  { type: "cutDone", end: position },
  { type: "install", clusterId: id("c1"), snapshot: undefined, from: offset(1), until: offset(1) },
  {
    type: "install",
    clusterId: id("c1"),
    snapshot: { name: "snapshot_1_2.snap", bytes: 12, offset: offset(2) },
    from: offset(2),
    until: offset(max),
  },
  { type: "chunk", bytes: Uint8Array.of(0, 1, 255) },
  { type: "run", header, startsSegment: true, bytes: new Uint8Array(36).fill(1) },
  { type: "run", header, startsSegment: false, bytes: new Uint8Array(100_000).fill(2) },
  {
    type: "ack",
    bytes: max,
    received: offset(9),
    committed: offset(8),
    durable: offset(0),
    answers: undefined,
  },
  { type: "ack", bytes: 0, received: offset(9), committed: offset(8), durable: offset(8), answers: max },
  {
    type: "heartbeat",
    own: leadership,
    time: 1_700_000_000_000,
    end: offset(9),
    durable: offset(8),
    firstOffset: offset(1),
    primary: note,
    peers: [note, { ...note, listen: undefined, http: undefined }],
    peersVersion: 9,
    peersUnder: leadership,
    sentAt: max,
  },
  {
    type: "heartbeat",
    own: undefined,
    time: undefined,
    end: offset(0),
    durable: offset(0),
    firstOffset: offset(0),
    primary: undefined,
    peers: [],
    peersVersion: 0,
    peersUnder: undefined,
    sentAt: undefined,
  },
  {
    type: "below",
    under: leadership,
    nodes: [follower, { ...follower, listen: undefined, http: undefined }],
  },
  { type: "below", under: undefined, nodes: [] },
  { type: "held", nodes: [{ nodeId: id("ab"), durable: offset(max) }] },
  { type: "fence", leadership },
  { type: "fence", leadership, asks: true },
  { type: "fenced", node, leaseMs: undefined },
  { type: "fenced", node, leaseMs: 660 },
  { type: "fetch", first: offset(1), last: offset(max) },
  { type: "fetched" },
  { type: "check", first: offset(7), last: offset(7) },
  { type: "checked", end: position },
];
