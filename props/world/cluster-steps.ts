/** Does the steps of a simulated set. A step is begun and not waited for: what it comes to is noted when it has. */
import { LogError } from "../../log/index.js";
import { ReplicationError } from "../../replication/errors.js";
import { damage } from "./cluster-damage.js";
import type { AppendedWrite } from "./cluster-history.js";
import type { AsksFor, ClusterNode } from "./cluster-node.js";
import type { ClusterStep } from "./cluster-step.js";
import type { ClusterView } from "./cluster-view.js";

const NODES_MAX = 5;
/** Until a node is started again that did not start, or that ended because it could not go on. */
const FAILED_MS = 1000;
const LOST_MS = 500;
const LOOKS_DAMAGED: ReadonlySet<string> = new Set(["LOG_CORRUPT", "REPLICATION_LEADERSHIP_DAMAGED"]);
/** So many stay, whoever is struck off. */
const LEFT_MIN = 2;
/** Longer than a primary waits for words of a node without power. */
const GONE_MS = 1800;
/** What a process had begun that is gone never ends; everything else has ended by then. */
const WRITE_ENDS_MS = 4000;
const ENDS_MS = 9000;
/** Of the frames on a way that repeats them. */
const REPEATED_SHARE = 0.3;
/** Connections that a box plays again at once. */
const REPLAYS = 3;
/** Of the pieces on a way that garbles. */
const GARBLED_SHARE = 0.2;

export class ClusterSteps {
  readonly #cluster: ClusterView;
  #pending = 0;
  #bodies = 0;

  constructor(cluster: ClusterView) {
    this.#cluster = cluster;
  }

  /** Steps that have not come to anything yet. */
  get pending(): number {
    return this.#pending;
  }

  take(step: ClusterStep): void {
    const cluster = this.#cluster;
    cluster.note(JSON.stringify(step));
    switch (step.type) {
      case "write":
        for (let count = 0; count < step.count; count += 1) this.#write(step.node, step.acks);
        return;
      case "read":
        this.#read(step.node, step.back);
        return;
      case "promote":
      case "switchover":
      case "follow":
      case "resync":
      case "forget":
      case "reset":
      case "retain":
        this.#command(step);
        return;
      case "join":
        if (cluster.nodes.length < NODES_MAX) this.#join(cluster.node(step.to));
        return;
      case "rest":
        return;
      default:
        this.#fault(step);
    }
  }

