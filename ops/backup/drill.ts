/**
 * A drill: proves that the newest backup can be restored and served. Restores it into a directory of its own, folds its log here,
 * starts a server on it, and holds what the server says of its state against the fold and against what the backup recorded. The
 * server has default settings and none of this process's `ANNALS_*` variables: it must not archive, nor be found by anybody.
 *
 * Everything that was made is removed again, however it ends.
 */
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage, offset, openLogView, realFileSystem, SNAPSHOT_DIRECTORY } from "../../log/index.js";
import {
  type Digests,
  foldTo,
  LOG_DIGESTS,
  type SnapshotDirectory,
  type StoreRules,
} from "../../projections/index.js";
import { type ServerChild, startServer } from "../server-child.js";
import { BackupError } from "./errors.js";
import { findRestorePoint } from "./find-point.js";
import type { Manifest } from "./manifest.js";
import type { ObjectStore } from "./object-store.js";
import { type RestoreReport, restore } from "./restore.js";
import { planRestore } from "./restore-plan.js";

export interface DrillOptions {
  readonly store: ObjectStore;
  /** Which backup; default: the newest. */
  readonly backup?: string;
  /** A directory with room for all of it, in which a temporary one is made. */
  readonly workDirectory: string;
  readonly parallel: number;
  /** How states are folded: those of a server with default settings. */
  readonly rules: StoreRules;
  readonly now: () => number;
  readonly stopwatch: () => number;
  readonly readyTimeoutMs: number;
  /** Ends the drill with the signal's reason. */
  readonly signal: AbortSignal;
  readonly onProgress?: (bytesDone: number, bytesAll: number) => void;
}

export interface DrillCheck {
  readonly name: string;
  readonly expected: string;
  readonly found: string;
  readonly ok: boolean;
}

export interface DrillReport {
  readonly success: boolean;
  readonly repository: string;
  readonly backup: string;
  readonly startedAt: number;
  readonly lastOffset: number;
  readonly lastTimestamp: number;
  /** How old the backup is. */
  readonly ageMs: number;
  /** How much of the newest past would be lost if everything else were gone now: the age of the last record. */
  readonly rpoMs: number;
  /** From the beginning of the restore until the server was ready. */
  readonly rtoMs: number;
  readonly restoreMs: number;
  readonly readyMs: number;
  readonly bytes: number;
  /** Where the state was held against digests that the backup recorded; null: it recorded none that can be asked for. */
  readonly recordedDigestsAt: number | null;
  readonly checks: readonly DrillCheck[];
}

const PROBES = 20;
const STOP_MS = 10_000;

/** A check that fails is in the report. @throws as `planRestore` and `restore`; BackupError DRILL_SERVER_FAILED. */
export async function drill(options: DrillOptions): Promise<DrillReport> {
  const { store, now, stopwatch, workDirectory } = options;
  const startedAt = now();
  const plan = await planRestore(
    store,
    { type: "latest" },
    {
      findPoint: findRestorePoint,
      ...(options.backup === undefined ? {} : { backup: options.backup }),
    },
  );
  const place = await mkdtemp(join(workDirectory, "annals-drill-"));
  const dataDirectory = join(place, "data");
  let server: ServerChild | undefined;
  try {
    const begun = stopwatch();
    const restored = await restore(plan, {
      ...options,
      files: realFileSystem,
      dataDirectory,
      randomBytes,
      holder: `annals drill, pid ${process.pid}`,
    });
    const restoreMs = stopwatch() - begun;
    server = await start(dataDirectory, options);
    const rtoMs = stopwatch() - begun;
    const checks = await checkServer(server, dataDirectory, plan.manifest, restored, options);
    return {
      success: checks.every(({ ok }) => ok),
      repository: store.url,
      backup: plan.backup,
      startedAt,
      lastOffset: restored.lastOffset,
      lastTimestamp: restored.lastTimestamp,
      ageMs: startedAt - plan.manifest.createdAt,
      rpoMs: startedAt - restored.lastTimestamp,
      rtoMs: Math.round(rtoMs),
      restoreMs: Math.round(restoreMs),
      readyMs: Math.round(server.readyMs),
      bytes: plan.bytes,
      recordedDigestsAt: recordedDigests(plan.manifest)?.offset ?? null,
      checks,
    };
  } finally {
    if (server !== undefined) await stop(server);
    await rm(place, { recursive: true, force: true });
  }
}

type Bounds = Pick<DrillOptions, "readyTimeoutMs" | "signal">;

