/** Our own server as the bench starts it: as `npm start` does, with defaults, except for what a row is about. */
import { NODE_FLAGS } from "../launch.js";
import { type ServerChild, startServer } from "../server-child.js";
import type { Bench } from "./processes.js";

export interface AnnalsOptions {
  readonly fsyncMode: "always" | "periodic" | "never";
  readonly fsyncIntervalMs?: number;
  readonly dataDirectory?: string;
}

export interface Annals extends ServerChild {
  readonly dataDirectory: string;
  stop(): Promise<void>;
}

export async function startAnnals(bench: Bench, options: AnnalsOptions): Promise<Annals> {
  const { fsyncMode, fsyncIntervalMs = 1000 } = options;
  const dataDirectory = options.dataDirectory ?? bench.newDirectory(`annals-${fsyncMode}`);
  const server = await startServer({
    dataDirectory,
    nodeFlags: NODE_FLAGS,
    environment: {
      ANNALS_PERSISTENCE_WAL_FSYNC_MODE: fsyncMode,
      ANNALS_PERSISTENCE_WAL_FSYNC_INTERVAL_MS: String(fsyncIntervalMs),
      // The peers make none either; the rows on snapshots ask for theirs.
      ANNALS_PERSISTENCE_SNAPSHOT_INTERVAL_SECS: "0",
      ANNALS_PERSISTENCE_SNAPSHOT_OPERATION_THRESHOLD: "0",
    },
  });
  bench.onClose(() => server.kill("SIGKILL"));
  const stop = async (): Promise<void> => {
    server.kill("SIGTERM");
    const how = await server.ended;
    if (how !== "0") throw new Error(`annals ended with ${how} instead of 0`);
  };
  return { ...server, dataDirectory, stop };
}

/** The samples of `/metrics` whose name matches, as `name{labels}` → value. */
export async function metricsOf(server: ServerChild, name: RegExp): Promise<Record<string, number>> {
  const text = await (await fetch(`${server.url}/metrics`)).text();
  const samples = text.split("\n").flatMap((line): [string, number][] => {
    const [, series, value] = /^([a-zA-Z_][^ ]*) (\S+)$/.exec(line) ?? [];
    return series !== undefined && name.test(series) ? [[series, Number(value)]] : [];
  });
  return Object.fromEntries(samples);
}
