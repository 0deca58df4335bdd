/** What does not belong where it is said ends a link, and nothing else: replicas and primaries that say whatever they like. */
import { describe, expect, it } from "vitest";
import { DIRECTORY_FORMAT_VERSION, epoch, type Offset, offset, type RecordRun } from "../../log/index.js";
import { Borrowing } from "../../replication/borrowing.js";
import type { ReplicationError } from "../../replication/errors.js";
import { encodeFrame, FRAME_TYPES, RUN_BYTES_MAX } from "../../replication/frames.js";
import type { Leadership } from "../../replication/leadership-order.js";
import { encodeMessage } from "../../replication/message-codec.js";
import type { Message } from "../../replication/messages.js";
import { EMPTY_POSITION } from "../../replication/position.js";
import { same } from "../support/link-world.js";
import { headerOfVersion } from "../support/protocol-samples.js";
import { rawPrimary, rawReplica, withReplica } from "../support/raw-links.js";
import { RawPeer } from "../support/raw-peer.js";
import { DISK_LOG, segmentFile } from "../support/test-log.js";

const higher = (number: number): Leadership => ({ epoch: epoch(number), lineageId: "ab".repeat(16) });

const codesOf = (errors: readonly { readonly code: string }[]): string[] => [
  ...new Set(errors.map(({ code }) => code)),
];

const position = { ...EMPTY_POSITION, offset: offset(5) };
const ack = { type: "ack", bytes: 0, received: offset(0), committed: offset(0), durable: offset(0) } as const;

describe("a replica that says what does not belong there", () => {
  it.each<[string, Message, string]>([
    ["records", { type: "chunk", bytes: new Uint8Array(10) }, "REPLICATION_MESSAGE_UNEXPECTED"],
    ["a probe", { type: "probe", offset: offset(1) }, "REPLICATION_MESSAGE_UNEXPECTED"],
    ["a cut", { type: "cut", after: position }, "REPLICATION_MESSAGE_UNEXPECTED"],
    ["an answer that nobody asked for", { type: "cutDone", end: position }, "REPLICATION_MESSAGE_UNEXPECTED"],
    ["a fence", { type: "fence", leadership: higher(2) }, "REPLICATION_MESSAGE_UNEXPECTED"],
    [
      "a second greeting",
      { type: "challenge", protocol: 1, nonce: new Uint8Array(32) },
      "REPLICATION_MESSAGE_UNEXPECTED",
    ],
    ["an ack of records that were not sent", { ...ack, received: offset(1_000) }, "REPLICATION_MESSAGE_BAD"],
    ["an ack of bytes that were not sent", { ...ack, bytes: 1_000_000 }, "REPLICATION_MESSAGE_BAD"],
  ])("%s: the link ends", async (_, message, code) => {
    const { set, replica } = await withReplica();
    const peer = await rawReplica(set, replica);
    peer.epoch = 1;
    await peer.hears("continue");
    peer.say(message);
    expect(await peer.refusal()).toBe(code);
    expect(codesOf(set.primary.senderEnds).at(-1)).toBe(code);
    replica.receiver?.start();
    await same(set.primary, replica);
  });

  it("acknowledges less than before: the link ends", async () => {
    const { set, replica } = await withReplica();
    const peer = await rawReplica(set, replica);
    await peer.hears("run");
    peer.say({ ...ack, received: offset(15), durable: offset(15) });
    peer.say({ ...ack, received: offset(15), durable: offset(14) });
    expect(await peer.refusal()).toBe("REPLICATION_MESSAGE_BAD");
  });

  it("claims the length of a run: not a byte of it is kept", async () => {
    const { set, replica } = await withReplica();
    const peer = await rawReplica(set, replica);
    const claim = Buffer.alloc(16);
    claim.writeUInt32LE(RUN_BYTES_MAX, 0);
    claim.writeUInt8(FRAME_TYPES.run, 8);
    peer.sayBytes(claim);
    expect(await peer.refusal()).toBe("REPLICATION_FRAME_BAD");
  });

  it("gives a wrong answer to a probe, or says that its log was not cut: the link ends", async () => {
    const { set, replica } = await withReplica();
    const statement = await replica.statement();
    const lie = { ...statement, end: { ...statement.end!, crc: 1 } };
    for (const answer of [undefined, { ...position, offset: offset(6) }]) {
      const peer = RawPeer.dial(set.world.network, set.world.clock, set.address);
      await peer.greet(lie);
      peer.epoch = 1;
      await peer.hears("probe");
      peer.say({ type: "mark", position: answer });
      expect(await peer.refusal()).toBe("REPLICATION_MESSAGE_BAD");
    }
  });
});

