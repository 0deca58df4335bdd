/**
 * Holds real servers that have come together again to everything that replication promises, by the checkers of the simulated world: what
 * their logs say on the disk, and what clients were told.
 */
import { join } from "node:path";
import {
  EPOCH_STARTED,
  type LogReader,
  type LogRecord,
  listDiverged,
  openLogView,
  realFileSystem,
} from "../../log/index.js";
import { decodeEvents } from "../../projections/index.js";
import { checkAcknowledged } from "../../props/checkers/acknowledged.js";
import { checkEvidence } from "../../props/checkers/evidence.js";
import { checkOneWriter } from "../../props/checkers/one-writer.js";
import { checkReplicaPrefix } from "../../props/checkers/replica-prefix.js";
import { checkUnfenced } from "../../props/checkers/unfenced.js";
import type { SetNode } from "./replica-set.js";
import { type SetHistory, short } from "./set-history.js";
import { valueFor } from "./set-load.js";
import { expectOne } from "./set-waits.js";

export interface SetChecked {
  readonly answered: number;
  /** Confirmed ones that were found again. */
  readonly confirmed: number;
  /** Answered ones that are under `diverged/`. */
  readonly aside: number;
}

/** All nodes follow the first one, and have everything. */
export async function checkSet(nodes: readonly SetNode[], history: SetHistory): Promise<SetChecked> {
  await expectOne(...nodes);
  const seen = await Promise.all(nodes.map(seeNode));
  const bodies = new Map<string, string>();
  for (const { epochs, records } of seen)
    for (const { offset, epoch, body } of records) {
      const lineageId = epochs.findLast(({ first }) => first <= offset)?.lineageId;
      const key = `${epoch} ${lineageId} ${offset}`;
      if (!bodies.has(key)) bodies.set(key, Buffer.from(body).toString("latin1"));
    }
  checkReplicaPrefix(seen, ({ epoch, lineageId }, offset) => bodies.get(`${epoch} ${lineageId} ${offset}`));
  const names = new Map(await Promise.all(nodes.map(async (node) => [await idOf(node), node.name] as const)));
  checkOneWriter([
    ...history.answered,
    ...seen.flatMap(({ epochs }) =>
      epochs.map(({ epoch, lineageId, nodeId }) => {
        return { epoch, lineageId: short(lineageId), node: names.get(nodeId) ?? nodeId };
      }),
    ),
  ]);
  const [leader] = seen;
  const first = leader?.records[0]?.offset ?? 1;
  const found = (offset: number): string | undefined => {
    const record = leader?.records[offset - first];
    return record && keyOf(record);
  };
  const confirmed = checkAcknowledged(history.answered, history.promotions, (offset) =>
    offset < first ? null : found(offset),
  );
  checkUnfenced(history.answered, history.promotions, history.whileFenced);
  const putAside = await Promise.all(nodes.map(async (node) => [node.name, await keysAside(node)] as const));
  const aside = checkEvidence(history.answered, found, new Map(putAside));
  return { answered: history.answered.length, confirmed, aside };
}

async function seeNode({ name, directory }: SetNode) {
  const view = await openLogView(realFileSystem, directory);
  return { node: name, epochs: view.epochs, records: await recordsOf(view) };
}

async function recordsOf(view: LogReader): Promise<LogRecord[]> {
  const records: LogRecord[] = [];
  if (view.endOffset < view.firstOffset) return records;
  for await (const batch of view.read(view.firstOffset)) records.push(...batch);
  return records;
}

const idOf = async (node: SetNode): Promise<string> => String((await node.stats())["node_id"]);

/** What a write of `SetLoad` is known by: its key, if it has the value of that key. */
export function keyOf(record: LogRecord): string {
  if (record.kind === EPOCH_STARTED) return "epoch.started";
  const [event] = decodeEvents(record).events;
  if (event?.type !== "kv.set") return `${event?.type}`;
  const { key, value } = event;
  const text = typeof value === "string" ? value : textOf(value);
  return text === valueFor(key) ? key : `${key} = ${text}`;
}

const textOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString();

async function keysAside({ directory }: SetNode): Promise<Set<string>> {
  const keys = new Set<string>();
  for (const kept of await listDiverged(realFileSystem, directory))
    for (const record of await recordsOf(await openLogView(realFileSystem, join(directory, kept.directory))))
      keys.add(keyOf(record));
  return keys;
}
