/**
 * This server as a member of a replicated set: the node that `replication/` makes of it, put together with its holdings, and shown to the
 * API. What a node does with the others is decided there; here is what that means for a request.
 */
import { randomBytes } from "node:crypto";
import type {
  Acks,
  BreakerFacts,
  DivergedFacts,
  NodeRole,
  PromotionReport,
  ReadinessCheck,
  Refusal,
  Replication,
  ReplicationFacts,
  SwitchoverReport,
} from "../../api/index.js";
import { refusal } from "../../api/index.js";
import {
  offset as asOffset,
  codeOf,
  cutRestoredEpoch,
  type EventLog,
  type FileSystem,
  type Finding,
  holdsLog,
  listDiverged,
  type Offset,
  type OffsetHolder,
} from "../../log/index.js";
import {
  configuredRole,
  describeAddress,
  hasPrimarysLog,
  isBehind,
  isLoopback,
  isSameRole,
  ReplicationError,
  ReplicationNode,
  type ReplicationSettings,
  type ReplicationStats,
  type RoleAndAddress,
  Seldom,
  startingRole,
  systemClock,
  systemRandom,
  TcpNetwork,
} from "../../replication/index.js";
import { isReplicated } from "../config/rooms.js";
import type { ConfigValues } from "../config/settings.js";
import type { Holdings } from "../holdings.js";
import type { Logger } from "../logging.js";
import { parseAddress } from "./address.js";
import { Forwarder } from "./forward.js";
import { HoldingsHost } from "./host.js";
import { NodeCertificates } from "./node-certificates.js";
import { NodeSecrets } from "./node-secrets.js";
import { acksByDefault, nodeSettings } from "./node-settings.js";
import { breakerFacts, factsOf, refusalOf, reportOf } from "./shown.js";
import { nodeCalled, switchOver } from "./switchover.js";

export interface SetMemberParts {
  readonly holdings: Holdings;
  readonly files: FileSystem;
  readonly dataDirectory: string;
  readonly logger: Logger;
  /** Of this process's own HTTP server, once it listens. */
  readonly httpAddress: () => string | undefined;
  readonly onReplaced: () => void;
  readonly onLost: (error: Error) => void;
}

/** A primary that refuses writes so takes them again once its replicas are there; reads go on. */
const FOR_ITS_REPLICAS: ReadonlySet<string> = new Set<Refusal["code"]>([
  "REPLICATION_TOO_FEW_REPLICAS",
  "REPLICATION_LAGGING",
]);

/** Before the node is there, and while it goes. */
const NOT_STARTED: Refusal = refusal("REPLICATION_CHANGING", "the node has not taken its role yet");

export class SetMember implements Replication {
  readonly acks: Acks;
  readonly forward: Replication["forward"];
  readonly #parts: SetMemberParts;
  readonly #forwarder = new Forwarder();
  readonly #maxLagMs: number;
  readonly #ackTimeoutMs: number;
  readonly #waiting = new Set<() => void>();
  #values: ConfigValues;
  /** What the settings asked for last, and was not refused. */
  #taken: RoleAndAddress;
  #node: ReplicationNode | undefined;
  /** As which it was known before it had a log. */
  #nodeId: string | undefined;
  #secrets: NodeSecrets | undefined;
  #certificates: NodeCertificates | undefined;
  #network: TcpNetwork | undefined;
  #stopped = false;
  #isNew = false;

  /** Undefined of a node that stands alone. */
  static of(values: ConfigValues, parts: SetMemberParts): SetMember | undefined {
    return isReplicated(values) ? new SetMember(values, parts) : undefined;
  }

  private constructor(values: ConfigValues, parts: SetMemberParts) {
    this.#values = values;
    this.#parts = parts;
    this.#taken = this.#configured();
    this.acks = acksByDefault(values);
    this.#maxLagMs = values["replication.max_lag_ms"];
    this.#ackTimeoutMs = values["replication.ack_timeout_ms"];
    this.forward = values["replication.forward_writes"]
      ? (write) => this.#forwarder.send(() => this.#node?.primaryHttp, write)
      : undefined;
  }

  // ---- its life ----