async function start(dataDirectory: string, { readyTimeoutMs, signal }: Bounds): Promise<ServerChild> {
  const inherited = Object.entries(process.env).filter(([name]) => !/^(ANNALS|SYNAP)_/.test(name));
  try {
    return await startServer({
      dataDirectory,
      readyTimeoutMs,
      signal,
      inherited: Object.fromEntries(inherited),
      // A look at the last record may take as long as a start.
      environment: { ANNALS_PAST_TIMEOUT_MS: "3600000", ANNALS_PAST_RECORDS_MAX: "1000000000000" },
      workDirectory: dataDirectory,
    });
  } catch (error) {
    signal.throwIfAborted();
    const why = errorMessage(error);
    throw new BackupError(
      "DRILL_SERVER_FAILED",
      `no server starts from the restored data: ${why}`,
      {},
      error,
    );
  }
}

async function stop(server: ServerChild): Promise<void> {
  server.kill("SIGTERM");
  const timer = setTimeout(() => server.kill("SIGKILL"), STOP_MS);
  await server.ended;
  clearTimeout(timer);
}

async function checkServer(
  { url }: ServerChild,
  dataDirectory: string,
  manifest: Manifest,
  { lastOffset, lastCrc }: RestoreReport,
  { rules, signal }: Pick<DrillOptions, "rules" | "signal">,
): Promise<DrillCheck[]> {
  const view = await openLogView(realFileSystem, dataDirectory);
  const snapshots = { files: realFileSystem, directory: join(dataDirectory, SNAPSHOT_DIRECTORY) };
  const folded = async (from: SnapshotDirectory | undefined): Promise<Digests> => {
    const { fold } = await foldTo(view, from, { rules, last: offset(lastOffset), signal });
    const digests = fold.digests();
    fold.close();
    return digests;
  };
  const ask = (path: string) => answerOf(url, path, signal);
  const served = await ask(`/digest?offset=${lastOffset}`);
  const checks: DrillCheck[] = [
    checkOf(`crc at ${lastOffset}`, lastCrc, served.get("crc")),
    ...digestChecks(`digest at ${lastOffset}`, await folded(snapshots), served.get("digests")),
  ];
  if (view.firstOffset === 1 && manifest.snapshot !== null) {
    // A snapshot that lies was held against itself just now.
    const name = `digest of the log alone at ${lastOffset}`;
    checks.push(...digestChecks(name, await folded(undefined), served.get("digests"), LOG_DIGESTS));
  }
  const keys = keysIn(await ask(`/kv/scan?limit=${PROBES}`));
  const snapshot = recordedDigests(manifest);
  if (snapshot !== undefined) {
    const then = (await ask(`/digest?offset=${snapshot.offset}`)).get("digests");
    const name = `recorded digest at ${snapshot.offset}`;
    checks.push(...digestChecks(name, snapshot.digests, then, LOG_DIGESTS));
  }
  for (const path of ["/kv/stats", "/kv/scan?limit=1", "/queue/list", "/stream/list"])
    checks.push(checkOf(`GET ${path}`, 200, await statusOf(url, path, signal)));
  for (const key of keys) {
    const path = `/kv/get/${encodeURIComponent(key)}?type=bytes`;
    const status = await statusOf(url, path, signal);
    // It may have expired since it was listed.
    checks.push({
      name: `GET ${path}`,
      expected: "200",
      found: String(status),
      ok: status === 200 || status === 404,
    });
  }
  return checks;
}

/** The digests that a backup or an archive has of a state that its own log leads to; without a snapshot it has none. */
function recordedDigests({ snapshot, firstOffset }: Manifest): NonNullable<Manifest["snapshot"]> | undefined {
  const isThere =
    snapshot !== null && Object.keys(snapshot.digests).length > 0 && snapshot.offset >= firstOffset;
  return isThere ? snapshot : undefined;
}

function digestChecks(
  name: string,
  expected: Partial<Digests>,
  found: unknown,
  parts: readonly (keyof Digests)[] = [...LOG_DIGESTS, "idempotency", "all"],
): DrillCheck[] {
  const told = new Map<string, unknown>(
    typeof found === "object" && found !== null ? Object.entries(found) : [],
  );
  return parts.map((part) => checkOf(`${name}, ${part}`, expected[part], told.get(part)));
}

function checkOf(name: string, expected: unknown, found: unknown): DrillCheck {
  return { name, expected: String(expected), found: String(found), ok: expected === found };
}

async function answerOf(
  url: string,
  path: string,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, unknown>> {
  const answer = await fetch(`${url}${path}`, { signal });
  const body: unknown = await answer.json();
  return new Map<string, unknown>(typeof body === "object" && body !== null ? Object.entries(body) : []);
}

async function statusOf(url: string, path: string, signal: AbortSignal): Promise<number> {
  const answer = await fetch(`${url}${path}`, { signal });
  await answer.arrayBuffer();
  return answer.status;
}

function keysIn(scan: ReadonlyMap<string, unknown>): string[] {
  const keys = scan.get("keys");
  return Array.isArray(keys) ? keys.filter((key) => typeof key === "string") : [];
}
