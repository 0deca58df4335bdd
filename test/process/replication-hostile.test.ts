/**
 * What strangers and liars say to the replication ports of real servers: each ends its own connection at most, memory stays within bounds, and
 * the set goes on. Longer with ANNALS_PROPS_FACTOR.
 */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import {
  epoch as asEpoch,
  DIRECTORY_FORMAT_VERSION,
  IDENTITY_FILE,
  type Offset,
  offset,
} from "../../log/index.js";
import { factor, seed, seededRandom } from "../../props/run-settings.js";
import { encodeFrame, FrameReader, RUN_BYTES_MAX } from "../../replication/frames.js";
import { decodeMessage, encodeMessage } from "../../replication/message-codec.js";
import type { Message, NodeStatement } from "../../replication/messages.js";
import {
  Crowd,
  greetAndSay,
  hostileBytes,
  Impostor,
  lying,
  Recorder,
  ResidentMemory,
  throwAt,
} from "../support/hostile-peers.js";
import { bare, MESSAGES } from "../support/protocol-samples.js";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";
import { QUICK } from "../support/set-faults.js";
import { expectOne, hasAll, listed, until } from "../support/set-waits.js";

const MIB = 1024 * 1024;
const random = seededRandom(seed);
const LONG = { timeout: 180_000 * Math.max(1, factor) };

let set: ReplicaSet;
const ends: (() => unknown)[] = [];
afterEach(async () => {
  await set.end();
  for (const end of ends.splice(0)) await end();
});

const confirmed = async (primary: SetNode): Promise<void> => {
  const written = await primary.client.put("a", "b", { "x-annals-acks": "1" });
  expect(written.status, written.text).toBeLessThan(300);
};

/** Of a node of the cluster that nobody knows. */
function stranger(primary: SetNode): NodeStatement {
  const { clusterId } = JSON.parse(readFileSync(join(primary.directory, IDENTITY_FILE), "utf8"));
  const nodeId = randomBytes(16).toString("hex");
  return { ...bare, clusterId, nodeId, name: "stranger", format: DIRECTORY_FORMAT_VERSION };
}

/** What a node that is believed may say of leaderships makes others stop, as it should: that is left out. */
const statesLeadership = (message: Message): boolean =>
  message.type === "fence" || (message.type === "heartbeat" && message.own !== undefined);

const framed = (message: Message): Buffer => Buffer.concat(encodeMessage(message, 0));

interface Lie {
  readonly tell: (socket: Socket) => void;
  /** What it is ended with. */
  readonly why: string;
}

/** What a primary says that is none. */
function lies(node: NodeStatement, epoch: number, next: Offset): Lie[] {
  const bytes = (why: string, ...pieces: Uint8Array[]): Lie => ({
    tell: (socket) => {
      for (const piece of pieces) socket.write(piece);
    },
    why,
  });
  const words = (why: string, ...messages: Message[]): Lie =>
    bytes(why, ...messages.flatMap((message) => encodeMessage(message, epoch)));
  const goOn: Message = { type: "continue", from: next };
  const runs = MESSAGES.filter(({ type }) => type === "run");
  const largest = Buffer.concat(encodeFrame("run", epoch, [Buffer.alloc(RUN_BYTES_MAX)]));
  largest.writeUInt32LE(1, 4);
  const lineageId = node.own?.lineageId ?? "";
  const install: Message = {
    type: "install",
    clusterId: node.clusterId ?? "",
    snapshot: { name: "snapshot_1_2.snap", bytes: 4 * MIB, offset: offset(2) },
    from: offset(2),
    until: offset(Number.MAX_SAFE_INTEGER),
  };
  const chunks = Array.from({ length: 5 }, (): Message => ({ type: "chunk", bytes: randomBytes(MIB) }));
  return [
    bytes("REPLICATION_FRAME_BAD", lying(randomBytes(100_000), 15)),
    bytes("REPLICATION_FRAME_BAD", lying(Buffer.alloc(2 * MIB), 11, RUN_BYTES_MAX + 1)),
    // As large as a run may be, and its checksum does not hold.
    bytes("REPLICATION_FRAME_BAD", ...encodeMessage(goOn, epoch), largest),
    words("REPLICATION_RECORDS_REFUSED", goOn, ...runs),
    words("REPLICATION_MESSAGE_BAD", {
      type: "cut",
      after: { offset: offset(1), crc: 1, epoch: asEpoch(epoch), lineageId },
    }),
    words("REPLICATION_MESSAGE_BAD", { type: "continue", from: offset(1) }),
    words("REPLICATION_MESSAGE_UNEXPECTED", goOn, goOn),
    // More than it said there would be.
    words("REPLICATION_MESSAGE_UNEXPECTED", install, ...chunks),
  ];
}

