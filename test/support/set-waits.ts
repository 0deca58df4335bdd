/** What tests of replicated sets wait for, and what must hold of nodes that have come together. */
import { expect } from "vitest";
import { realFileSystem } from "../../log/index.js";
import { checkByteEqual, segmentFiles } from "../../props/checkers/byte-equal.js";
import { checkConvergence } from "../../props/checkers/convergence.js";
import { factor } from "../../props/run-settings.js";
import type { SetNode } from "./replica-set.js";

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** Less than a test may take, so that it says what it waited for; a replica that was cut off for long takes its time to dial again. */
const PATIENCE_MS = factor > 1 ? 120_000 : 100_000;

export async function until(
  what: string,
  holds: () => Promise<boolean>,
  timeoutMs = PATIENCE_MS,
): Promise<void> {
  const late = performance.now() + timeoutMs;
  while (!(await holds().catch(() => false))) {
    if (performance.now() > late) throw new Error(`waited in vain until ${what}`);
    await sleep(20);
  }
}

export const endOf = async (node: SetNode): Promise<number> => {
  const stats = await node.stats();
  return Number(stats["replica_offset"] ?? stats["master_offset"]);
};

export const hasAll = (replica: SetNode, primary: SetNode): Promise<void> =>
  until(`${replica.name} has what ${primary.name} has`, async () => {
    const { role, connected, epoch } = await replica.stats();
    const theirs = await primary.stats();
    const follows = role === "replica" && connected === true && epoch === theirs["epoch"];
    return follows && (await endOf(replica)) === (await endOf(primary));
  });

export const follows = (node: SetNode): Promise<void> =>
  until(`${node.name} follows`, async () => (await node.stats())["role"] === "replica");

/** The replicas are on the primary's list under its epoch, and all of them confirm. */
export async function listed(replicas: readonly SetNode[], primary: SetNode): Promise<void> {
  for (const replica of replicas)
    await until(`${replica.name} is listed by ${primary.name}`, async () => {
      const [ours, theirs] = [await replica.stats(), await primary.stats()];
      return ours["connected"] === true && ours["epoch"] === theirs["epoch"] && ours["listed"] === true;
    });
  await until("a write is confirmed by all", async () => {
    const acks = { "x-annals-acks": String(replicas.length) };
    return (await primary.client.put("listed", "yes", acks)).status < 300;
  });
}

/** Same state and same bytes, as the checkers of the simulated world judge it. */
export async function expectOne(...nodes: readonly SetNode[]): Promise<void> {
  const seen = await Promise.all(
    nodes.map(async (node) => {
      const { offset, digests } = await node.json("/digest");
      const segments = await segmentFiles(realFileSystem, node.directory);
      return { node: node.name, offset: Number(offset), digest: JSON.stringify(digests), segments };
    }),
  );
  checkConvergence(seen);
  const [first, ...others] = seen;
  for (const other of others)
    if (first !== undefined) expect(checkByteEqual(first, other)).toBeGreaterThan(0);
}
