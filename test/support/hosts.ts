/**
 * Hosts of their own on this machine: network namespaces, joined by pairs of virtual interfaces to a bridge in one more. Packets vanish there
 * as they do in networks, and nobody is told: a connection is half open, and TCP sends again and again. It needs root and iproute2. Nothing
 * is made outside these namespaces but their names, which carry the pid: whatever a test that was killed left is swept away by the next one.
 */
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { NodeHost } from "./replica-set.js";

const PREFIX = "annals-test-";
const HUB = `${PREFIX}${process.pid}-hub`;
/** Every host has all its ports for itself. */
const HTTP_PORT = 15_500;
/** Nobody has it: what is sent there is lost. */
const NOBODY = "02:00:00:00:00:01";
/** Connects who asks at the socket, whichever host it is on, with the server on this one. */
const RELAY = `
  const { connect, createServer } = require("node:net");
  const [path, port] = process.argv.slice(1);
  createServer((near) => {
    const far = connect(Number(port), "127.0.0.1");
    for (const [from, to] of [[near, far], [far, near]]) {
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => to.destroy());
    }
  }).listen(path, () => console.log("ready"));
`;

const run = (command: string, ...args: readonly string[]): string =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

const ip = (...words: readonly string[]): string => run("ip", ...words.flatMap((word) => word.split(" ")));

/** Why there can be none here; undefined when there can. Sweeps first. */
export function whyNoHosts(): string | undefined {
  if (process.getuid?.() !== 0) return "network namespaces need root";
  if (!existsSync("/usr/sbin/ip") && !existsSync("/sbin/ip") && !existsSync("/usr/bin/ip"))
    return "there is no ip command (iproute2)";
  try {
    sweep();
    ip(`netns add ${HUB}`);
    try {
      ip(`-n ${HUB} link add bridge type bridge`, "stp_state 0");
      ip(`-n ${HUB} link add one type veth peer name other`);
    } finally {
      end(HUB);
    }
    return undefined;
  } catch (error) {
    return `this machine makes no network namespaces: ${error instanceof Error ? error.message : error}`;
  }
}

/** Namespaces of test processes that are gone, with whatever still runs in them. */
function sweep(): void {
  for (const line of ip("netns list").split("\n")) {
    const [name = ""] = line.split(" ");
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) end(name);
  }
}

/** With its interfaces, and the other ends of them. */
function end(namespace: string): void {
  if (!ip("netns list").split(/\s/).includes(namespace)) return;
  for (const pid of ip(`netns pids ${namespace}`).split("\n"))
    if (pid !== "" && existsSync(`/proc/${pid}`)) process.kill(Number(pid), "SIGKILL");
  ip(`netns del ${namespace}`);
}

export class Hosts {
  readonly #hosts: Host[] = [];

  private constructor() {}

  /** @param directory for the sockets */
  static async begin(directory: string, count: number): Promise<Hosts> {
    const hosts = new Hosts();
    ip(`netns add ${HUB}`);
    ip(`-n ${HUB} link add bridge type bridge`);
    ip(`-n ${HUB} link set dev bridge up`);
    for (let place = 1; place <= count; place += 1) hosts.#hosts.push(new Host(place, directory));
    try {
      await Promise.all(hosts.#hosts.map((host) => host.begin()));
    } catch (error) {
      hosts.end();
      throw error;
    }
    return hosts;
  }

  get all(): readonly Host[] {
    return this.#hosts;
  }

  at(place: number): Host {
    const host = this.#hosts[place];
    if (host === undefined) throw new Error(`there is no host ${place}`);
    return host;
  }

  /** What `from` sends to any of these is lost, and it is not told. */
  lose(from: Host, to: readonly Host[]): void {
    for (const { address } of to)
      if (address !== from.address)
        ip(`-n ${from.namespace} neigh replace ${address} lladdr ${NOBODY} nud permanent dev wire`);
  }

  heal(): void {
    for (const host of this.#hosts) {
      host.plug();
      ip(`-n ${host.namespace} neigh flush dev wire nud permanent`);
      host.narrow(undefined);
    }
  }

  end(): void {
    for (const { namespace } of this.#hosts) end(namespace);
    end(HUB);
  }
}

export class Host implements NodeHost {
  readonly namespace: string;
  readonly address: string;
  readonly httpPort = HTTP_PORT;
  readonly socketPath: string;
  readonly #port: string;
  #isNarrow = false;

  constructor(place: number, directory: string) {
    this.namespace = `${PREFIX}${process.pid}-${place}`;
    this.address = `10.213.0.${place}`;
    this.socketPath = join(directory, `host-${place}.sock`);
    this.#port = `port-${place}`;
  }

  get wrapper(): readonly string[] {
    return ["ip", "netns", "exec", this.namespace];
  }

  async begin(): Promise<void> {
    const { namespace } = this;
    ip(`netns add ${namespace}`);
    ip(`-n ${namespace} link set dev lo up`);
    ip(`-n ${HUB} link add ${this.#port} type veth peer name wire netns ${namespace}`);
    ip(`-n ${HUB} link set dev ${this.#port} master bridge up`);
    ip(`-n ${namespace} addr add ${this.address}/24 dev wire`);
    ip(`-n ${namespace} link set dev wire up`);
    const [command = "", ...rest] = this.wrapper;
    const program = [process.execPath, "-e", RELAY, this.socketPath, String(HTTP_PORT)];
    const relay = spawn(command, [...rest, ...program], { stdio: ["ignore", "pipe", "inherit"] });
    await once(relay.stdout, "data");
  }

  /** Its cable is pulled. */
  unplug(): void {
    ip(`-n ${HUB} link set dev ${this.#port} down`);
  }

  plug(): void {
    ip(`-n ${HUB} link set dev ${this.#port} up`);
  }

  /** What it sends goes through a line so narrow, and what does not fit into a small buffer before it is lost. */
  narrow(kilobitsPerSecond: number | undefined): void {
    if (this.#isNarrow) run("tc", ...`-n ${this.namespace} qdisc del dev wire root`.split(" "));
    this.#isNarrow = kilobitsPerSecond !== undefined;
    if (kilobitsPerSecond === undefined) return;
    const line = `rate ${kilobitsPerSecond}kbit burst 3000 limit 6000`;
    run("tc", ...`-n ${this.namespace} qdisc add dev wire root tbf ${line}`.split(" "));
  }
}
