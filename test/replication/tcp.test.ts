/** The same two sides over real sockets: TCP by name and by IPv6, and TLS with certificates of both. */
import * as net from "node:net";
import { setTimeout } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { CROWD_MAX } from "../../replication/crowd.js";
import { ReplicationError } from "../../replication/errors.js";
import { LinkListener } from "../../replication/listener.js";
import type { Address, Network } from "../../replication/ports.js";
import { hostOf } from "../../replication/reachable.js";
import { Receiver } from "../../replication/receiver.js";
import { systemClock, systemRandom } from "../../replication/system.js";
import { TcpNetwork, type TlsCertificates } from "../../replication/tcp.js";
import { CertificateDirectory, hasOpenssl } from "../support/certificates.js";
import { hasIpv6 } from "../support/ipv6.js";
import { LinkNodeDouble } from "../support/link-node.js";
import { MemoryNetwork } from "../support/memory-network.js";
import { appendMany } from "../support/test-log.js";
import { VirtualClock } from "../support/virtual-clock.js";

const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

const stopping = new ReplicationError("REPLICATION_STOPPING", "the test is over");

function newNode(timeoutMs = 10_000): LinkNodeDouble {
  const world = { network: new MemoryNetwork(), clock: new VirtualClock() };
  return new LinkNodeDouble(world, { settings: { timeoutMs }, log: { segmentBytes: 1024 * 1024 } });
}

const real = (node: LinkNodeDouble) => ({ ...node.context, clock: systemClock, random: systemRandom });

async function listen(node: LinkNodeDouble, network: Network, host: string): Promise<Address> {
  const events = {};
  const options = { address: { host, port: 0 }, network, context: real(node), host: node, events };
  const listener = await LinkListener.open(options);
  node.listener = listener;
  ends.push(() => listener.close(stopping));
  return listener.address!;
}

function follow(node: LinkNodeDouble, network: Network, address: Address): Receiver {
  const events = { failed: (error: ReplicationError) => void node.failures.push(error) };
  const receiver = new Receiver({ address, network, context: real(node), host: node, events });
  receiver.start();
  ends.push(() => receiver.stop());
  return receiver;
}

async function until(holds: () => boolean, what: string): Promise<void> {
  for (let i = 0; i < 10_000 && !holds(); i++) await setTimeout(10);
  if (!holds()) throw new Error(`waited in vain until ${what}`);
}

async function joins(host: string, dialled: string, of: Network = new TcpNetwork()): Promise<void> {
  const [primary, replica] = [newNode(), newNode()];
  await primary.lead(50);
  const { port } = await listen(primary, of, host);
  follow(replica, of, { host: dialled, port });
  await until(() => replica.end === primary.end, "it has joined");
  await appendMany(primary.required, 200, 4_000);
  await until(() => replica.end === primary.end, "it has everything");
  await replica.required.whenCommitted(replica.required.endOffset);
  expect(await replica.segments()).toEqual(await primary.segments());
}

/** Where those seem to come from that dial, one after the other, a node that listens on all addresses. */
async function remotesOf(network: Network, dialled: readonly string[]): Promise<string[]> {
  const primary = newNode();
  await primary.lead(1);
  const { port } = await listen(primary, network, "::");
  const remotes: string[] = [];
  for (const host of dialled) {
    const receiver = follow(newNode(), network, { host, port });
    await until(() => primary.listener?.senders.length === 1, "it follows");
    remotes.push(primary.listener?.senders[0]?.progress.remote ?? "");
    await receiver.stop();
    await until(() => primary.listener?.senders.length === 0, "it follows no longer");
  }
  return remotes;
}

describe("over TCP", () => {
  it("a node joins by host name and by address", async () => {
    await joins("127.0.0.1", "localhost");
  });

  it("a node joins over IPv6", async (test) => {
    test.skip(!(await hasIpv6()), "this machine has no IPv6 loopback");
    await joins("::1", "::1");
  });

  it("a node that dials by IPv4 who listens on all addresses is known by its IPv4 address", async (test) => {
    test.skip(!(await hasIpv6()), "this machine has no IPv6 loopback");
    const remotes = await remotesOf(new TcpNetwork(), ["127.0.0.1", "::1"]);
    expect(remotes.map(hostOf)).toEqual(["127.0.0.1", "::1"]);
  });

  it("who dials where nobody listens is told why; an address that is taken is an error of listening", async () => {
    const [primary, replica] = [newNode(), newNode()];
    await primary.lead(1);
    const taken = await listen(primary, new TcpNetwork(), "127.0.0.1");
    const again = {
      address: taken,
      network: new TcpNetwork(),
      context: real(primary),
      host: primary,
      events: {},
    };
    await expect(LinkListener.open(again)).rejects.toMatchObject({ code: "EADDRINUSE" });
    const free = await listen(replica, new TcpNetwork(), "127.0.0.1");
    await ends.pop()?.();
    follow(replica, new TcpNetwork(), free);
    await until(() => replica.failures.length > 0, "it failed");
    expect(replica.failures[0]?.code).toBe("REPLICATION_CONNECTION_FAILED");
    expect(replica.failures[0]?.message).toContain("ECONNREFUSED");
  });

  it("strangers who come in crowds take so many files, and keep no node out", async () => {
    const [primary, replica] = [newNode(), newNode()];
    await primary.lead(50);
    const address = await listen(primary, new TcpNetwork(), "127.0.0.1");
    expect(await openedBySilence(address, 600)).toBeLessThan(256 + CROWD_MAX + 8);
    follow(replica, new TcpNetwork(), address);
    await until(() => replica.end === primary.end, "it has joined");
  });

  it("garbage from anybody ends that connection, and no other", async () => {
    const [primary, replica] = [newNode(), newNode()];
    await primary.lead(10);
    const address = await listen(primary, new TcpNetwork(), "127.0.0.1");
    follow(replica, new TcpNetwork(), address);
    await until(() => replica.end === primary.end, "it has joined");
    for (const bytes of ["GET / HTTP/1.1\r\nhost: x\r\n\r\n", "\0".repeat(5_000), "\xff".repeat(5_000)]) {
      const socket = net.connect(address.port, address.host);
      socket.on("error", () => undefined);
      socket.write(Buffer.from(bytes, "latin1"));
      socket.resume();
      await new Promise((resolve) => socket.once("close", resolve));
    }
    await appendMany(primary.required, 10);
    await until(() => replica.end === primary.end, "it has everything");
    expect(replica.failures).toEqual([]);
  });
});

