/**
 * Messages to payloads and back. Control messages are MessagePack maps; a chunk is its bytes; a run is binary:
 *
 *   place bytes field     meaning                                checked on read
 *     0     1   flags     1 = begins with the segment's first    0 or 1
 *     1     3   reserved                                         0
 *     4   104   header    the segment's, as its bytes lie        a whole segment header
 *   108     …   records   whole records, as their bytes lie      by the log, against its chain; ≥ one record's header
 */
import {
  epoch as asEpoch,
  offset as asOffset,
  decodeSegmentHeader,
  encodeSegmentHeader,
  type Offset,
  parseSnapshotName,
  RECORD_HEADER_BYTES,
  SEGMENT_FORMAT_VERSION,
  SEGMENT_HEADER_BYTES,
  unreachable,
} from "../log/index.js";
import { ReplicationError } from "./errors.js";
import { encodeFields, Fields } from "./fields.js";
import { encodeFrame, type Frame, GREETING_BYTES_MAX, RUN_PREFIX_BYTES } from "./frames.js";
import type { Leadership } from "./leadership-order.js";
import {
  type FollowerNote,
  type HelloBody,
  type Message,
  NONCE_BYTES,
  type NodeStatement,
  PEERS_MAX,
  type PeerNote,
  type Run,
  type WelcomeBody,
} from "./messages.js";
import type { Address } from "./ports.js";
import type { Position } from "./position.js";
import { PROOF_BYTES, SECRETS_MAX } from "./secret.js";

const U16_MAX = 0xffff;
const U32_MAX = 0xffffffff;
const NAME_LENGTH_MAX = 64;
const ADDRESS_LENGTH_MAX = 256;
const WORDS_LENGTH_MAX = 1024;
const FILE_NAME_LENGTH_MAX = 128;
const DAY_MS = 86_400_000;
/** Of builds that did not say: there was no later one. */
const FORMAT_UNSAID = 3;

/** A message as one frame, in the pieces to write. `epoch` is that of the leadership which this side stated last. */
export function encodeMessage(message: Message, epoch: number): Uint8Array[] {
  return encodeFrame(message.type, epoch, payloadOf(message));
}

function payloadOf(message: Message): readonly Uint8Array[] {
  switch (message.type) {
    case "run":
      return [prefixOfRun(message), message.bytes];
    case "chunk":
      return [message.bytes];
    case "heartbeat": {
      const { type: _, primary, peers, ...plain } = message;
      return [
        encodeFields({
          ...plain,
          primary: primary && noteFields(primary),
          peers: peers.slice(0, PEERS_MAX).map(noteFields),
        }),
      ];
    }
    case "below": {
      const nodes = message.nodes.slice(0, PEERS_MAX).map((note) => noteFields(note));
      return [encodeFields({ under: message.under, nodes })];
    }
    case "fenced":
      return [encodeFields({ node: statementFields(message.node), leaseMs: message.leaseMs })];
    case "refused":
      return [encodeFields({ code: message.code, message: printable(message.message, WORDS_LENGTH_MAX) })];
    default: {
      const { type: _, ...fields } = message;
      return [encodeFields(fields)];
    }
  }
}

function prefixOfRun(run: Run): Uint8Array {
  const prefix = Buffer.alloc(RUN_PREFIX_BYTES);
  prefix.writeUInt8(run.startsSegment ? 1 : 0, 0);
  prefix.set(encodeSegmentHeader(run.header), 4);
  return prefix;
}

export const encodeHelloBody = ({ node, ...rest }: HelloBody): Uint8Array =>
  encodeFields({ ...rest, node: statementFields(node) });

export const encodeWelcomeBody = ({ node, ...rest }: WelcomeBody): Uint8Array =>
  encodeFields({ ...rest, node: statementFields(node) });

const statementFields = (node: NodeStatement): Record<string, unknown> => ({
  ...node,
  name: printable(node.name, NAME_LENGTH_MAX),
  primary: node.primary && noteFields(node.primary),
});