describe("a replica that says that its log was cut", () => {
  it("elsewhere than it was told: the link ends, and no record is sent", async () => {
    const { set, replica } = await withReplica();
    const statement = await replica.statement();
    const peer = RawPeer.dial(set.world.network, set.world.clock, set.address);
    await peer.greet({ ...statement, end: { ...statement.end!, crc: 1 } });
    peer.epoch = 1;
    let answered = 0;
    const cut = async (): Promise<boolean> => {
      for (const message of peer.heard.splice(0)) {
        if (message.type === "cut") return true;
        if (message.type !== "probe") continue;
        answered++;
        const own = await replica.required.positionAt(message.offset);
        peer.say({ type: "mark", position: message.offset === replica.end ? { ...own, crc: 1 } : own });
      }
      return false;
    };
    while (!(await cut())) await set.world.clock.advance(10);
    expect(answered).toBeGreaterThan(3);
    peer.say({ type: "cutDone", end: await replica.required.positionAt(offset(replica.end - 2)) });
    expect(await peer.refusal()).toBe("REPLICATION_MESSAGE_BAD");
    expect(peer.heard.some(({ type }) => type === "run")).toBe(false);
  });
});

describe("a primary that says what does not belong there", () => {
  const begin: Message = { type: "continue", from: offset(22) };
  it.each<[string, (runs: RecordRun[]) => Message[], string]>([
    [
      "records before it is known where they go",
      ([run]) => [{ type: "run", ...run! }],
      "REPLICATION_MESSAGE_UNEXPECTED",
    ],
    ["another beginning", () => [{ type: "continue", from: offset(23) }], "REPLICATION_MESSAGE_BAD"],
    ["the same beginning again", () => [begin, begin], "REPLICATION_MESSAGE_UNEXPECTED"],
    [
      "a run that was left out",
      ([, run]) => [begin, { type: "run", ...run! }],
      "REPLICATION_RECORDS_REFUSED",
    ],
    [
      "a run twice",
      ([run]) => [begin, { type: "run", ...run! }, { type: "run", ...run! }],
      "REPLICATION_RECORDS_REFUSED",
    ],
    [
      "a run with a flipped bit",
      ([run]) => {
        const bytes = Uint8Array.from(run!.bytes);
        bytes[90]! ^= 1;
        return [begin, { type: "run", ...run!, bytes }];
      },
      "REPLICATION_RECORDS_REFUSED",
    ],
    [
      "a run that ends within a record",
      ([run]) => [begin, { type: "run", ...run!, bytes: run!.bytes.subarray(0, -1) }],
      "REPLICATION_RECORDS_REFUSED",
    ],
    ["a cut after what it has not", () => [{ type: "cut", after: position }], "REPLICATION_MESSAGE_BAD"],
    [
      "pieces of a snapshot",
      () => [{ type: "chunk", bytes: new Uint8Array(3) }],
      "REPLICATION_MESSAGE_UNEXPECTED",
    ],
    [
      "everything anew, of another cluster",
      () => [
        {
          type: "install",
          clusterId: "ef".repeat(16),
          snapshot: undefined,
          from: offset(1),
          until: offset(9),
        },
      ],
      "REPLICATION_MESSAGE_BAD",
    ],
    ["an ack", () => [ack], "REPLICATION_MESSAGE_UNEXPECTED"],
  ])("%s: the link ends, and the log is as it was or a prefix", async (_, words, code) => {
    const { set, replica } = await withReplica();
    const { peer, runs } = await rawPrimary(set, replica);
    for (const message of words(runs)) peer.say(message);
    expect(await peer.refusal()).toBe(code);
    expect(codesOf(replica.failures)).toEqual([code]);
    expect(replica.cuts).toEqual([]);
    await replica.receiver?.stop();
    replica.follow(set.address);
    await same(set.primary, replica);
    expect(replica.installs).toBe(1);
  });

  it("begins a full sync elsewhere than it said: what was gathered is gone", async () => {
    const { set, replica } = await withReplica();
    const { peer, runs } = await rawPrimary(set, replica);
    const { clusterId } = await set.primary.statement();
    const run = runs.find(({ startsSegment }) => startsSegment)!;
    const { last } = run;
    peer.say({ type: "install", clusterId: clusterId!, snapshot: undefined, from: offset(1), until: last });
    peer.say({ type: "run", ...run });
    expect(await peer.refusal()).toBe("REPLICATION_MESSAGE_BAD");
    expect(replica.installs).toBe(1);
  });

  it("floods it: what it can't take yet waits on the way, not in its memory", async () => {
    const { set, replica } = await withReplica();
    const { peer } = await rawPrimary(set, replica);
    const { clusterId } = await set.primary.statement();
    const bytes = 40 * 1024 * 1024;
    const snapshot = { name: "snapshot_1_9.snap", bytes, offset: offset(9) };
    peer.say({ type: "install", clusterId: clusterId!, snapshot, from: offset(1), until: offset(9) });
    const chunk = { type: "chunk", bytes: new Uint8Array(1024 * 1024) } as const;
    for (let i = 0; i < 40; i++) peer.say(chunk);
    await set.world.clock.until(
      () => (replica.receiver?.progress.bytesReceived ?? 0) > 0,
      "some was taken in",
    );
    const taken = replica.receiver?.progress.bytesReceived ?? 0;
    expect(set.world.network.waitingBytes).toBeGreaterThan(bytes - taken - 3 * chunk.bytes.length);
    peer.close();
    await set.world.clock.until(() => replica.failures.length > 0, "the link ended");
  });

  it("asks without end: the link ends", async () => {
    const { set, replica } = await withReplica();
    const { peer } = await rawPrimary(set, replica);
    for (let i = 0; i < 200; i++) peer.say({ type: "probe", offset: offset(5) });
    expect(await peer.refusal()).toBe("REPLICATION_MESSAGE_UNEXPECTED");
    expect(peer.heard.filter(({ type }) => type === "mark").length).toBeLessThan(120);
  });

  it("sends more of a snapshot than it announced, or records before its end: what was gathered is gone", async () => {
    const { set, replica } = await withReplica();
    const { clusterId } = await set.primary.statement();
    const install = {
      type: "install",
      clusterId: clusterId!,
      snapshot: { name: "snapshot_1_9.snap", bytes: 10, offset: offset(9) },
      from: offset(1),
      until: offset(9) as Offset,
    } as const;
    for (const word of [{ type: "chunk", bytes: new Uint8Array(11) }, "run"] as const) {
      const { peer, runs } = await rawPrimary(set, replica);
      peer.say(install);
      peer.say(word === "run" ? { type: "run", ...runs[0]! } : word);
      expect(await peer.refusal()).toBe("REPLICATION_MESSAGE_UNEXPECTED");
      await replica.receiver?.stop();
      expect(await replica.files.list("/disk/incoming").catch(() => [])).not.toContain("snapshot_1_9.snap");
      set.world.network.forget({ host: "impostor", port: 1 });
    }
    replica.follow(set.address);
    await same(set.primary, replica);
    expect(replica.installs).toBe(1);
  });
});