/** Connects from here, so often, and says nothing; resolves with how many of those were open at the other end at most. */
async function openedBySilence(to: Address, count: number): Promise<number> {
  const open = () => process.getActiveResourcesInfo().filter((kind) => kind === "TCPSocketWrap").length;
  const before = open();
  const sockets: net.Socket[] = [];
  ends.push(async () => sockets.map((socket) => socket.destroy()));
  let most = 0;
  for (let from = 0; from < count; from += 50) {
    const more = Array.from({ length: 50 }, () =>
      net.connect({ port: to.port, host: to.host, allowHalfOpen: true }).on("error", () => undefined),
    );
    sockets.push(...more);
    await Promise.all(more.map((socket) => new Promise((resolve) => socket.once("connect", resolve))));
    most = Math.max(most, open() - before - sockets.filter(({ destroyed }) => !destroyed).length);
  }
  return most;
}

describe.skipIf(!hasOpenssl)("over TLS (needs openssl, to make certificates)", () => {
  let directory: CertificateDirectory;
  let one: TlsCertificates;
  let foreign: TlsCertificates;
  beforeAll(() => {
    directory = new CertificateDirectory();
    directory.authority("ours");
    directory.authority("theirs");
    one = directory.signed("one", "ours");
    foreign = directory.signed("two", "theirs");
  });
  afterAll(() => directory.remove());

  it("a node with a certificate of the same authority joins", async () => {
    await joins("127.0.0.1", "localhost", new TcpNetwork({ tls: one }));
    await joins("127.0.0.1", "127.0.0.1", new TcpNetwork({ tls: one }));
  });

  it("one of another authority, one without, and one whose name is not its own are refused", async () => {
    const refusals: string[] = [];
    const tls = new TcpNetwork({ tls: one, refused: (_, remote) => refusals.push(remote) });
    const primary = newNode();
    await primary.lead(1);
    const address = await listen(primary, tls, "127.0.0.1");
    const strangers = [
      new TcpNetwork({ tls: foreign }),
      // Believes us, but we don't know who it is.
      new TcpNetwork({ tls: { ...foreign, ca: one.ca } }),
      new TcpNetwork({ tls: { ...one, serverName: "elsewhere" } }),
      new TcpNetwork(),
    ];
    for (const network of strangers) {
      // One that speaks no TLS waits for a word, as the other side does.
      const stranger = newNode(400);
      const receiver = follow(stranger, network, address);
      await until(() => stranger.failures.length > 0, "it was refused");
      await receiver.stop();
      expect(stranger.end).toBe(0);
    }
    expect(refusals.length).toBeGreaterThan(1);
    for (const remote of refusals) expect(remote).toMatch(/^127\.0\.0\.1:[1-9]\d+$/);
  });

  it("who comes after the certificates were renewed is held to the new ones, and open links go on", async () => {
    const ours = new TcpNetwork({ tls: one });
    const [primary, replica, late] = [newNode(), newNode(), newNode(400)];
    await primary.lead(5);
    const address = await listen(primary, ours, "127.0.0.1");
    const theirs = new TcpNetwork({ tls: one });
    follow(replica, theirs, address);
    await until(() => replica.end === primary.end, "it has joined");

    ours.renew(foreign);
    await appendMany(primary.required, 5);
    await until(() => replica.end === primary.end, "it goes on");
    const receiver = follow(late, theirs, address);
    await until(() => late.failures.length > 0, "it was refused");
    await receiver.stop();
    theirs.renew(foreign);
    const joined = newNode();
    follow(joined, theirs, address);
    await until(() => joined.end === primary.end, "it has joined");
    expect(replica.failures).toEqual([]);
  });

  it("strangers who come in crowds take so many files, and keep no node out", async () => {
    const refusals = new Set<string>();
    const tls = new TcpNetwork({ tls: one, refused: ({ message }) => refusals.add(message) });
    const [primary, replica] = [newNode(), newNode()];
    await primary.lead(50);
    const address = await listen(primary, tls, "127.0.0.1");
    expect(await openedBySilence(address, 600)).toBeLessThan(CROWD_MAX + 8);
    expect([...refusals]).toEqual([`it was one of more than ${CROWD_MAX} that came or went at once`]);
    follow(replica, tls, address);
    await until(() => replica.end === primary.end, "it has joined");
  });
});