  /** Starts a node, and again after a while when it did not start, as whatever supervises it would. */
  async started(node: ClusterNode): Promise<void> {
    await node.start();
    const { startError } = node;
    if (startError === undefined) return;
    const isCoded = startError instanceof ReplicationError || startError instanceof LogError;
    // Where nothing damaged a disk nothing may look like damage.
    const isExpected = isCoded && !LOOKS_DAMAGED.has(startError.code);
    if (!isExpected && !this.#isDamage(node, startError)) this.#cluster.breaks(startError);
    this.#cluster.tally("start failed");
    this.#startAgain(node, FAILED_MS);
  }

  /** Only damage may do that. Whatever supervises the node starts it again. */
  lost(node: ClusterNode, error: unknown): void {
    if (!this.#isDamage(node, error)) this.#cluster.breaks(error);
    this.#cluster.tally("lost its state to damage");
    node.end("stopped");
    this.#startAgain(node, LOST_MS);
  }

  #startAgain(node: ClusterNode, afterMs: number): void {
    this.#cluster.time.after(afterMs, () => {
      if (node.machine.state === "stopped" && !node.isGone) void this.started(node);
    });
  }

  /** Of its log, where something did damage its disk. */
  #isDamage({ name }: ClusterNode, error: unknown): boolean {
    return error instanceof LogError && error.code === "LOG_CORRUPT" && this.#cluster.history.isDamaged(name);
  }

  #command(step: Extract<ClusterStep, { readonly type: CommandType }>): void {
    const cluster = this.#cluster;
    switch (step.type) {
      case "promote":
        this.#count("promote", cluster.node(step.node).promote(step.force));
        return;
      case "switchover":
        this.#switchOver(cluster.node(step.to));
        return;
      case "follow":
        if (cluster.node(step.node) !== cluster.node(step.to))
          this.#count("follow", cluster.node(step.node).follow(cluster.node(step.to).address));
        return;
      case "resync":
        this.#count("resync", cluster.node(step.node).resync());
        return;
      case "forget":
        this.#forget(cluster.node(step.node));
        return;
      case "reset":
        cluster.tally(`reset: ${cluster.node(step.node).serving?.replication.resetBreaker() ?? "down"}`);
        return;
      case "retain":
        this.#count("retain", cluster.node(step.node).retain());
    }
  }

  #fault(step: Extract<ClusterStep, { readonly type: FaultType }>): void {
    const cluster = this.#cluster;
    switch (step.type) {
      case "end":
        this.#end(cluster.node(step.node), step);
        return;
      case "pause":
        this.#pause(cluster.node(step.node), step.ms);
        return;
      case "clock":
        cluster.node(step.node).machine.setClock(step.ms);
        cluster.tally("clock");
        return;
      case "cut":
        this.#cut(cluster.node(step.from), cluster.node(step.to), step.ms);
        if (step.both) this.#cut(cluster.node(step.to), cluster.node(step.from), step.ms);
        return;
      case "isolate":
        for (const other of cluster.nodes) {
          this.#cut(cluster.node(step.node), other, step.ms);
          this.#cut(other, cluster.node(step.node), step.ms);
        }
        return;
      case "drop":
        cluster.network.drop(cluster.node(step.from).name, cluster.node(step.to).name);
        return;
      case "garble": {
        const [from, to] = [cluster.node(step.from).name, cluster.node(step.to).name];
        cluster.network.garbling.begin(from, to, GARBLED_SHARE);
        cluster.time.after(step.ms, () => cluster.network.garbling.begin(from, to, 0));
        return;
      }
      case "damage":
        damage(cluster, cluster.node(step.node), step.how);
        return;
      case "duplicate":
        this.#duplicate(cluster.node(step.from), cluster.node(step.to), step);
    }
  }

  #write(index: number, acks: AsksFor): void {
    const { nodes, random } = this.#cluster;
    const takers = nodes.filter(
      ({ serving }) => serving !== undefined && serving.replication.writeRefusal() === undefined,
    );
    const taker = takers[index % Math.max(1, takers.length)] ?? this.#cluster.node(index);
    this.#bodies += 1;
    const size = random() < 0.2 ? Math.floor(random() * 3000) : Math.floor(random() * 200);
    const what = acks === "quorum" ? "write quorum" : "write";
    this.#count(what, taker.write(`write ${this.#bodies} ${"x".repeat(size)}`, acks));
  }

  #read(index: number, back: number): void {
    const { answered } = this.#cluster.history;
    const token: AppendedWrite | undefined = answered.at(-1 - back) ?? answered[0];
    if (token !== undefined) this.#count("read", this.#cluster.node(index).read(token));
  }

  #switchOver(to: ClusterNode): void {
    const { leader } = this.#cluster;
    if (leader !== undefined && leader !== to) this.#count("switchover", leader.switchOver(to));
  }

  #join(upstream: ClusterNode): void {
    this.#cluster.tally(upstream === this.#cluster.leader ? "join" : "join below a replica");
    void this.started(this.#cluster.add({ masterAddress: upstream.address }));
  }

  /** One that is down, or this one, which is given up for that. Nobody forgets a node that may come back: what it has could still win. */
  #forget(named: ClusterNode): void {
    const { leader, nodes, time } = this.#cluster;
    const isDown = ({ machine }: ClusterNode): boolean =>
      machine.state === "stopped" || machine.state === "off";
    const node = isDown(named) ? named : (nodes.find(isDown) ?? named);
    if (leader === undefined || node === leader || node.isGone) return;
    const isLeft = nodes.filter(({ isGone }) => !isGone).length > LEFT_MIN;
    if (!isDown(node) && !isLeft) return;
    node.isGone = true;
    if (!isDown(node)) node.end("stopped");
    // Not before it is noticed to be gone.
    time.after(GONE_MS, () => {
      const { leader: now } = this.#cluster;
      if (now !== undefined && now !== node) this.#count("forget", now.forget(node));
    });
  }

  #end(node: ClusterNode, { how, operation, downMs }: Extract<ClusterStep, { type: "end" }>): void {
    if (node.machine.state !== "running") return;
    if (operation > 0) node.endAt(operation, how);
    else node.end(how);
    const { time } = this.#cluster;
    const again = (): void => {
      const { state } = node.machine;
      if (node.isGone) return;
      if (state === "stopped" || state === "off") void this.started(node);
      else if (operation > 0) time.after(downMs, again);
    };
    this.#cluster.tally(`end ${how}`);
    time.after(downMs, again);
  }

  #pause(node: ClusterNode, ms: number): void {
    if (node.machine.state !== "running") return;
    node.pause();
    this.#cluster.tally("pause");
    this.#cluster.time.after(ms, () => {
      if (node.machine.state === "paused") node.resume();
    });
  }

  #cut(from: ClusterNode, to: ClusterNode, ms: number): void {
    if (from === to) return;
    const { network, time } = this.#cluster;
    network.cut(from.name, to.name);
    this.#cluster.tally("cut");
    time.after(ms, () => network.heal(from.name, to.name));
  }

  #duplicate(
    from: ClusterNode,
    to: ClusterNode,
    { how, ms }: Extract<ClusterStep, { type: "duplicate" }>,
  ): void {
    if (from === to) return;
    const { network, time, random } = this.#cluster;
    switch (how) {
      case "straggle":
        network.straggle(from.name, to.name, ms);
        if (random() < 0.5) network.straggle(to.name, from.name, ms * random());
        return;
      case "replay":
        for (let left = REPLAYS; left > 0; left -= 1) network.replay(from.name, to.name);
        return;
      case "answer":
        network.answer(from.name, to.name);
        return;
      case "repeat":
        for (const [a, b] of [
          [from, to],
          [to, from],
        ] as const) {
          network.duplicates.repeat(a.name, b.name, REPEATED_SHARE);
          time.after(ms, () => network.duplicates.repeat(a.name, b.name, 0));
        }
    }
  }

  #count(what: string, outcome: Promise<string>): void {
    const cluster = this.#cluster;
    this.#pending += 1;
    let isOver = false;
    const over = (): void => {
      if (!isOver) this.#pending -= 1;
      isOver = true;
    };
    cluster.time.after(what.startsWith("write") ? WRITE_ENDS_MS : ENDS_MS, over);
    outcome.then(
      (found) => {
        over();
        cluster.note(`${what}: ${found}`);
        cluster.tally(`${what}: ${found}`);
      },
      (error: unknown) => {
        over();
        cluster.breaks(error);
      },
    );
  }
}

type CommandType = "promote" | "switchover" | "follow" | "resync" | "forget" | "reset" | "retain";
type FaultType = "end" | "pause" | "clock" | "cut" | "isolate" | "drop" | "garble" | "duplicate" | "damage";