describe("the replication port of a real server", () => {
  it("a full sync that is not taken in holds the log, but not for ever", LONG, async () => {
    set = await ReplicaSet.begin();
    const primary = await set.primary("primary", [], {
      ANNALS_LOG_SEGMENT_BYTES: "4096",
      ANNALS_LOG_RETENTION_BYTES: "4096",
      ANNALS_REPLICATION_BUFFER_SIZE_KB: "64",
      ANNALS_REPLICATION_REPLICA_TIMEOUT_SECS: "60",
    });
    const write = async (count: number): Promise<void> => {
      for (let i = 0; i < count; i++) await primary.client.put("a", "x".repeat(10_000));
    };
    const snapshot = async (): Promise<void> => {
      const { status } = await fetch(`http://127.0.0.1:${primary.server.port}/snapshot`, {
        method: "POST",
      });
      expect(status).toBe(200);
    };
    const metric = async (name: string): Promise<number> => {
      const metrics = await (await fetch(`http://127.0.0.1:${primary.server.port}/metrics`)).text();
      return Number(
        metrics
          .split("\n")
          .find((line) => line.startsWith(`${name} `))
          ?.slice(name.length),
      );
    };
    await write(30);
    const ended = greetAndSay(primary.replicationPort, stranger(primary), "follow", () => undefined, 60_000);
    await until("it is sent the log", async () => /syncing/.test(JSON.stringify(await primary.stats())));
    for (let i = 0; i < 3; i++) {
      await write(3);
      await snapshot();
    }
    const held = 'annals_retention_holder_offset{holder="full_sync"}';
    await until("the log is held for it", async () => (await metric(held)) < 20, 8_000);
    expect(await metric("annals_log_first_offset")).toBeLessThan(20);
    await write(40);
    const letGo = async (): Promise<boolean> => {
      await snapshot();
      return (await metric("annals_log_first_offset")) > 30;
    };
    await until("it is held no longer", letGo, 20_000);
    await primary.server.kill();
    expect(await ended).toBe(true);
  });

  it("noise, halves, lies and crowds end their own connections, and cost little memory", LONG, async () => {
    set = await ReplicaSet.begin();
    // Long enough for those who do not greet to be there all at once, and for a hundred that do on a machine that is busy.
    const patient = { ANNALS_REPLICATION_REPLICA_TIMEOUT_SECS: "8" };
    const primary = await set.primary("primary", [], patient);
    const recorder = await Recorder.before(primary.replicationPort);
    ends.push(() => recorder.close());
    const replica = await set.replica("replica", recorder, [], { ...QUICK, ...patient });
    await listed([replica], primary);
    await hasAll(replica, primary);
    const memory = [primary, replica].map(
      ({ name, server }) => [name, new ResidentMemory(server.pid)] as const,
    );

    for (let round = 0; round < 10 * factor; round += 1) {
      const bytes = hostileBytes(round, random);
      const ports = [...Array(4).fill(primary.replicationPort), replica.replicationPort];
      await Promise.all(ports.map((port) => throwAt(port, bytes)));
    }
    const port = primary.replicationPort;
    const run = lying(randomBytes(4096), 11, 60 * MIB);
    const said = MESSAGES.filter((message) => !statesLeadership(message)).map(framed);
    await Promise.all(
      [...said, run, randomBytes(10_000), lying(randomBytes(60_000), 12, 65_536)].flatMap((bytes) =>
        (["follow", "ask"] as const).flatMap((purpose) =>
          [primary, replica].map(({ replicationPort }) =>
            greetAndSay(replicationPort, stranger(primary), purpose, (peer) => peer.sayBytes(bytes)),
          ),
        ),
      ),
    );
    // Whoever holds more than words may be long waits for nothing.
    expect(await greetAndSay(port, stranger(primary), "follow", (peer) => peer.sayBytes(run), 60_000)).toBe(
      true,
    );

    const hello = recorder.said[0]!;
    const crowd = new Crowd(port, 400, (place) =>
      place % 3 === 0
        ? new Uint8Array(0)
        : place % 3 === 1
          ? hello.subarray(0, 100)
          : lying(randomBytes(4000), 1),
    );
    ends.push(() => crowd.close());
    await until("there is no place left", async () => crowd.ended >= 400 - 256);
    await confirmed(primary);
    // One that comes when all places are taken, by those who do not greet, is let in; and they take every place that is free.
    const more = new Crowd(port, 300, () => new Uint8Array(0));
    ends.push(() => more.close());
    await replica.post("/api/replication/follow", { address: recorder.address });
    await until("it follows again", async () => (await replica.stats())["connected"] === true);
    await confirmed(primary);
    expect(replica.output).not.toContain("REPLICATION_TOO_MANY_CONNECTIONS");
    crowd.close();
    more.close();

    // Without a secret whoever recorded a greeting is taken for that node. It ends the connection before, and brings nothing else about.
    for (let round = 0; round < 5; round += 1) await throwAt(port, hello, 100);
    await until("the replica is back", async () => (await replica.stats())["connected"] === true);
    await hasAll(replica, primary);
    await confirmed(primary);
    await expectOne(primary, replica);
    for (const [name, { growth, peak }] of memory) {
      expect(growth, name).toBeLessThan(96 * MIB);
      expect(peak, name).toBeLessThan(128 * MIB);
      if (factor > 1) console.log(JSON.stringify({ hostile: name, growth, peak, seed }));
    }
  });

  it("a greeting that was recorded opens nothing where there is a secret", LONG, async () => {
    set = await ReplicaSet.begin();
    const secret = { ...QUICK, ANNALS_REPLICATION_SECRET: "a long word" };
    const primary = await set.primary("primary", [], secret);
    const recorder = await Recorder.before(primary.replicationPort);
    ends.push(() => recorder.close());
    const replica = await set.replica("replica", recorder, [], secret);
    await listed([replica], primary);
    const reader = new FrameReader();
    reader.push(await throwAt(primary.replicationPort, recorder.said[0]!, 2000));
    const heard = [reader.next(), reader.next()].map((frame) => frame && decodeMessage(frame));
    expect(heard).toMatchObject([
      { type: "challenge" },
      { type: "refused", code: "REPLICATION_SECRET_WRONG" },
    ]);
    await confirmed(primary);
    expect(recorder.said).toHaveLength(1);
  });

  it(
    "of a primary that lies a replica believes nothing, holds little, and goes back to the true one",
    LONG,
    async () => {
      set = await ReplicaSet.begin();
      const primary = await set.primary("primary", [], QUICK);
      const replica = await set.replica("replica", primary, [], QUICK);
      await listed([replica], primary);
      await confirmed(primary);
      await hasAll(replica, primary);
      const { epoch, lineage_id: lineageId, master_offset: end } = await primary.stats();
      const own = { epoch: asEpoch(Number(epoch)), lineageId: String(lineageId) };
      const node: NodeStatement = { ...stranger(primary), own, heard: own, firstOffset: offset(1) };
      const next = offset(Number(end) + 1);
      let [lie] = lies(node, own.epoch, next);
      const impostor = await Impostor.open(node, (socket) => lie?.tell(socket));
      ends.push(() => impostor.close());
      const memory = new ResidentMemory(replica.server.pid);
      const before = await replica.json("/digest");
      const seenThrough: string[] = [];
      for (lie of lies(node, own.epoch, next)) {
        const { why } = lie;
        await replica.post("/api/replication/breakers/reset", {});
        const told = await replica.post("/api/replication/follow", { address: impostor.address });
        expect(told.status, told.text).toBe(200);
        await until(`it ends that with ${why}`, async () => (await replica.stats())["last_error"] === why);
        seenThrough.push(why);
      }
      expect(seenThrough).toHaveLength(8);
      expect(replica.server.running).toBe(true);
      expect(await replica.json("/digest")).toMatchObject({ digests: before["digests"] as object });
      expect(memory.peak, "of the largest run, and its pieces").toBeLessThan(256 * MIB);
      const back = await replica.post("/api/replication/follow", { address: primary.address });
      expect(back.status, back.text).toBe(200);
      await hasAll(replica, primary);
      await confirmed(primary);
      await expectOne(primary, replica);
      if (factor > 1) console.log(JSON.stringify({ hostile: "replica", peak: memory.peak, seed }));
    },
  );
});