describe("another format", () => {
  it("of segments is refused in the same word on both sides, and nothing of it is taken", async () => {
    const { set, replica } = await withReplica();
    const { peer, runs } = await rawPrimary(set, replica);
    const before = replica.end;
    const [first] = runs;
    const payload = Buffer.concat(encodeMessage({ type: "run", ...first! }, 0)).subarray(16);
    payload.set(headerOfVersion(2, first!.header), 4);
    peer.say({ type: "continue", from: offset(before + 1) });
    peer.sayBytes(...encodeFrame("run", peer.epoch, [payload]));
    expect(await peer.refusal()).toBe("REPLICATION_FORMAT_UNKNOWN");
    expect(codesOf(replica.failures)).toEqual(["REPLICATION_FORMAT_UNKNOWN"]);
    expect(replica.end).toBe(before);
  });

  it("of a primary of a later release is refused in the greeting, by both, before any record", async () => {
    const { set, replica } = await withReplica();
    const before = replica.end;
    set.primary.format = DIRECTORY_FORMAT_VERSION + 1;
    replica.receiver?.start();
    await set.world.clock.until(() => replica.failures.length > 1, "it was refused twice");
    expect(codesOf(replica.failures)).toEqual(["REPLICATION_FORMAT_UNKNOWN"]);
    const told = set.primary.warnings.filter(({ code }) => code === "REPLICATION_FORMAT_UNKNOWN");
    expect(told[0]?.message).toContain(
      `${set.primary.name} writes format ${DIRECTORY_FORMAT_VERSION + 1} of data directories, and ${replica.name} reads up to ${DIRECTORY_FORMAT_VERSION}`,
    );
    expect([replica.end, set.primary.listener?.senders]).toEqual([before, []]);
    // What was not let in is asked as before: a candidate reaches and fences it.
    const peer = RawPeer.dial(set.world.network, set.world.clock, set.address);
    await peer.greet(await replica.statement(), { purpose: "ask" });
    replica.format = set.primary.format;
    await same(set.primary, replica);
  });

  it("is found by the replica, too, where its primary does not look", async () => {
    const { set, replica } = await withReplica();
    set.primary.format = DIRECTORY_FORMAT_VERSION + 1;
    const { peer } = await rawPrimary(set, replica);
    expect(await peer.refusal()).toBe("REPLICATION_FORMAT_UNKNOWN");
    expect(codesOf(replica.failures)).toEqual(["REPLICATION_FORMAT_UNKNOWN"]);
  });

  it("of a later release is no hindrance for a replica: those are upgraded first", async () => {
    const { set, replica } = await withReplica();
    replica.format = DIRECTORY_FORMAT_VERSION + 1;
    replica.receiver?.start();
    await same(set.primary, replica);
  });
});

