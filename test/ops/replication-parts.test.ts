/** The parts of a replicated server that need no other node: addresses, secrets, sending writes on, and waiting while the state is replaced. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { ReplicationRefusalCode } from "../../api/errors.js";
import { errorTable, type ForwardedWrite } from "../../api/index.js";
import { loadConfig } from "../../ops/config/load.js";
import { replicationSettings } from "../../ops/config/replication-settings.js";
import { isReplicated } from "../../ops/config/rooms.js";
import type { ConfigValues } from "../../ops/config/settings.js";
import { LateLog } from "../../ops/late-log.js";
import { LateStore } from "../../ops/late-store.js";
import { parseAddress } from "../../ops/replication/address.js";
import { Forwarder } from "../../ops/replication/forward.js";
import { NodeSecrets } from "../../ops/replication/node-secrets.js";
import {
  acksByDefault,
  nodeSettings,
  readCertificates,
  readSecrets,
} from "../../ops/replication/node-settings.js";
import { refusalOf } from "../../ops/replication/shown.js";
import { kv, queue, TEXT_TYPE } from "../../projections/index.js";
import {
  ReplicationError,
  type ReplicationErrorCode,
  type ReplicationSettings,
  type TlsCertificates,
} from "../../replication/index.js";
import { linkSettingsOf } from "../../replication/link-ports.js";
import { CertificateDirectory, hasOpenssl } from "../support/certificates.js";
import { TestStore } from "../support/kv-store.js";
import { MemoryLog } from "../support/memory-log.js";

const none = () => [];

function values(environment: Record<string, string> = {}): ConfigValues {
  const loaded = loadConfig({ environment, flags: {} });
  if (!loaded.ok) throw new Error(loaded.mistakes[0]?.message);
  return loaded.config.values;
}

const listening = (on: string) => values({ ANNALS_REPLICATION_REPLICA_LISTEN_ADDRESS: on });

describe("an address", () => {
  it.each([
    ["db1", { host: "db1", port: 15_501 }],
    ["db1:7", { host: "db1", port: 7 }],
    ["10.0.0.1:15600", { host: "10.0.0.1", port: 15_600 }],
    ["[::1]:15600", { host: "::1", port: 15_600 }],
    ["[fe80::1%eth0]", { host: "fe80::1%eth0", port: 15_501 }],
    ["[fe80::1%br-lan_0.1]:65535", { host: "fe80::1%br-lan_0.1", port: 65_535 }],
  ])("%s", (text, address) => {
    expect(parseAddress(text)).toEqual(address);
    expect(nodeSettings(listening(text), none, () => undefined).listenAddress).toEqual(address);
  });

  it.each([
    ...["", ":15501", "db1:", "db1:65536", "db1:99999", "db1:015501", "::1", "[db1]", "db 1"],
    ...["http://db1", "db1:1:2", "[fe80::1%]"],
  ])("is not %j, and no server starts with it", (text) => {
    expect(parseAddress(text)).toBeUndefined();
    expect(() => listening(text === "" ? " " : text)).toThrow(/replica_listen_address: expected an address/);
  });
});

describe("settings", () => {
  it("make a member of a node that has a role, unless replication is off", () => {
    const replica = { ANNALS_REPLICATION_ROLE: "replica", ANNALS_REPLICATION_MASTER_ADDRESS: "db1" };
    expect(isReplicated(values())).toBe(false);
    expect(isReplicated(values(replica))).toBe(true);
    const off = { ANNALS_REPLICATION_ROLE: "master", ANNALS_REPLICATION_ENABLED: "false" };
    expect(isReplicated(values(off))).toBe(false);
  });

  it("say how many replicas a write waits for that does not say", () => {
    const min = { ANNALS_REPLICATION_MIN_REPLICAS_FOR_WRITE: "2" };
    expect(acksByDefault(values())).toBe(0);
    expect(acksByDefault(values(min))).toBe(2);
    expect(acksByDefault(values({ ...min, ANNALS_REPLICATION_ACKS: "0" }))).toBe(0);
    expect(acksByDefault(values({ ANNALS_REPLICATION_ACKS: "quorum" }))).toBe("quorum");
  });

  /** Setting, its text, and what the node is told. */
  const told: readonly [setting: string, text: string, node: Partial<ReplicationSettings>][] = [
    ["role", "replica", { role: "replica" }],
    ["node_name", "north", { name: "north" }],
    ["master_address", "[::1]:7", { masterAddress: { host: "::1", port: 7 } }],
    ["replica_listen_address", "db1:8", { listenAddress: { host: "db1", port: 8 } }],
    ["advertised_address", "db1:9", { advertiseAddress: { host: "db1", port: 9 } }],
    ["heartbeat_interval_ms", "70", { heartbeatIntervalMs: 70 }],
    ["replica_timeout_secs", "7", { replicaTimeoutMs: 7_000 }],
    ["buffer_size_kb", "17", { bufferBytes: 17 * 1024 }],
    ["auto_reconnect", "false", { autoReconnect: false }],
    ["reconnect_delay_ms", "71", { reconnectDelayMs: 71 }],
    ["max_lag_ms", "72", { maxLagMs: 72 }],
    ["check_interval_secs", "5", { checkIntervalMs: 5_000 }],
    ["rejoin", "false", { rejoin: false }],
    ["min_replicas_for_write", "2", { minReplicasForWrite: 2 }],
    ["backpressure_lag_ms", "73", { writeLagMsMax: 73 }],
  ];
  /** What else there is, and who else is told of it: the doors, the network. */
  const elsewhere = [
    ...["enabled", "advertised_http_address", "acks", "ack_timeout_ms", "forward_writes", "secret_file"],
    ...["tls.cert_file", "tls.key_file", "tls.ca_file"],
  ];
  const inEnvironment = (setting: string): string => `ANNALS_REPLICATION_${setting.toUpperCase()}`;

  it.each(told)("reach the node: %s", (setting, text, node) => {
    const nothing = (): undefined => undefined;
    const master = { [inEnvironment("master_address")]: "db1" };
    const changed = values({ ...master, [inEnvironment(setting)]: text });
    expect(nodeSettings(changed, none, nothing)).toMatchObject(node);
    expect(nodeSettings(values(master), none, nothing)).not.toMatchObject(node);
  });

  it("reach the node, all of them, and from there its links", () => {
    const names = [...told.map(([setting]) => setting), ...elsewhere].map((name) => `replication.${name}`);
    expect(names.sort()).toEqual(Object.keys(replicationSettings).sort());
    const http = values({ ANNALS_REPLICATION_ADVERTISED_HTTP_ADDRESS: "http://db1:7/" });
    const secrets = () => [Buffer.from("a word")];
    const all = values(Object.fromEntries(told.map(([setting, text]) => [inEnvironment(setting), text])));
    expect(nodeSettings(http, none, () => "http://here").httpAddress()).toBe("http://db1:7");
    const settings = nodeSettings(all, secrets, () => "http://here");
    expect(settings.httpAddress()).toBe("http://here");
    expect(linkSettingsOf(settings)).toEqual({
      heartbeatIntervalMs: 70,
      timeoutMs: 7_000,
      windowBytes: 17 * 1024,
      reconnectDelayMs: 71,
      autoReconnect: false,
      secrets,
    });
  });

  it("name a file with the secret, or the environment has it", async () => {
    const directory = mkdtempSync(join(tmpdir(), "annals-secret-"));
    const file = join(directory, "secret");
    writeFileSync(file, "from the file\n");
    const named = values({ ANNALS_REPLICATION_SECRET_FILE: file });
    const environment = { ANNALS_REPLICATION_SECRET: "from the environment" };
    expect(await readSecrets(values(), {})).toEqual([]);
    expect(await readSecrets(values(), environment)).toEqual([Buffer.from("from the environment")]);
    expect(await readSecrets(named, environment)).toEqual([Buffer.from("from the file")]);
    writeFileSync(file, "\n");
    await expect(readSecrets(named, {})).rejects.toThrow(/the secret is empty/);
    rmSync(directory, { recursive: true });
    await expect(readSecrets(named, {})).rejects.toThrow(/^replication\.secret_file: .*; check the file$/);
    expect(await readCertificates(values())).toBeUndefined();
  });

  it.each([
    ["newer\n\nolder\n", ["newer", "older"]],
    ["newer\r\n\r\n\r\nolder\r\n", ["newer", "older"]],
    ["\n\n\nnewer\n\n\n\nolder\n\n", ["newer", "older"]],
    // Such as base64 writes it, and a word with blanks.
    ["b3BlbiBzZXNhbWUs\nb3BlbiE=\n", ["b3BlbiBzZXNhbWUs\nb3BlbiE="]],
    [" a b \n\n c", [" a b ", " c"]],
    ["a\n\nb\n\nc\n\nd", ["a", "b", "c", "d"]],
  ])("know the secrets between the empty lines of %j", async (ANNALS_REPLICATION_SECRET, secrets) => {
    expect(await readSecrets(values(), { ANNALS_REPLICATION_SECRET })).toEqual(
      secrets.map((secret) => Buffer.from(secret)),
    );
  });

  it("know few secrets, and none without a bound", async () => {
    const five = { ANNALS_REPLICATION_SECRET: "aa\n\nbb\n\ncc\n\ndd\n\nee" };
    const told = await readSecrets(values(), five).catch(String);
    expect(told).toBe("Error: ANNALS_REPLICATION_SECRET: 5 secrets, and a node knows at most 4");
    const long = { ANNALS_REPLICATION_SECRET: "x".repeat(65_537) };
    await expect(readSecrets(values(), long)).rejects.toThrow(/longer than the 65536 characters expected$/);
  });

  it("let secrets give way to others that are read again, but never all at once", async () => {
    const directory = mkdtempSync(join(tmpdir(), "annals-secret-"));
    const file = join(directory, "secret");
    writeFileSync(file, "older\n");
    const secrets = await NodeSecrets.read(values({ ANNALS_REPLICATION_SECRET_FILE: file }), {});
    const renewed = async (text: string): Promise<string> => {
      writeFileSync(file, text);
      return await secrets.renew().then(
        (known) => known.join(" and "),
        (error: Error) => error.message,
      );
    };
    const expected = ["newer\nolder\n", "newer\n", "a\n\nb\n\nc\n\nolder\n\ne"];
    for (const text of expected) {
      expect(await renewed(text)).toMatch(/holds no secret of before|at most 4/);
      expect(secrets.current.map(String)).toEqual(["older"]);
    }
    expect(await renewed("newer\n\nolder\n")).toBe("newer and older");
    expect(await renewed("newer\n")).toBe("newer");
    expect(await renewed("older\n")).not.toMatch(/newer|older$/);
    expect(secrets.current.map(String)).toEqual(["newer"]);
    rmSync(directory, { recursive: true });
  });

  it.skipIf(!hasOpenssl)("name certificates, which must go together (needs openssl)", async () => {
    const made = new CertificateDirectory();
    made.authority("ours");
    const [one, other] = [made.signed("one", "ours"), made.signed("two", "ours")];
    const directory = mkdtempSync(join(tmpdir(), "annals-tls-"));
    const read = async (files: Partial<TlsCertificates>) => {
      const { certificate, key, ca } = { ...one, ...files };
      const named = Object.entries({ CERT: certificate, KEY: key, CA: ca }).map(([name, content]) => {
        const file = join(directory, name);
        writeFileSync(file, content);
        return [`ANNALS_REPLICATION_TLS_${name}_FILE`, file];
      });
      return await readCertificates(values(Object.fromEntries(named)));
    };
    expect(String((await read({}))?.key)).toBe(String(one.key));
    const refused =
      /^replication\.tls: .*; all three files must be PEM, and key_file that of the certificate/s;
    for (const files of [{ key: other.key }, { certificate: "" }, { key: one.ca }, { ca: "none" }])
      await expect(read(files)).rejects.toThrow(refused);
    made.remove();
    rmSync(directory, { recursive: true });
  });
});