const noteFields = (note: PeerNote | FollowerNote): Record<string, unknown> => ({
  ...note,
  name: printable(note.name, NAME_LENGTH_MAX),
});

/** @throws ReplicationError REPLICATION_MESSAGE_BAD, REPLICATION_FORMAT_UNKNOWN. */
export function decodeMessage({ type, payload }: Frame): Message {
  switch (type) {
    case "run":
      return decodeRun(payload);
    case "chunk":
      if (payload.length === 0)
        throw new ReplicationError("REPLICATION_MESSAGE_BAD", "a chunk without bytes", { of: "chunk" });
      return { type, bytes: payload };
    case "ack":
      return decodeAck(Fields.decode(type, payload));
    case "heartbeat":
      return decodeHeartbeat(Fields.decode(type, payload));
    default:
      return decodeControl(type, Fields.decode(type, payload));
  }
}

type Control = Exclude<Message["type"], "run" | "chunk" | "ack" | "heartbeat">;

function decodeControl(type: Control, fields: Fields): Message {
  switch (type) {
    case "challenge":
      return { type, protocol: fields.count("protocol", U16_MAX), nonce: nonceOf(fields) };
    case "hello":
      return { type, protocol: fields.count("protocol", U16_MAX), ...signed(fields), more: moreOf(fields) };
    case "welcome":
      return { type, ...signed(fields) };
    case "refused":
      return { type, code: fields.text("code", 64), message: fields.text("message", WORDS_LENGTH_MAX) };
    case "probe":
      return { type, offset: offsetOf(fields, "offset", 1) };
    case "mark":
      return { type, position: fields.optional("position", (name) => positionOf(fields.fields(name))) };
    case "continue":
      return { type, from: offsetOf(fields, "from", 1) };
    case "cut":
      return { type, after: positionOf(fields.fields("after")) };
    case "cutDone":
      return { type, end: positionOf(fields.fields("end")) };
    case "install":
      return decodeInstall(fields);
    case "below":
      return {
        type,
        under: fields.optional("under", (name) => leadershipOf(fields.fields(name))),
        nodes: fields.list("nodes", PEERS_MAX).map(followerOf),
      };
    case "held":
      return { type, nodes: fields.list("nodes", PEERS_MAX).map(holderOf) };
    case "fence":
      return { type, leadership: leadershipOf(fields.fields("leadership")), ...trueIf(fields, "asks") };
    case "fenced":
      return {
        type,
        node: statementOf(fields.fields("node")),
        leaseMs: fields.optional("leaseMs", (name) => fields.count(name, DAY_MS)),
      };
    case "fetch":
    case "check":
      return { type, ...rangeOf(type, fields) };
    case "fetched":
      return { type };
    case "checked":
      return { type, end: positionOf(fields.fields("end")) };
    default:
      return unreachable(type);
  }
}

function decodeRun(payload: Uint8Array): Message {
  const bad = (what: string): ReplicationError =>
    new ReplicationError("REPLICATION_MESSAGE_BAD", `a run ${what}`, { of: "run" });
  if (payload.length < RUN_PREFIX_BYTES + RECORD_HEADER_BYTES) throw bad("without a record");
  const flags = payload[0] ?? 0;
  if (flags > 1 || payload[1] !== 0 || payload[2] !== 0 || payload[3] !== 0) throw bad("with unknown flags");
  const header = decodeSegmentHeader(payload.subarray(4, 4 + SEGMENT_HEADER_BYTES));
  if (header === "version")
    throw new ReplicationError(
      "REPLICATION_FORMAT_UNKNOWN",
      `the other side's segments have another format than version ${SEGMENT_FORMAT_VERSION}, the one that this release knows: bring both to one release`,
      {
        expected: SEGMENT_FORMAT_VERSION,
      },
    );
  if (typeof header === "string") throw bad(`with a bad segment header (${header})`);
  return { type: "run", header, startsSegment: flags === 1, bytes: payload.subarray(RUN_PREFIX_BYTES) };
}

