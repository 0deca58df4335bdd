/** Peers that ask and take no answer in: what they cost, and for how long. */
import { setImmediate } from "node:timers/promises";
import { beforeEach, expect, it } from "vitest";
import { offset } from "../../log/index.js";
import { encodeMessage } from "../../replication/message-codec.js";
import type { Message, Purpose } from "../../replication/messages.js";
import { LinkNodeDouble } from "../support/link-node.js";
import { primaryWith, type WithPrimary } from "../support/link-world.js";
import { RawPeer } from "../support/raw-peer.js";
import { appendMany } from "../support/test-log.js";

/** Of the network of tests: what may wait before whoever writes is told to wait. */
const BUFFER_BYTES = 256 * 1024;

let set: WithPrimary;
beforeEach(async () => {
  set = await primaryWith(3);
  set.world.network.faults.stalled = ({ from, connection }) => from === "acceptor" && deafs.has(connection);
  deafs.clear();
});

const deafs = new Set<number>();

/** Greets, and reads no more. */
async function deaf(purpose: Purpose): Promise<RawPeer> {
  const { network, clock } = set.world;
  const connection = network.dialled;
  const peer = RawPeer.dial(network, clock, set.address);
  await peer.greet(new LinkNodeDouble(set.world).introduction(), { purpose });
  deafs.add(connection);
  return peer;
}

it.each<[Purpose, () => Message]>([
  ["ask", () => ({ type: "fence", leadership: set.primary.own! })],
  ["fetch", () => ({ type: "check", first: offset(1), last: offset(1) })],
])("who goes on to %s is answered no further than there is room", async (purpose, question) => {
  const peer = await deaf(purpose);
  const asked = Buffer.concat(encodeMessage(question(), 0));
  peer.sayBytes(Buffer.concat(Array.from({ length: 10_000 }, () => asked)));
  const unread = (): number => set.world.network.ends[1]!.bufferedBytes;
  await set.world.clock.until(() => unread() > BUFFER_BYTES, "there is no room any more");
  for (let turn = 0; turn < 5_000; turn++) await setImmediate();
  expect(unread()).toBeLessThan(BUFFER_BYTES + 4 * 1024);
});

it("who fetches and takes nothing in keeps the others out no longer than an answer is waited for", async () => {
  const { primary, world, address } = set;
  for (let i = 0; i < 60; i++) await appendMany(primary.required, 10, 2_000);
  for (let i = 0; i < 8; i++)
    (await deaf("fetch")).say({ type: "fetch", first: offset(1), last: offset(600) });
  const full = (): number =>
    world.network.ends.filter(({ bufferedBytes }) => bufferedBytes > BUFFER_BYTES).length;
  await world.clock.until(() => full() === 8, "none of them has room any more");
  await world.clock.advance(121_000);
  const next = RawPeer.dial(world.network, world.clock, address);
  await next.greet(new LinkNodeDouble(world).introduction(), { purpose: "fetch" });
  next.say({ type: "check", first: offset(1), last: offset(1) });
  expect((await next.hears("checked")).end.offset).toBe(1);
});