  /** What the directory is to be opened as. A candidate has another node's log, and leads once it has won. */
  async startsAs(): Promise<"leader" | "candidate" | "follower" | "fresh follower"> {
    const { files, dataDirectory } = this.#parts;
    const { role, opens, nodeId, isNew } = await startingRole(files, dataDirectory, this.#settings());
    this.#nodeId = nodeId;
    if (opens === "leading") return "leader";
    this.#isNew = role === "replica" && isNew;
    if (await holdsLog(files, dataDirectory)) return role === "replica" ? "follower" : "candidate";
    // What it hears of leaderships is kept there before its first log is.
    await files.makeDirectory(dataDirectory);
    return "fresh follower";
  }

  /** Of a follower, before the state is folded: one that was restored from a backup goes on where the backup ends. */
  async prepare(log: EventLog): Promise<void> {
    if (!this.#isNew) return;
    const { logger } = this.#parts;
    const cut = await cutRestoredEpoch(log);
    if (cut === undefined) return;
    const { epoch, lineageId } = cut;
    logger.info(
      { epoch, lineageId, endOffset: log.endOffset },
      "the epoch that the restore began was taken back: this node follows",
    );
  }

  /**
   * The log is open and the state folded, except of a follower that has none yet; HTTP listens. `damage`: why a follower's log could not be
   * opened or folded, which is mended then.
   */
  async start(damage?: Finding): Promise<void> {
    const { files, dataDirectory, logger } = this.#parts;
    const holder = `annals serve, pid ${process.pid}`;
    const own = { nodeId: this.#nodeId, now: Date.now, randomBytes, holder };
    const host = new HoldingsHost({ ...this.#parts, ...own });
    if (damage !== undefined) await host.shut(damage);
    const [secrets, certificates] = await Promise.all([
      NodeSecrets.read(this.#values, process.env),
      NodeCertificates.read(this.#values),
    ]);
    this.#secrets = secrets;
    const settings = this.#settings();
    this.#warn(settings.listenAddress?.host ?? "", secrets.current.length > 0 || certificates !== undefined);
    const seldom = new Seldom(systemClock.stopwatch);
    const network = new TcpNetwork({
      ...(certificates === undefined ? {} : { tls: certificates.current }),
      refused: (error, remote) =>
        seldom.tell(codeOf(error) ?? error.message, (untold) =>
          logger.warn({ remote, untold }, `${remote} was not let in: ${error.message}`),
        ),
    });
    this.#certificates = certificates;
    this.#network = network;
    const node = new ReplicationNode({
      settings: {
        ...settings,
        name: settings.name === "" ? host.identity().nodeId.slice(0, 8) : settings.name,
      },
      configured: () => this.#configured(),
      network,
      clock: systemClock,
      random: systemRandom,
      files,
      dataDirectory,
      logger,
      host,
      rests: () => {
        for (const listener of [...this.#waiting]) listener();
      },
    });
    this.#node = node;
    try {
      await node.start();
    } catch (error) {
      throw listeningFailure(error, this.#values["replication.replica_listen_address"]);
    }
    if (this.#stopped) await node.stop();
    const { role, listening, following } = node;
    logger.info(
      {
        role,
        replicationPort: listening?.port,
        replicationAddress: listening === undefined ? undefined : describeAddress(listening),
        follows: following === undefined ? undefined : describeAddress(following),
      },
      "replication",
    );
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#forwarder.close();
    await this.#node?.stop();
  }

  /**
   * What SIGHUP changed: a replica that is to be the master is promoted, and what is to follow follows. What is refused the next SIGHUP tries
   * again. Secrets and certificates are read from their files anew.
   */
  reload(next: ConfigValues): void {
    void this.#again("secrets", this.#secretsAgain());
    void this.#again("certificates", this.#certificatesAgain());
    if (isReplicated(next)) this.#takeRole(next);
  }

  async #secretsAgain(): Promise<object | undefined> {
    const secrets = this.#secrets;
    return secrets?.areInFile === true ? { secrets: (await secrets.renew()).length } : undefined;
  }

  async #certificatesAgain(): Promise<object | undefined> {
    const certificates = this.#certificates;
    if (certificates === undefined) return undefined;
    this.#network?.renew(await certificates.renew());
    return { expiresAt: new Date(certificates.expiresAt).toISOString() };
  }

  /** `read` resolves with what is told of them; undefined: there are none. */
  async #again(what: string, read: Promise<object | undefined>): Promise<void> {
    const { logger } = this.#parts;
    try {
      const told = await read;
      if (told !== undefined) logger.info(told, `${what} read again, for new connections`);
    } catch (error) {
      logger.error({ err: error }, `the ${what} could not be read again; those of before go on`);
    }
  }

  #takeRole(next: ConfigValues): void {
    this.#values = next;
    const [before, wanted] = [this.#taken, this.#configured()];
    if (isSameRole(before, wanted)) return;
    this.#taken = wanted;
    const { role } = wanted;
    const change =
      role === "master"
        ? this.promote(false)
        : this.#turn(next["replication.master_address"], "as configured");
    const { logger } = this.#parts;
    const again = (): void => {
      if (this.#taken === wanted) this.#taken = before;
    };
    change.then(
      (answer) => {
        if (answer?.type !== "refused") return logger.info({ role, ...answer }, "the role was changed");
        // Then it leads already.
        if (answer.code !== "REPLICATION_ROLE_WRONG") again();
        const { code, message, details } = answer;
        logger.error({ role, code, ...details }, `the role was not changed: ${message}`);
      },
      (error: unknown) => {
        again();
        logger.error({ err: error, role }, "the role was not changed");
      },
    );
  }

  /** What the settings make of this node. */
  #configured(): RoleAndAddress {
    return configuredRole(this.#settings());
  }

  #settings(): ReplicationSettings {
    return nodeSettings(this.#values, () => this.#secrets?.current ?? [], this.#parts.httpAddress);
  }

  #warn(host: string, isGuarded: boolean): void {
    if (isGuarded || isLoopback(host)) return;
    this.#parts.logger.warn(
      { host },
      "the replication port takes anybody: whoever reaches it may read everything and promote a node (replication.secret_file, replication.tls)",
    );
  }

  // ---- what it is ----

  get role(): NodeRole {
    return this.#node?.role ?? this.#values["replication.role"];
  }

  /** The primary's clock; undefined when this node leads, or nothing was heard yet. */
  get primaryTime(): number | undefined {
    return this.#node?.role === "replica" ? this.#node.primaryTime : undefined;
  }

  /** What retention has to leave for replicas that are sent everything. */
  get holders(): readonly OffsetHolder[] {
    const needed = this.stats?.replicas.flatMap(({ needs }) => needs ?? []) ?? [];
    return needed.length === 0 ? [] : [{ name: "full_sync", offset: asOffset(Math.min(...needed)) }];
  }

  get isBehind(): boolean {
    return this.#node === undefined ? this.role === "replica" : isBehind(this.#node);
  }

  get hasPrimarysLog(): boolean {
    const { stats } = this;
    return stats !== undefined && hasPrimarysLog(stats);
  }

  get stats(): ReplicationStats | undefined {
    return this.#node?.stats();
  }

  /** When this node's certificate ends, ms since 1970; undefined without TLS. */
  get certificateExpiresAt(): number | undefined {
    return this.#certificates?.expiresAt;
  }

  get maxLagMs(): number {
    return this.#maxLagMs;
  }

  facts(): ReplicationFacts {
    const stats = this.stats;
    if (stats === undefined)
      throw new ReplicationError("REPLICATION_CHANGING", "the node has not taken its role yet");
    return factsOf(stats, this.#maxLagMs, this.refuseWrites());
  }

  /** Whether requests that fit this role belong here. One that has lost its primary shows what it has: nobody has anything newer, perhaps. */
  readiness(): ReadinessCheck {
    const name = "replication";
    const stats = this.stats;
    if (stats === undefined) return { name, ok: false, detail: "the node has not taken its role yet" };
    const { fence, upstream, role } = stats;
    if (role !== "replica") {
      const refused = this.refuseWrites();
      if (refused !== undefined && FOR_ITS_REPLICAS.has(refused.code))
        return { name, ok: true, impaired: true, detail: `writes are refused: ${refused.message}` };
      if (fence === undefined)
        return { name, ok: true, detail: `primary, epoch ${stats.leadership?.epoch ?? 0}` };
      return { name, ok: false, detail: `fenced: ${fence.from} told of epoch ${fence.heard.epoch}` };
    }
    if (stats.damage.opening !== undefined)
      return { name, ok: false, detail: `the log is damaged and being mended: ${stats.damage.opening}` };
    if (this.#parts.holdings.opened === undefined)
      return { name, ok: false, detail: `waiting for the first sync${why(stats)}` };
    if (upstream === undefined || !upstream.connected)
      return {
        name,
        ok: true,
        impaired: true,
        detail: `not connected: what is shown may be old${why(stats)}`,
      };
    const lagMs = Math.round(upstream.lagMs ?? 0);
    if (lagMs > this.#maxLagMs)
      return { name, ok: false, detail: `${lagMs} ms behind; at most ${this.#maxLagMs}` };
    return { name, ok: true, detail: `replica, ${lagMs} ms behind` };
  }

  // ---- what a request needs ----

  refuseWrites(): Refusal | undefined {
    const node = this.#node;
    if (node === undefined) return NOT_STARTED;
    const error = node.writeRefusal();
    return error === undefined ? undefined : refusalOf(error);
  }

  async confirmed(offset: Offset, acks: Acks): Promise<Refusal | undefined> {
    const node = this.#node;
    if (node === undefined) return NOT_STARTED;
    const wanted = acks === "quorum" ? node.quorum() : acks;
    if (wanted === 0) return undefined;
    try {
      const { confirmed } = await node.confirmed(offset, wanted, this.#ackTimeoutMs);
      return confirmed >= wanted ? undefined : notConfirmed(offset, confirmed, wanted, "");
    } catch (error) {
      if (!(error instanceof ReplicationError)) throw error;
      // It is stored here all the same, so it is no plain refusal.
      return notConfirmed(offset, 0, wanted, `; ${error.message}`);
    }
  }

  onRest(listener: () => void): () => void {
    this.#waiting.add(listener);
    return () => this.#waiting.delete(listener);
  }

  replacedAfter(offset: Offset): Refusal | undefined {
    if (!this.isBehind) return undefined;
    return refusal(
      "REPLICATION_NOT_CONFIRMED",
      `stored locally at offset ${offset}; another node leads since, and may not have it`,
      { offset, confirmed: 0, wanted: 0 },
    );
  }

  // ---- what operators command ----

  promote(force: boolean, from?: string): Promise<PromotionReport | Refusal> {
    return this.#command(async (node) => reportOf(await node.promote({ force, from })));
  }

  follow(address: string): Promise<Refusal | undefined> {
    return this.#turn(address, "as commanded");
  }

  /** What the settings say is done also where it is a circle: the nodes' files are changed one after the other. */
  async #turn(address: string, why: "as commanded" | "as configured"): Promise<Refusal | undefined> {
    const parsed = parseAddress(address);
    if (parsed === undefined) {
      return refusal("API_ADDRESS_INVALID", "an address is such as db1:15501, 10.0.0.1:15501 or [::1]:15501");
    }
    return this.#command(
      async (node) => void (await (why === "as commanded" ? node.follow(parsed) : node.turnTo(parsed))),
    );
  }

  resync(): Promise<boolean | Refusal> {
    return this.#command((node) => node.resync());
  }

  forget(called: string): Promise<Refusal | undefined> {
    return this.#command(async (node) => {
      const found = nodeCalled(node.stats().peers, called);
      if ("type" in found) return found;
      const isStruck = await node.forget(found.nodeId);
      return isStruck ? undefined : refusal("API_NODE_UNKNOWN", `${called} is not on the list of nodes`);
    });
  }

  switchover(to: string): Promise<SwitchoverReport | Refusal> {
    return this.#command((node) => switchOver(node, to));
  }

  async #command<Result>(run: (node: ReplicationNode) => Promise<Result>): Promise<Result | Refusal> {
    if (this.#node === undefined) return NOT_STARTED;
    try {
      return await run(this.#node);
    } catch (error) {
      if (!(error instanceof ReplicationError)) throw error;
      return refusalOf(error);
    }
  }

  breakers(): readonly BreakerFacts[] {
    return this.stats?.breakers.map(breakerFacts) ?? [];
  }

  resetBreakers(link: string | undefined): number | Refusal {
    if (link !== undefined && !this.breakers().some((breaker) => breaker.link === link)) {
      return refusal("API_LINK_UNKNOWN", "no link of this name was given up");
    }
    return this.#node?.resetBreaker(link) ?? 0;
  }

  async diverged(): Promise<readonly DivergedFacts[]> {
    return listDiverged(this.#parts.files, this.#parts.dataDirectory);
  }
}

function notConfirmed(offset: Offset, confirmed: number, wanted: number, because: string): Refusal {
  return refusal(
    "REPLICATION_NOT_CONFIRMED",
    `stored locally at offset ${offset}, confirmed by ${confirmed} of ${wanted} replicas${because}`,
    { offset, confirmed, wanted },
  );
}

function why({ upstream }: ReplicationStats): string {
  return upstream?.error === undefined ? "" : ` (${upstream.error.code}: ${upstream.error.message})`;
}

function listeningFailure(error: unknown, address: string): unknown {
  // A host name is looked up before it is listened on.
  const syscall = error instanceof Error && "syscall" in error ? error.syscall : undefined;
  if (!(error instanceof Error && (syscall === "listen" || syscall === "getaddrinfo"))) return error;
  return new Error(
    `replication.replica_listen_address ${address}: ${error.message}; choose another address or port`,
    {
      cause: error,
    },
  );
}