function decodeAck(fields: Fields): Message {
  const [received, committed, durable] = [
    offsetOf(fields, "received"),
    offsetOf(fields, "committed"),
    offsetOf(fields, "durable"),
  ];
  if (committed > received || durable > received)
    throw new ReplicationError("REPLICATION_MESSAGE_BAD", "an ack of more than was received", {
      received,
      committed,
      durable,
    });
  const answers = fields.optional("answers", (name) => fields.count(name));
  return { type: "ack", bytes: fields.count("bytes"), received, committed, durable, answers };
}

function decodeHeartbeat(fields: Fields): Message {
  return {
    type: "heartbeat",
    own: fields.optional("own", (name) => leadershipOf(fields.fields(name))),
    time: fields.optional("time", (name) => fields.count(name)),
    end: offsetOf(fields, "end"),
    durable: offsetOf(fields, "durable"),
    firstOffset: offsetOf(fields, "firstOffset"),
    primary: fields.optional("primary", (name) => noteOf(fields.fields(name))),
    peers: fields.list("peers", PEERS_MAX).map(noteOf),
    peersVersion: fields.count("peersVersion"),
    peersUnder: fields.optional("peersUnder", (name) => leadershipOf(fields.fields(name))),
    sentAt: fields.optional("sentAt", (name) => fields.count(name)),
  };
}

function decodeInstall(fields: Fields): Message {
  const snapshot = fields.optional("snapshot", (name) => {
    const of = fields.fields(name);
    const file = of.text("name", FILE_NAME_LENGTH_MAX);
    const at = offsetOf(of, "offset", 1);
    // It becomes a file's name here.
    if (parseSnapshotName(file)?.offset !== at)
      throw new ReplicationError(
        "REPLICATION_MESSAGE_BAD",
        "install.snapshot.name is not that of a snapshot",
        {
          found: file,
          offset: at,
        },
      );
    return { name: file, bytes: of.count("bytes", undefined, 1), offset: at };
  });
  const [from, until] = [offsetOf(fields, "from", 1), offsetOf(fields, "until", 1)];
  if (from > until)
    throw new ReplicationError("REPLICATION_MESSAGE_BAD", "an install that ends before it begins", {
      from,
      until,
    });
  return { type: "install", clusterId: fields.id("clusterId"), snapshot, from, until };
}

/** @throws ReplicationError REPLICATION_MESSAGE_BAD. */
export function decodeHelloBody(body: Uint8Array): HelloBody {
  const fields = Fields.decode("hello", body);
  const purpose = fields.text("purpose", 16);
  if (purpose !== "follow" && purpose !== "ask" && purpose !== "fetch")
    throw new ReplicationError("REPLICATION_MESSAGE_BAD", "hello.purpose is unknown", { found: purpose });
  return {
    nonce: nonceOf(fields),
    answers: nonceOf(fields, "answers"),
    purpose,
    resync: fields.flag("resync"),
    incarnation: fields.optional("incarnation", (name) => fields.id(name)),
    heartbeatMs: fields.count("heartbeatMs", DAY_MS, 1),
    node: statementOf(fields.fields("node")),
  };
}

/** @throws ReplicationError REPLICATION_MESSAGE_BAD. */
export function decodeWelcomeBody(body: Uint8Array): WelcomeBody {
  const fields = Fields.decode("welcome", body);
  return {
    answers: nonceOf(fields, "answers"),
    heartbeatMs: fields.count("heartbeatMs", DAY_MS, 1),
    node: statementOf(fields.fields("node")),
  };
}