describe("a failure of replication", () => {
  it("is told to clients when it is one that they can meet, and is no mistake of the server", () => {
    const error = new ReplicationError("REPLICATION_READ_ONLY", "a replica", {
      primary: "http://db1",
      listed: true,
    });
    expect(refusalOf(error)).toMatchObject({
      code: "REPLICATION_READ_ONLY",
      details: { primary: "http://db1" },
    });
    const inner = new ReplicationError("REPLICATION_FRAME_BAD", "bytes");
    expect(() => refusalOf(inner)).toThrow(inner);
  });

  it("has the same name in both rooms", () => {
    // Does not compile when a code that clients are told is not one of replication; the one exception is of the server's own.
    type Strange = Exclude<ReplicationRefusalCode, ReplicationErrorCode | "REPLICATION_FORWARD_FAILED">;
    const strange: Strange[] = [];
    expect(strange).toEqual([]);
    expect(Object.keys(errorTable).filter((code) => code.startsWith("REPLICATION_")).length).toBeGreaterThan(
      8,
    );
  });
});

describe("a write that is sent on", () => {
  const forwarder = new Forwarder();
  let primary: Server | undefined;
  afterEach(() => {
    primary?.closeAllConnections();
    primary?.close();
  });

  interface Arrived {
    readonly incoming: IncomingMessage;
    readonly body: string;
  }

  async function listen(answer: (arrived: Arrived, response: ServerResponse, count: number) => void) {
    const arrived: Arrived[] = [];
    const server = createServer((incoming, response) => {
      const parts: Buffer[] = [];
      incoming.on("data", (part: Buffer) => parts.push(part));
      incoming.on("end", () => {
        arrived.push({ incoming, body: Buffer.concat(parts).toString("hex") });
        answer(arrived.at(-1)!, response, arrived.length);
      });
    });
    primary = server;
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    return { arrived, url: `http://127.0.0.1:${typeof address === "object" ? address?.port : 0}` };
  }

  const write = (more: Partial<ForwardedWrite> = {}): ForwardedWrite => ({
    method: "PUT",
    url: "/kv/a?ttl=5",
    headers: ["Host", "replica:1", "If-Match", '"3"', "Connection", "keep-alive", "X-Request-Id", "theirs"],
    body: Buffer.from([0, 255, 10]),
    requestId: "r-1",
    once: "a key",
    signal: new AbortController().signal,
    ...more,
  });

  it("arrives as it came, and its answer comes back as it was", async () => {
    const { arrived, url } = await listen((_asked, response) => {
      response.writeHead(201, { ETag: '"4"', "Content-Type": "text/plain" }).end("done");
    });
    const answer = await forwarder.send(() => url, write());
    expect(answer).toMatchObject({ type: "forwarded", status: 201 });
    if (answer.type === "refused") throw new Error(answer.message);
    expect(Buffer.from(answer.body).toString()).toBe("done");
    expect(answer.headers).toEqual(["ETag", '"4"', "Content-Type", "text/plain"]);
    const [{ incoming, body } = { incoming: undefined, body: "" }] = arrived;
    expect([incoming?.method, incoming?.url, body]).toEqual(["PUT", "/kv/a?ttl=5", "00ff0a"]);
    expect(incoming?.headers).toMatchObject({
      "if-match": '"3"',
      "x-request-id": "r-1",
      "x-annals-hops": "1",
    });
    expect(`http://${incoming?.headers.host}`).toBe(url);
  });

  it("goes no further than a few nodes", async () => {
    const { arrived, url } = await listen((_asked, response) => response.end());
    const answer = await forwarder.send(() => url, write({ headers: ["X-Annals-Hops", "3"] }));
    expect(answer).toMatchObject({ code: "REPLICATION_FORWARD_FAILED" });
    expect(await forwarder.send(() => url, write({ headers: ["X-Annals-Hops", "many"] }))).toMatchObject({
      code: "REPLICATION_FORWARD_FAILED",
    });
    expect(arrived).toHaveLength(0);
  });

  const keyOf = ({ incoming }: Arrived): unknown => incoming.headers["idempotency-key"];

  it("is asked again under one key when its answer is lost, which its client never hears of", async () => {
    const { arrived, url } = await listen((_asked, response, count) => {
      if (count < 3) response.socket?.destroy();
      else response.setHeader("Idempotent-Replayed", "true").end("again");
    });
    const answer = await forwarder.send(() => url, write());
    expect(answer).toMatchObject({ type: "forwarded", status: 200 });
    expect(JSON.stringify(answer)).not.toMatch(/idempotent/i);
    expect(arrived).toHaveLength(3);
    expect(keyOf(arrived[0]!)).toMatch(/^forwarded-[0-9a-f]{32}$/);
    expect(new Set(arrived.map(keyOf)).size).toBe(1);
  });

  it("keeps the key that its client sent", async () => {
    const { arrived, url } = await listen((_asked, response, count) => {
      if (count < 2) response.socket?.destroy();
      else response.setHeader("Idempotent-Replayed", "true").end("again");
    });
    const keyed = write({ headers: ["Idempotency-Key", "k"], once: "client's key" });
    expect(JSON.stringify(await forwarder.send(() => url, keyed))).toMatch(/idempotent-replayed/i);
    expect(arrived.map(keyOf)).toEqual(["k", "k"]);
  });

  it("that takes no key is sent once: when its answer is lost, nobody knows", async () => {
    const { arrived, url } = await listen((_asked, response) => response.socket?.destroy());
    const unknown = {
      code: "REPLICATION_FORWARD_FAILED",
      message: expect.stringContaining("unknown"),
    };
    expect(await forwarder.send(() => url, write({ once: "nothing" }))).toMatchObject(unknown);
    expect(arrived.map(keyOf)).toEqual([undefined]);
  });

  it("is sent without the key when the primary takes none of it", async () => {
    const { arrived, url } = await listen(({ incoming }, response) => {
      if (incoming.headers["idempotency-key"] === undefined) response.end("queued");
      else response.writeHead(400).end('{"error_code":"API_IDEMPOTENCY_KEY_INVALID"}');
    });
    const answer = await forwarder.send(() => url, write());
    expect(answer).toMatchObject({ type: "forwarded", status: 200 });
    expect(arrived).toHaveLength(2);
  });

  /** What the envelope answers is 200, whatever it says. */
  const enveloped = (code: number, error_code: string) =>
    JSON.stringify({ success: false, request_id: "1", payload: null, error: "", code, error_code });
  const envelope = write({ method: "POST", url: "/api/v1/command" });

  it("in an envelope, too", async () => {
    const { arrived, url } = await listen(({ incoming }, response) => {
      const isKeyed = incoming.headers["idempotency-key"] !== undefined;
      response.end(isKeyed ? enveloped(400, "API_IDEMPOTENCY_KEY_INVALID") : "queued");
    });
    const answer = await forwarder.send(() => url, envelope);
    expect(answer.type === "forwarded" && String(answer.body)).toBe("queued");
    expect(arrived).toHaveLength(2);
  });

  it.each([
    ["by its status", write(), 503, "{}"],
    ["as a replica", write(), 403, '{"error_code":"REPLICATION_READ_ONLY"}'],
    ["because it is at it", write(), 409, '{"error_code":"IDEMPOTENCY_IN_PROGRESS"}'],
    ["in an envelope", envelope, 200, enveloped(503, "REPLICATION_CHANGING")],
    ["in an envelope, as a replica", envelope, 200, enveloped(403, "REPLICATION_READ_ONLY")],
  ])(
    "is not said to be refused (%s) by a node that cannot know of what was sent before",
    async (_how, asked, status, refusal) => {
      const { arrived, url } = await listen((_asked, response, count) => {
        if (count === 1) response.socket?.destroy();
        else if (count === 2) response.writeHead(status).end(refusal);
        else response.end("done");
      });
      const answer = await forwarder.send(() => url, asked);
      expect(answer.type === "forwarded" && String(answer.body)).toBe("done");
      expect(arrived).toHaveLength(3);
    },
  );

  it("and refused at first is refused, in an envelope too", async () => {
    const { arrived, url } = await listen((_asked, response) =>
      response.end(enveloped(503, "REPLICATION_CHANGING")),
    );
    const answer = await forwarder.send(() => url, envelope);
    expect(answer.type === "forwarded" && String(answer.body)).toContain("REPLICATION_CHANGING");
    expect(arrived).toHaveLength(1);
  });

  it("is said not to have been sent when nobody was there", async () => {
    const server = createTcpServer().listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const address = server.address();
    const port = typeof address === "object" ? address?.port : 0;
    await new Promise((resolve) => server.close(resolve));
    const answer = await forwarder.send(() => `http://127.0.0.1:${port}`, write());
    expect(answer).toMatchObject({
      code: "REPLICATION_FORWARD_FAILED",
      message: expect.stringContaining("not sent"),
    });
  });

  it("ends when its client goes away", async () => {
    const gone = new AbortController();
    const { url } = await listen(() => gone.abort());
    expect(await forwarder.send(() => url, write({ signal: gone.signal }))).toMatchObject({
      code: "API_CLIENT_GONE",
    });
  });
});