describe("a damaged log", () => {
  it("of a replica is told, and nothing is written behind it", async () => {
    const { set, replica } = await withReplica();
    const base = replica.required.segmentStart(offset(replica.end));
    const bytes = ((await replica.segments()).get(base) ?? "").length / 2;
    replica.disk.flip(`${DISK_LOG}/${segmentFile(base)}`, bytes - 10, 1);
    replica.receiver?.start();
    await set.world.clock.until(() => replica.failures.length > 0, "the link ended");
    expect(codesOf(replica.failures)).toEqual(["REPLICATION_LOG_DAMAGED"]);
    expect(replica.end).toBe(21);
    const told = () => set.primary.warnings.filter(({ message }) => message.includes("was not let in"));
    await set.world.clock.until(() => told().length > 0, "the primary says so, too");
    expect(told()[0]?.message).toMatch(/LOG_CORRUPT.*\(offset 21\)/);
  });

  it("of a replica that asks for what nobody keeps any more is told on both sides, seldom", async () => {
    const { set, replica } = await withReplica(60, 60);
    const { primary, world, address } = set;
    const { context } = replica;
    const [oldest] = primary.logSegments()!.list();
    const { first, last } = oldest!;
    await primary.required.retain(offset(last + 1));
    const codes: string[] = [];
    const ask = async (): Promise<void> => {
      const borrowing = await Borrowing.open({ address, network: world.network, context });
      const fetched = borrowing.fetch(first, last, async () => undefined);
      await fetched.catch(({ code }: ReplicationError) => codes.push(code));
    };
    const told = () => primary.warnings.filter(({ code }) => code === "REPLICATION_RECORDS_RETIRED");
    for (const [asked, times] of [1, 1, 2].entries()) {
      if (times === 2) await world.clock.advance(10_000);
      void ask();
      await world.clock.until(() => codes.length > asked, "it is refused");
      expect(codes.at(-1)).toBe("REPLICATION_RECORDS_RETIRED");
      expect(told()).toHaveLength(times);
    }
    expect(told()[0]?.message).toContain(`${replica.name} asks in vain for the records ${first} to ${last}`);
  });
});
