/** Who is let in between real servers: certificates of one authority on both sides and the same secret, or a clear word on both sides. */
import { copyFileSync, writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { freePort } from "../../ops/free-port.js";
import { CertificateDirectory, hasOpenssl } from "../support/certificates.js";
import { hasIpv6 } from "../support/ipv6.js";
import { ReplicaSet, type SetNode } from "../support/replica-set.js";
import { expectOne, hasAll, until } from "../support/set-waits.js";

let set: ReplicaSet;
let certificates: CertificateDirectory;
afterEach(() => set.end());

const secret = (words: string) => ({ ANNALS_REPLICATION_SECRET: words });
const tls = (name: string, authority: string) => ({
  ANNALS_REPLICATION_TLS_CERT_FILE: certificates.file(`${name}.pem`),
  ANNALS_REPLICATION_TLS_KEY_FILE: certificates.file(`${name}.key`),
  ANNALS_REPLICATION_TLS_CA_FILE: certificates.file(`${authority}.pem`),
});

/** Its link ended, and it says with what. */
async function refusedWith(node: SetNode, words: RegExp): Promise<void> {
  await until(`${node.name} says ${words}`, async () =>
    node.output
      .split("\n")
      .some((line) => line.includes("the link to") && line.includes("ended") && words.test(line)),
  );
  expect(await node.stats()).toMatchObject({ connected: false, replica_offset: 0 });
}

describe.skipIf(!hasOpenssl)("a node that wants to follow (needs openssl, to make certificates)", () => {
  beforeAll(() => {
    certificates = new CertificateDirectory();
    certificates.authority("ours");
    certificates.authority("theirs");
    for (const name of ["one", "two"]) certificates.signed(name, "ours");
    certificates.signed("stranger", "theirs");
  });
  afterAll(() => certificates.remove());

  it("is let in with a certificate and the secret, and refused with a clear word on both sides without", async () => {
    set = await ReplicaSet.begin();
    // On every address, so it sees those that dial by IPv4 as IPv6 shows them.
    const everywhere = (await hasIpv6()) ? "[::]" : "0.0.0.0";
    const port = await freePort();
    const listens = ["--replica-listen", `${everywhere}:${port}`];
    const one = await set.primary("one", listens, { ...tls("one", "ours"), ...secret("a long word") });
    await one.client.put("key", "value");
    const follows = (name: string, environment: Record<string, string>, flags: readonly string[] = []) =>
      set.replica(name, { address: `127.0.0.1:${port}` }, flags, {
        ...environment,
        ANNALS_REPLICATION_REPLICA_TIMEOUT_SECS: "1",
      });
    const trusted = { ...tls("two", "ours"), ...secret("a long word") };
    const [two, three, wrong, silent, foreign, doubting, plain] = await Promise.all([
      follows("two", trusted),
      follows("three", trusted, ["--replica-listen", "0.0.0.0:0"]),
      follows("wrong", { ...tls("two", "ours"), ...secret("another word") }),
      follows("silent", tls("two", "ours")),
      follows("foreign", { ...tls("stranger", "ours"), ...secret("a long word") }),
      follows("doubting", { ...tls("two", "theirs"), ...secret("a long word") }),
      follows("plain", secret("a long word")),
    ]);
    await Promise.all([hasAll(two, one), hasAll(three, one)]);
    expect((await one.client.put("key", "confirmed", { "x-annals-acks": "2" })).status).toBeLessThan(300);
    await expectOne(one, two, three);

    await refusedWith(wrong, /does not know this node's shared secret/);
    await refusedWith(silent, /asks for the shared secret and the other side has none/);
    await refusedWith(foreign, /may not trust this node's certificate/);
    await refusedWith(doubting, /self-signed certificate in certificate chain/);
    await refusedWith(plain, /one that takes only TLS/);
    const told = (): string[] => one.output.split("\n").filter((line) => line.includes("was not let in"));
    for (const words of [
      /REPLICATION_SECRET_WRONG/,
      /its certificate is not trusted: /,
      // Who doubts us says so, and who speaks no TLS is not understood.
      /it ended the handshake: it may not trust/,
      /wrong version number/,
    ])
      await expect.poll(() => told().join("\n")).toMatch(words);
    // Whose handshake it was that broke off is not known where two ended in one turn.
    const byIPv4 = /"remote":"127\.0\.0\.1:\d+(?: or 127\.0\.0\.1:\d+)*"/;
    expect(told().filter((line) => !byIPv4.test(line))).toEqual([]);
    const stats = await one.stats();
    const { replicas, peers } = stats as Record<"replicas" | "peers", { name: string; address: string }[]>;
    expect(replicas.map(({ name }) => name).sort()).toEqual(["three", "two"]);
    for (const { name, address } of replicas) {
      expect(address).toMatch(/^127\.0\.0\.1:\d+$/);
      expect(peers.find((peer) => peer.name === name)?.address).toBe(address);
    }

    // Reached where the primary saw it, the other one shows a certificate that holds for the address.
    await one.kill();
    const promoted = await two.post("/api/replication/promote");
    expect(promoted.status, promoted.text).toBe(200);
    await until("three follows", async () => (await three.stats())["connected"] === true);
  });

  it("is held to the certificates that SIGHUP has read again; what is no certificate changes nothing", async () => {
    const put = (name: string, content: string) => {
      for (const end of ["pem", "key"])
        copyFileSync(certificates.file(`${content}.${end}`), certificates.file(`${name}.${end}`));
    };
    certificates.signed("newer", "theirs", 30);
    put("node", "one");
    put("trusted", "ours");
    set = await ReplicaSet.begin();
    const one = await set.primary("one", [], tls("node", "trusted"));
    const two = await set.replica("two", one, [], tls("node", "trusted"));
    await hasAll(two, one);
    const expires = async (): Promise<number> => {
      const page = (await one.client.send("GET", "/metrics")).text;
      return Number(/^annals_replication_certificate_expires_timestamp_seconds (\S+)$/m.exec(page)?.[1]);
    };
    const days = (await expires()) - Date.now() / 1000;
    expect(days).toBeGreaterThan(86_400);
    expect(days).toBeLessThan(3 * 86_400);

    const told = (node: SetNode, words: string) =>
      until(`${node.name} says: ${words}`, async () => node.output.includes(words));
    writeFileSync(certificates.file("node.pem"), "no certificate");
    one.signal("SIGHUP");
    await told(one, "the certificates could not be read again; those of before go on");
    const three = await set.replica("three", one, [], tls("one", "ours"));
    await hasAll(three, one);

    put("node", "newer");
    put("trusted", "theirs");
    for (const node of [one, two]) node.signal("SIGHUP");
    await Promise.all([one, two].map((node) => told(node, "certificates read again, for new connections")));
    expect((await expires()) - Date.now() / 1000).toBeGreaterThan(29 * 86_400);
    await one.client.put("key", "value");
    await hasAll(two, one);
    const four = await set.replica("four", one, [], tls("node", "trusted"));
    await hasAll(four, one);
    const late = await set.replica("late", one, [], tls("one", "ours"));
    await refusedWith(late, /certificate/);
  });
});
