/** Real servers of one replicated set on loopback, each in a directory of its own, killed and started again under the same addresses. */
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, vi } from "vitest";
import { freePort } from "../../ops/free-port.js";
import { type Answer, HttpClient } from "./http-client.js";
import { type RunningServer, startServer } from "./server-process.js";

const JSON_TYPE = { "content-type": "application/json" };

/** Where a node runs, when that is not beside the test. */
export interface NodeHost {
  /** Of its links, as the others reach it. */
  readonly address: string;
  /** A command that runs something there. */
  readonly wrapper: readonly string[];
  /** The port that its HTTP server takes there. */
  readonly httpPort: number;
  /** The path of a socket that leads to it. */
  readonly socketPath: string;
}

export class SetNode {
  server: RunningServer;
  client: HttpClient;

  constructor(
    readonly name: string,
    readonly directory: string,
    /** Of its links to other nodes. */
    readonly replicationPort: number,
    server: RunningServer,
    readonly host?: NodeHost,
  ) {
    this.server = server;
    this.client = this.newClient(8);
  }

  get address(): string {
    return `${this.host?.address ?? "127.0.0.1"}:${this.replicationPort}`;
  }

  newClient(connections: number): HttpClient {
    return new HttpClient(this.host?.socketPath ?? this.server.port, connections);
  }

  /** The same node in a new process. */
  runsAs(server: RunningServer): void {
    this.client.close();
    this.server = server;
    this.client = this.newClient(8);
  }

  /** Its own log of what happened. */
  get output(): string {
    return this.server.output;
  }

  get http(): string {
    return `http://127.0.0.1:${this.server.port}`;
  }

  /** Goes on running. */
  signal(signal: NodeJS.Signals): void {
    this.server.signal(signal);
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    this.client.close();
    await this.server.kill(signal);
  }

  request(
    method: string,
    path: string,
    body?: string,
    headers: Readonly<Record<string, string>> = {},
  ): Promise<Answer> {
    return this.client.send(method, path, body, headers);
  }

  post(path: string, body: unknown = {}, headers: Record<string, string> = {}): Promise<Answer> {
    return this.client.send("POST", path, JSON.stringify(body), { ...JSON_TYPE, ...headers });
  }

  get(path: string, headers: Record<string, string> = {}): Promise<Answer> {
    return this.client.send("GET", path, undefined, headers);
  }

  async json(path: string): Promise<Record<string, unknown>> {
    return JSON.parse((await this.get(path)).text);
  }

  stats(): Promise<Record<string, unknown>> {
    return this.json("/api/replication/stats");
  }

  /** The bytes of its segment files by name, without what is prepared for records to come. */
  async segments(): Promise<Map<string, Buffer>> {
    const directory = join(this.directory, "log");
    const names = (await readdir(directory)).filter((name) => name.endsWith(".log")).sort();
    return new Map(
      await Promise.all(names.map(async (name) => [name, await readFile(join(directory, name))] as const)),
    );
  }
}

export class ReplicaSet {
  readonly directory: string;
  readonly #nodes: SetNode[] = [];
  readonly #started = new Map<SetNode, ReturnType<typeof launched>>();

  private constructor(directory: string) {
    this.directory = directory;
  }

  static async begin(): Promise<ReplicaSet> {
    return new ReplicaSet(await mkdtemp(join(tmpdir(), "annals-set-")));
  }

  primary(
    name: string,
    flags: readonly string[] = [],
    environment: Readonly<Record<string, string>> = {},
  ): Promise<SetNode> {
    return this.#start(name, ["--role", "master", ...flags], environment);
  }

  replica(
    name: string,
    of: Pick<SetNode, "address">,
    flags: readonly string[] = [],
    environment: Readonly<Record<string, string>> = {},
  ): Promise<SetNode> {
    return this.#start(name, ["--role", "replica", "--master-address", of.address, ...flags], environment);
  }

  /** A node on a host of its own. */
  on(
    host: NodeHost,
    name: string,
    flags: readonly string[],
    environment: Readonly<Record<string, string>> = {},
  ): Promise<SetNode> {
    return this.#start(name, flags, environment, host);
  }

  /** A node whose role stands in this file, where SIGHUP finds it changed. */
  configured(name: string, config: string): Promise<SetNode> {
    return this.#start(name, ["--config", config]);
  }

  async #start(
    name: string,
    flags: readonly string[],
    environment: Readonly<Record<string, string>> = {},
    host?: NodeHost,
  ): Promise<SetNode> {
    const directory = join(this.directory, name);
    const replicationPort = await freePort();
    const options = launched(name, replicationPort, flags, environment, host);
    const server = await startServer({ dataDirectory: directory, ...options });
    const node = new SetNode(name, directory, replicationPort, server, host);
    this.#started.set(node, options);
    this.#nodes.push(node);
    return node;
  }

  /** The same node again, on the same replication port; with these flags, or as it was started. */
  async restart(
    node: SetNode,
    flags?: readonly string[],
    environment: Readonly<Record<string, string>> = {},
  ): Promise<void> {
    const before = this.#started.get(node);
    const options =
      flags === undefined && before !== undefined
        ? before
        : launched(node.name, node.replicationPort, flags ?? [], environment, node.host);
    node.runsAs(await startServer({ dataDirectory: node.directory, ...options }));
  }

  async end(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.kill()));
    await rm(this.directory, { recursive: true, force: true });
  }
}

function launched(
  name: string,
  replicationPort: number,
  flags: readonly string[],
  environment: Readonly<Record<string, string>> = {},
  host?: NodeHost,
) {
  const http = host === undefined ? [] : ["--port", String(host.httpPort)];
  return {
    flags: [
      ...["--replica-listen", `${host?.address ?? "127.0.0.1"}:${replicationPort}`],
      ...[...http, ...flags],
    ],
    wrapper: host?.wrapper ?? [],
    environment: {
      ANNALS_REPLICATION_NODE_NAME: name,
      ANNALS_REPLICATION_HEARTBEAT_INTERVAL_MS: "50",
      ANNALS_REPLICATION_RECONNECT_DELAY_MS: "100",
      // Nobody runs into it but where a test is about that: see `QUICK`.
      ANNALS_REPLICATION_ACK_TIMEOUT_MS: "20000",
      ANNALS_LOG_SEGMENT_BYTES: "65536",
      ...environment,
    },
  };
}

/** Sets a key to `value of KEY`. */
export const write = (
  node: SetNode,
  key: string,
  headers: Readonly<Record<string, string>> = {},
): Promise<Answer> => node.post("/kv/set", { key, value: `value of ${key}` }, headers);

/** Where an answer says that its write stands, to be sent with a read. */
export function tokenOf({ headers }: Answer): string {
  return `${headers["x-annals-offset"]}@${headers["x-annals-lineage"]}`;
}

/**
 * The answer to a switchover that was done. The other has 2.5 s to take the lead; when a slow machine let them pass, nothing has changed and it
 * is asked for again.
 */
export async function switchedOver(node: SetNode, to: string): Promise<Record<string, unknown>> {
  const moved = async () => {
    const { status, text } = await node.post("/api/replication/switchover", { to });
    expect(status, text).toBe(200);
    return JSON.parse(text);
  };
  return vi.waitFor(moved, { timeout: 60_000, interval: 1000 });
}
