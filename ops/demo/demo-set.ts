/**
 * The replicated set of the demo: three servers on loopback, each reached by the others through a proxy that can be silenced, so that it can
 * be killed, stopped, cut off and brought back.
 */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../free-port.js";
import { type SetChild, startSetChild, statsOf, untilStats } from "../set-child.js";
import { saysHelloAs } from "./says-hello.js";
import { TcpProxy } from "./tcp-proxy.js";

export interface DemoNode {
  readonly name: string;
  readonly dataDirectory: string;
  readonly replicationPort: number;
  readonly proxy: TcpProxy;
  child: SetChild;
}

const NAMES = ["one", "two", "three"];
const ENVIRONMENT = {
  ANNALS_REPLICATION_HEARTBEAT_INTERVAL_MS: "100",
  ANNALS_REPLICATION_RECONNECT_DELAY_MS: "200",
  ANNALS_REPLICATION_REPLICA_TIMEOUT_SECS: "1",
};

export class DemoSet {
  readonly nodes: readonly DemoNode[];
  primary: DemoNode;

  private constructor(nodes: readonly DemoNode[], primary: DemoNode) {
    this.nodes = nodes;
    this.primary = primary;
  }

  static async begin(directory: string, say: (text: string) => void): Promise<DemoSet> {
    const nodes: DemoNode[] = [];
    try {
      for (const name of NAMES) {
        const replicationPort = await freePort();
        const proxy = await TcpProxy.open(() => replicationPort);
        const place = { name, dataDirectory: join(directory, name), replicationPort, proxy };
        nodes.push({ ...place, child: await start(place, nodes[0]) });
        say(`${name} serves on ${nodes.at(-1)?.child.url}`);
      }
      const [primary, ...replicas] = nodes;
      if (primary === undefined) throw new Error("a set has nodes");
      for (const { child } of replicas) await untilStats(child, "is listed", ({ listed }) => listed === true);
      return new DemoSet(nodes, primary);
    } catch (error) {
      await endAll(nodes);
      throw error;
    }
  }

  get replicas(): readonly DemoNode[] {
    return this.nodes.filter((node) => node !== this.primary);
  }

  /** The process dies; it is started again, as what it was. */
  async kill(node: DemoNode, downMs: number): Promise<void> {
    node.child.kill("SIGKILL");
    await node.child.ended;
    await sleep(downMs);
    node.child = await start(node, undefined);
  }

  async stop(node: DemoNode, ms: number): Promise<void> {
    node.child.kill("SIGSTOP");
    await sleep(ms);
    node.child.kill("SIGCONT");
  }

  /** The primary and these replicas hear nothing of each other. */
  async cutOff(replicas: readonly DemoNode[], ms: number): Promise<void> {
    const { proxy } = this.primary;
    const hellos = replicas.map(({ name }) => saysHelloAs(name));
    proxy.faults.silences = (opening) => hellos.some((isFrom) => isFrom(opening));
    await sleep(ms);
    proxy.heal();
  }

  /** The primary dies for good; whichever replica may, leads. */
  async failOver(): Promise<{ readonly old: DemoNode; readonly ms: number }> {
    const old = this.primary;
    old.child.kill("SIGKILL");
    await old.child.ended;
    const begun = performance.now();
    const refused: string[] = [];
    for (let round = 0; round < 50; round++)
      for (const replica of this.replicas) {
        const answer = await fetch(`${replica.child.url}/api/replication/promote`, { method: "POST" });
        const text = await answer.text();
        if (answer.ok) {
          this.primary = replica;
          return { old, ms: performance.now() - begun };
        }
        refused.push(`${replica.name}: ${text.slice(0, 200)}`);
        await sleep(50);
      }
    throw new Error(`nobody could be promoted: ${refused.at(-1)}`);
  }

  async rejoin(node: DemoNode): Promise<void> {
    node.child = await start(node, undefined);
    await untilStats(node.child, "follows", ({ role }) => role === "replica");
  }

  /** Until every node has what the primary has. */
  async settled(): Promise<number> {
    const { master_offset: end } = await statsOf(this.primary.child);
    for (const { child } of this.replicas)
      await untilStats(child, "has everything", ({ replica_offset: at }) => at === end);
    return end ?? 0;
  }

  end(): Promise<void> {
    return endAll(this.nodes);
  }
}

/** As what it was last, when it has been there before: its own directory knows better than a flag. */
function start(place: Omit<DemoNode, "child">, follows: DemoNode | undefined): Promise<SetChild> {
  const master = follows ?? FIRST.get(place.proxy);
  if (master !== undefined) FIRST.set(place.proxy, master);
  return startSetChild({
    name: place.name,
    dataDirectory: place.dataDirectory,
    replicationPort: place.replicationPort,
    advertisedPort: place.proxy.port,
    ...(master !== undefined && { follows: master.proxy.port }),
    environment: ENVIRONMENT,
  });
}

/** Whom a node was told to follow when it was started first: its settings do not change. */
const FIRST = new WeakMap<TcpProxy, DemoNode>();

async function endAll(nodes: readonly DemoNode[]): Promise<void> {
  for (const { child, proxy } of nodes) {
    child.kill("SIGKILL");
    await proxy.close();
  }
}
