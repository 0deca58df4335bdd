/** Replication without other nodes: everything that it says is in the test's hands, and what it is told is remembered. */
import type {
  Acks,
  BreakerFacts,
  DivergedFacts,
  ForwardedAnswer,
  ForwardedWrite,
  PromotionReport,
  Refusal,
  Replication,
  ReplicationFacts,
  SwitchoverReport,
  UpstreamFacts,
} from "../../api/index.js";
import type { Offset } from "../../log/index.js";

export interface ReplicationDoubleOptions {
  /** What every command of operators is refused with. */
  readonly refused?: Refusal;
  readonly tripped?: readonly BreakerFacts[];
}

export class ReplicationDouble implements Replication {
  acks: Acks = 0;
  isBehind = false;
  hasPrimarysLog = false;
  /** What a write is refused with. */
  refusal: Refusal | undefined;
  /** What a write is answered with that waits for replicas. */
  unconfirmed: Refusal | undefined;
  /** What a write is answered with that another node has overtaken. */
  replaced: Refusal | undefined;
  /** Waits asked for, and how they go on. */
  readonly waits: { offset: number; acks: Acks }[] = [];
  held: Promise<void> = Promise.resolve();
  upstream: UpstreamFacts | undefined;
  forward: ((write: ForwardedWrite) => Promise<ForwardedAnswer | Refusal>) | undefined;
  readonly told: string[] = [];
  readonly #listeners = new Set<() => void>();
  readonly #options: ReplicationDoubleOptions;
  readonly #offset: () => number;

  constructor(options: ReplicationDoubleOptions, offset: () => number) {
    this.#options = options;
    this.#offset = offset;
  }

  refuseWrites(): Refusal | undefined {
    return this.refusal;
  }

  onRest(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Another node leads: from now on writes are refused so. */
  rest(refusal: Refusal): void {
    this.refusal = refusal;
    for (const listener of [...this.#listeners]) listener();
  }

  async confirmed(offset: Offset, acks: Acks): Promise<Refusal | undefined> {
    this.waits.push({ offset, acks });
    await this.held;
    return this.unconfirmed;
  }

  replacedAfter(): Refusal | undefined {
    return this.replaced;
  }

  facts(): ReplicationFacts {
    return {
      role: this.upstream === undefined ? "master" : "replica",
      nodeId: "a".repeat(32),
      name: "one",
      listen: "127.0.0.1:15501",
      http: "http://127.0.0.1:15500",
      leadership: { epoch: 3, lineageId: "e".repeat(32) },
      offset: this.#offset(),
      fence: undefined,
      refusal: this.refusal,
      replicas: [REPLICA],
      upstream: this.upstream,
      peers: [
        { id: "b".repeat(32), name: "two", address: "127.0.0.1:15502", http: undefined, follows: undefined },
      ],
      listed: true,
      divergences: 0,
      twins: [
        {
          nodeId: "b".repeat(32),
          name: "two",
          stays: "10.0.0.2:40000",
          refused: "10.0.0.3:40000",
          refusedAt: 1_700_000_000_900,
        },
      ],
      damage: {
        known: [{ first: 1, file: "log/1.log", words: "zeros", since: 1_700_000_000_500 }],
        quarantines: 2,
        refetchedSegments: 3,
        owesSince: 1_700_000_001_500,
        opening: "a primary",
        comparisons: 4,
        mismatches: 1,
        comparedAt: 1_700_000_002_500,
        mismatchAt: 7,
        upstream: "zeros there",
      },
    };
  }

  async promote(force: boolean, from?: string): Promise<PromotionReport | Refusal> {
    this.told.push(`promote${force ? " by force" : ""}${from === undefined ? "" : ` in place of ${from}`}`);
    return (
      this.#options.refused ?? {
        type: "promoted",
        leadership: { epoch: 4, lineageId: "f".repeat(32) },
        offset: this.#offset() + 1,
        reached: ["two"],
        notReached: force ? ["three"] : [],
        mayBeLost: 2,
        verifiedFrom: 1,
        warnings: [],
      }
    );
  }

  async follow(address: string): Promise<Refusal | undefined> {
    this.told.push(`follow ${address}`);
    return this.#options.refused;
  }

  async resync(): Promise<boolean | Refusal> {
    this.told.push("resync");
    return this.#options.refused ?? true;
  }

  async forget(node: string): Promise<Refusal | undefined> {
    this.told.push(`forget ${node}`);
    return this.#options.refused;
  }

  async switchover(to: string): Promise<SwitchoverReport | Refusal> {
    this.told.push(`switchover to ${to}`);
    const offset = this.#offset() + 1;
    return (
      this.#options.refused ?? {
        type: "switched",
        to,
        epoch: 4,
        offset,
        heldMs: 12,
        repointed: ["two"],
        notRepointed: [],
      }
    );
  }

  breakers(): readonly BreakerFacts[] {
    return this.#options.tripped ?? [];
  }

  resetBreakers(link: string | undefined): number | Refusal {
    return (
      this.#options.refused ??
      this.breakers().filter((each) => link === undefined || each.link === link).length
    );
  }

  async diverged(): Promise<readonly DivergedFacts[]> {
    return [DIVERGED];
  }
}

const REPLICA = {
  id: "b".repeat(32),
  name: "two",
  address: "127.0.0.1:15502",
  http: undefined,
  connected: true,
  offset: 7,
  lagOperations: 2,
  lagBytes: 300,
  lagMs: 4.6,
  status: "in_sync",
  connectedAt: 1_700_000_000_999,
  lastHeartbeatAt: 1_700_000_001_000,
} as const;

const DIVERGED: DivergedFacts = {
  directory: "diverged/1700000000000-5-9-0f3c9a1e",
  first: 5,
  last: 9,
  records: 5,
  bytes: 1234,
  keptAt: 1_700_000_000_000,
};

/** As a replica sees its primary. */
export const UPSTREAM: UpstreamFacts = {
  address: "db1:15501",
  id: "c".repeat(32),
  http: "http://db1:15500",
  connected: true,
  phase: "streaming",
  offset: 12,
  lagOperations: 5,
  lagMs: 40.4,
  lastHeartbeatAt: 1_700_000_002_000,
  lastError: undefined,
  recordsReceived: 100,
  bytesReceived: 20_000,
  fullSyncs: 1,
  partialSyncs: 2,
  reconnects: 3,
};