describe("a state that takes another's place", () => {
  const context = { now: 1_000_000, random: 0.5, cause: { command: "test" } };
  const setA = { key: "a", value: "1", contentType: TEXT_TYPE };

  it("is asked by whoever waited for an offset of the one before", async () => {
    const [before, after] = [await TestStore.open(), await TestStore.open()];
    const late = new LateStore();
    expect(() => late.onReached(1, () => undefined)).toThrow(
      expect.objectContaining({ code: "LOG_REPLAYING" }),
    );
    late.open(before.store);
    const reached: number[] = [];
    late.onReached(1, () => reached.push(1));
    late.onReached(2, () => reached.push(2));
    const cancel = late.onReached(1, () => reached.push(-1));
    late.shut();
    cancel();
    expect(() => late.query(kv.get, { key: "a" }, context, () => 0)).toThrow(
      expect.objectContaining({ code: "LOG_REPLAYING" }),
    );
    await after.ok(kv.set, setA);
    late.open(after.store);
    expect(reached).toEqual([1]);
    await after.ok(kv.set, setA);
    expect(reached).toEqual([1, 2]);
  });

  it("wakes whoever waited for what may have come with it", async () => {
    const late = new LateStore();
    let rings = 0;
    late.wakes.on("queue:q", () => rings++);
    const after = await TestStore.open();
    await after.ok(queue.create, { queue: "q" });
    late.open(after.store);
    expect(rings).toBe(1);
  });

  it("has a log that stands at nothing until there is one", async () => {
    const late = new LateLog();
    expect([late.firstOffset, late.endOffset, late.committedOffset, late.durableOffset]).toEqual([
      1, 0, 0, 0,
    ]);
    expect(late.epochs).toEqual([]);
    await expect(late.markAt(late.endOffset)).rejects.toMatchObject({ code: "LOG_REPLAYING" });
    const log = new MemoryLog();
    late.open(log);
    expect(late.epochs).toEqual(log.epochs);
  });
});
