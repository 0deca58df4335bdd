/**
 * A set of three whose links go through faulty proxies, each node behind one of its own, and how its primary is lost: its process killed or
 * stopped, or both ways between it and the others silent.
 */
import { saysHelloAs } from "../../ops/demo/says-hello.js";
import { TcpProxy } from "../../ops/demo/tcp-proxy.js";
import { factor } from "../../props/run-settings.js";
import { errorCodeOf } from "./http-client.js";
import type { ReplicaSet, SetNode } from "./replica-set.js";
import type { SetHistory } from "./set-history.js";
import { listed, sleep } from "./set-waits.js";

/** Gives up a silent node soon, and a write that waits for one. */
export const QUICK = {
  ANNALS_REPLICATION_ACK_TIMEOUT_MS: "1500",
  ANNALS_REPLICATION_REPLICA_TIMEOUT_SECS: "1",
  ANNALS_SHUTDOWN_TIMEOUT_MS: "1000",
};

/** So many rounds in the suite, and in between up to all of them with ANNALS_PROPS_FACTOR=50. */
export const rounds = (short: number, all: number): number =>
  Math.max(short, Math.round((all * Math.min(50, factor > 1 ? factor : 0)) / 50));

export const LOSSES = ["kill", "pause", "cut"] as const;
export type Loss = (typeof LOSSES)[number];

export class ProxiedSet {
  readonly set: ReplicaSet;
  readonly nodes: SetNode[] = [];
  readonly #proxies = new Map<SetNode, TcpProxy>();

  constructor(set: ReplicaSet) {
    this.set = set;
  }

  static async of(set: ReplicaSet, names: readonly string[]): Promise<ProxiedSet> {
    const proxied = new ProxiedSet(set);
    for (const name of names) await proxied.#start(name);
    const [primary, ...replicas] = proxied.nodes;
    if (primary !== undefined) await listed(replicas, primary);
    return proxied;
  }

  async #start(name: string): Promise<void> {
    let port = 0;
    const proxy = await TcpProxy.open(() => port);
    const reached = { ...QUICK, ANNALS_REPLICATION_ADVERTISED_ADDRESS: `127.0.0.1:${proxy.port}` };
    const [first] = this.nodes;
    const node =
      first === undefined
        ? await this.set.primary(name, [], reached)
        : await this.set.replica(name, { address: this.#address(first) }, [], reached);
    port = node.replicationPort;
    this.#proxies.set(node, proxy);
    this.nodes.push(node);
  }

  #address(node: SetNode): string {
    return `127.0.0.1:${this.#proxies.get(node)?.port}`;
  }

  others(node: SetNode): SetNode[] {
    return this.nodes.filter((other) => other !== node);
  }

  /** Nothing goes either way between this node and any other, whoever dialled; what is sent waits. */
  isolate(node: SetNode): void {
    for (const [of, proxy] of this.#proxies) {
      if (of === node) proxy.silence();
      else proxy.faults.silences = saysHelloAs(node.name);
    }
  }

  /** This one hears nothing from that one any more, and falls behind. */
  part(replica: SetNode, primary: SetNode): void {
    const proxy = this.#proxies.get(primary);
    if (proxy !== undefined) proxy.faults.silences = saysHelloAs(replica.name);
  }

  heal(): void {
    for (const proxy of this.#proxies.values()) proxy.heal();
  }

  /** What is returned brings it back. */
  async lose(node: SetNode, how: Loss): Promise<() => Promise<void>> {
    switch (how) {
      case "kill":
        await node.kill("SIGKILL");
        return () => this.set.restart(node);
      case "pause":
        process.kill(-node.server.pid, "SIGSTOP");
        return async () => void process.kill(-node.server.pid, "SIGCONT");
      case "cut":
        this.isolate(node);
        return async () => this.heal();
    }
  }

  async close(): Promise<void> {
    for (const proxy of this.#proxies.values()) await proxy.close();
  }
}

/** Without force; the first that is not refused, because another one has more. Tells why others were. */
export async function promoteOneOf(
  replicas: readonly SetNode[],
  history: SetHistory,
  refused: string[] = [],
): Promise<SetNode> {
  for (let round = 0; round < 50; round += 1)
    for (const replica of replicas) {
      const answer = await replica.post("/api/replication/promote");
      if (answer.status === 200) {
        history.began(replica.name, answer);
        return replica;
      }
      refused.push(errorCodeOf(answer) ?? String(answer.status));
      await sleep(50);
    }
  throw new Error(`nobody was promoted: ${refused.join(", ")}`);
}