function statementOf(fields: Fields): NodeStatement {
  return {
    ...trueIf(fields, "owes"),
    clusterId: fields.optional("clusterId", (name) => fields.id(name)),
    firstOffset: offsetOf(fields, "firstOffset"),
    ...nodeOf(fields),
    format: fields.optional("format", (name) => fields.count(name, U32_MAX, 1)) ?? FORMAT_UNSAID,
    own: fields.optional("own", (name) => leadershipOf(fields.fields(name))),
    heard: fields.optional("heard", (name) => leadershipOf(fields.fields(name))),
    end: fields.optional("end", (name) => positionOf(fields.fields(name))),
    leads: fields.flag("leads"),
    primary: fields.optional("primary", (name) => noteOf(fields.fields(name))),
  };
}

/** A field that is said only when it is true. */
function trueIf<Name extends string>(fields: Fields, name: Name): { readonly [name in Name]?: boolean } {
  const isTrue = fields.optional(name, () => fields.flag(name)) === true;
  return isTrue ? ({ [name]: true } as { readonly [name in Name]: true }) : {};
}

function rangeOf(of: string, fields: Fields): { first: Offset; last: Offset } {
  const [first, last] = [offsetOf(fields, "first", 1), offsetOf(fields, "last", 1)];
  if (first <= last) return { first, last };
  throw new ReplicationError("REPLICATION_MESSAGE_BAD", `a ${of} of records that end before they begin`, {
    first,
    last,
  });
}

const nodeOf = (fields: Fields): Pick<PeerNote, "nodeId" | "name" | "listen" | "http"> => ({
  nodeId: fields.id("nodeId"),
  name: fields.text("name", NAME_LENGTH_MAX),
  listen: fields.optional("listen", (name) => addressOf(fields.fields(name))),
  http: fields.optional("http", (name) => fields.ascii(name, ADDRESS_LENGTH_MAX)),
});

const noteOf = (fields: Fields): PeerNote => ({
  ...nodeOf(fields),
  since: fields.count("since"),
  confirmed: fields.count("confirmed"),
});

const followerOf = (fields: Fields): FollowerNote => ({
  ...nodeOf(fields),
  follows: fields.id("follows"),
  incarnation: fields.optional("incarnation", (name) => fields.id(name)),
  version: fields.count("version"),
  ...holderOf(fields),
  silentMs: fields.count("silentMs"),
});

const holderOf = (fields: Fields): { readonly nodeId: string; readonly durable: Offset } => ({
  nodeId: fields.id("nodeId"),
  durable: offsetOf(fields, "durable"),
});

const addressOf = (fields: Fields): Address => ({
  host: fields.ascii("host", ADDRESS_LENGTH_MAX),
  port: fields.count("port", U16_MAX, 1),
});

const leadershipOf = (fields: Fields): Leadership => ({
  epoch: asEpoch(fields.count("epoch", U32_MAX, 1)),
  lineageId: fields.id("lineageId"),
});

const positionOf = (fields: Fields): Position => ({
  offset: offsetOf(fields, "offset"),
  crc: fields.count("crc", U32_MAX),
  epoch: asEpoch(fields.count("epoch", U32_MAX)),
  lineageId: fields.id("lineageId"),
});

const offsetOf = (fields: Fields, name: string, min = 0): Offset =>
  asOffset(fields.count(name, undefined, min));

const nonceOf = (fields: Fields, name = "nonce"): Uint8Array => fields.bytes(name, NONCE_BYTES, NONCE_BYTES);

const signed = (fields: Fields): { body: Uint8Array; proof: Uint8Array } => ({
  body: fields.bytes("body", 0, GREETING_BYTES_MAX),
  proof: fields.bytes("proof", 0, PROOF_BYTES),
});

const moreOf = (fields: Fields): Uint8Array | undefined =>
  fields.optional("more", (name) => fields.bytes(name, PROOF_BYTES, (SECRETS_MAX - 1) * PROOF_BYTES));

/** Without control characters and not too long: what the other side will accept. */
function printable(text: string, lengthMax: number): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, " ").slice(0, lengthMax);
}
