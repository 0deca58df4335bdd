/**
 * What a restore would lose against a store that is there: the records behind the point up to which both are one log. The store
 * is a data directory, live or not, or a server that is asked over HTTP.
 */
import {
  decodeEpochStart,
  EPOCH_STARTED,
  type FileSystem,
  type LogRecord,
  type LogView,
  offset,
  openLogView,
} from "../../log/index.js";
import { decodeEvents } from "../../projections/index.js";
import { BackupError } from "./errors.js";
import type { RestorePlan } from "./restore-plan.js";

export interface Comparison {
  /** Directory or address. */
  readonly with: string;
  /** Where the live store ends. */
  readonly endOffset: number;
  /** The last offset up to which the restored log and the live one are the same; 0: nothing is. */
  readonly commonOffset: number;
  /** Live records behind it, which the restored store would not have. */
  readonly lostRecords: number;
  /** Restored records behind it, which the live store does not have. */
  readonly otherRecords: number;
  /** When the first and the last of the lost ones were written, ms since 1970; null when there are none. */
  readonly lostFrom: number | null;
  readonly lostTo: number | null;
  /** Number of lost events by type; only of a data directory. */
  readonly lostEvents?: Readonly<Record<string, number>>;
}

/** The live log, as far as a comparison asks. */
export interface LiveLog {
  readonly where: string;
  readonly clusterId: string;
  readonly firstOffset: number;
  readonly endOffset: number;
  /** Lineage id of the epoch that wrote the record, and its time. */
  at(offset: number): Promise<{ readonly lineageId: string; readonly timestamp: number }>;
}

export async function compare(plan: RestorePlan, live: LiveLog): Promise<Comparison> {
  const commonOffset = live.clusterId === plan.manifest.clusterId ? await commonEnd(plan, live) : 0;
  const first = Math.max(commonOffset + 1, live.firstOffset);
  const isLost = live.endOffset >= first;
  return {
    with: live.where,
    endOffset: live.endOffset,
    commonOffset,
    lostRecords: live.endOffset - commonOffset,
    otherRecords: plan.last - commonOffset,
    lostFrom: isLost ? (await live.at(first)).timestamp : null,
    lostTo: isLost ? (await live.at(live.endOffset)).timestamp : null,
  };
}

/** @throws LogError as `openLogView`; ProjectionError when a lost record cannot be read. */
export async function compareWithDirectory(
  plan: RestorePlan,
  files: FileSystem,
  dataDirectory: string,
): Promise<Comparison> {
  const view = await openLogView(files, dataDirectory);
  const comparison = await compare(plan, liveLogOf(view, dataDirectory));
  const events = new Map<string, number>();
  const first = Math.max(comparison.commonOffset + 1, view.firstOffset);
  for await (const batch of view.read(offset(first)))
    for (const type of batch.flatMap(typesOf)) events.set(type, (events.get(type) ?? 0) + 1);
  return { ...comparison, lostEvents: Object.fromEntries([...events].sort()) };
}

function liveLogOf(view: LogView, where: string): LiveLog {
  return {
    where,
    clusterId: view.identity?.clusterId ?? "",
    firstOffset: view.firstOffset,
    endOffset: view.endOffset,
    at: (at) => view.markAt(offset(at)),
  };
}

function typesOf(record: LogRecord): string[] {
  if (record.kind !== EPOCH_STARTED) return decodeEvents(record).events.map(({ type }) => type);
  return [`epoch.${decodeEpochStart(record.version, record.body)?.reason ?? "started"}`];
}

/**
 * Two logs of one cluster are the same up to the end of the last epoch that both have, wherever that ends in either: lineage ids
 * are drawn at random, and within an epoch there is one writer.
 */
async function commonEnd({ last, manifest }: RestorePlan, live: LiveLog): Promise<number> {
  const { epochs } = manifest;
  for (const [i, entry] of [...epochs.entries()].toReversed()) {
    const ownLast = Math.min((epochs[i + 1]?.first ?? manifest.lastOffset + 1) - 1, live.endOffset);
    const first = Math.max(entry.first, live.firstOffset);
    if (first > ownLast || (await live.at(first)).lineageId !== entry.lineageId) continue;
    // The live log may have ended this epoch earlier: the last offset that is still of it.
    let [low, high] = [first, ownLast];
    while (low < high) {
      // The end first: mostly it is the answer.
      const middle = high === ownLast && low === first ? high : Math.ceil((low + high) / 2);
      if ((await live.at(middle)).lineageId === entry.lineageId) low = middle;
      else high = middle - 1;
    }
    return Math.min(low, last);
  }
  return 0;
}

/** A server, asked by `GET /log/crc`. @throws BackupError RESTORE_COMPARE_FAILED. */
export async function liveServer(url: string, fetchJson = getJson): Promise<LiveLog> {
  const ask = async (query: string): Promise<Mark> =>
    markIn(await fetchJson(`${base(url)}/log/crc${query}`), url);
  const end = await ask("");
  return {
    where: url,
    clusterId: end.clusterId,
    firstOffset: end.firstOffset,
    endOffset: end.endOffset,
    at: (at) => ask(`?offset=${at}`),
  };
}

interface Mark {
  readonly lineageId: string;
  readonly timestamp: number;
  readonly clusterId: string;
  readonly firstOffset: number;
  readonly endOffset: number;
}

const base = (url: string): string => url.replace(/\/+$/, "");

function markIn(answer: unknown, url: string): Mark {
  const fields = new Map<string, unknown>(
    typeof answer === "object" && answer !== null ? Object.entries(answer) : [],
  );
  const [lineageId, clusterId] = [fields.get("lineage_id"), fields.get("cluster_id")];
  const [timestamp, first, end] = [fields.get("time"), fields.get("first_offset"), fields.get("end_offset")];
  if (
    typeof lineageId === "string" &&
    typeof clusterId === "string" &&
    typeof timestamp === "number" &&
    typeof first === "number" &&
    typeof end === "number"
  )
    return { lineageId, clusterId, timestamp, firstOffset: first, endOffset: end };
  throw compareFailed(url, "its answer is not one of Annals");
}

const TIMEOUT_MS = 10_000;

async function getJson(address: string): Promise<unknown> {
  try {
    const answer = await fetch(address, { signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (answer.ok) return await answer.json();
    throw compareFailed(address, `it answers ${answer.status}`);
  } catch (error) {
    if (error instanceof BackupError) throw error;
    const why =
      error instanceof Error ? (error.cause instanceof Error ? error.cause : error).message : String(error);
    throw compareFailed(address, why, error);
  }
}

function compareFailed(url: string, what: string, cause?: unknown): BackupError {
  return new BackupError("RESTORE_COMPARE_FAILED", `${url} cannot be compared with: ${what}`, { url }, cause);
}
