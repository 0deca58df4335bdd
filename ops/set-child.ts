/** Servers of one replicated set as processes of their own, on loopback: for the demo and the bench. */
import { type ServerChild, type ServerChildOptions, startServer } from "./server-child.js";

export interface SetChildOptions {
  readonly name: string;
  readonly dataDirectory: string;
  /** Where other nodes reach it; it outlives the process, so it is chosen before. */
  readonly replicationPort: number;
  /** The replication port of whom it follows; undefined: it leads. */
  readonly follows?: number;
  /** Whom others are told to dial instead of it. */
  readonly advertisedPort?: number;
  readonly environment?: Readonly<Record<string, string>>;
  readonly nodeFlags?: readonly string[];
  readonly waitFor?: ServerChildOptions["waitFor"];
}

export interface SetChild extends ServerChild {
  readonly name: string;
  readonly dataDirectory: string;
  readonly replicationPort: number;
}

/** What `/api/replication/stats` says, as far as it is asked for here. */
export interface SetChildStats {
  readonly role: "master" | "replica" | "standalone";
  readonly epoch: number | null;
  readonly listed?: boolean;
  readonly replica_offset?: number;
  readonly master_offset: number | null;
  readonly connected?: boolean;
  readonly phase?: string;
  readonly refuses_writes: string | null;
}

/** Resolves when it serves; a replica that is waited for until it is ready has caught up. */
export async function startSetChild(options: SetChildOptions): Promise<SetChild> {
  const {
    name,
    dataDirectory,
    replicationPort,
    follows,
    advertisedPort,
    nodeFlags = [],
    waitFor = "ready",
  } = options;
  const role =
    follows === undefined
      ? ["--role", "master"]
      : ["--role", "replica", "--master-address", `127.0.0.1:${follows}`];
  const child = await startServer({
    dataDirectory,
    nodeFlags,
    waitFor,
    flags: [...role, "--replica-listen", `127.0.0.1:${replicationPort}`],
    environment: {
      ANNALS_REPLICATION_NODE_NAME: name,
      ...(advertisedPort !== undefined && {
        ANNALS_REPLICATION_ADVERTISED_ADDRESS: `127.0.0.1:${advertisedPort}`,
      }),
      ...options.environment,
    },
  });
  return { ...child, name, dataDirectory, replicationPort };
}

export async function statsOf({ url }: { readonly url: string }): Promise<SetChildStats> {
  return (await (await fetch(`${url}/api/replication/stats`)).json()) as SetChildStats;
}

/** Asks until the stats are as wanted. */
export async function untilStats(
  child: { readonly url: string; readonly name: string },
  what: string,
  isSo: (stats: SetChildStats) => boolean,
  timeoutMs = 60_000,
): Promise<SetChildStats> {
  const late = performance.now() + timeoutMs;
  for (;;) {
    const stats = await statsOf(child).catch(() => undefined);
    if (stats !== undefined && isSo(stats)) return stats;
    if (performance.now() > late)
      throw new Error(`waited in vain until ${child.name} ${what}: ${JSON.stringify(stats)}`);
    // A node that is busy with its log would spend a twentieth of its time on answers if it were asked in every turn.
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
