/** Primaries and replicas of link tests, and what must hold of two of them in the end. */
import { expect } from "vitest";
import { seededRandom } from "../../props/run-settings.js";
import type { SnapshotSource } from "../../replication/link-ports.js";
import type { Address } from "../../replication/ports.js";
import { LinkNodeDouble, type LinkWorld, type NodeChanges } from "./link-node.js";
import { MemoryNetwork } from "./memory-network.js";
import { at } from "./test-log.js";
import { VirtualClock } from "./virtual-clock.js";

export interface WithPrimary {
  readonly world: LinkWorld;
  readonly primary: LinkNodeDouble;
  readonly address: Address;
}

export async function primaryWith(records: number, changes: NodeChanges = {}): Promise<WithPrimary> {
  const world = { network: new MemoryNetwork(), clock: new VirtualClock() };
  const primary = new LinkNodeDouble(world, changes);
  await primary.lead(records);
  return { world, primary, address: await primary.listen() };
}

/** A node that has everything that the primary has, and follows it. */
export async function replicaOf(
  { world, primary, address }: WithPrimary,
  changes: NodeChanges = {},
): Promise<LinkNodeDouble> {
  const replica = new LinkNodeDouble(world, changes);
  replica.follow(address);
  await same(primary, replica);
  return replica;
}

/** Bytes that are no snapshot of anything, in pieces of any size: the link does not look into them. */
export function snapshotOf(offset: number, bytes: number): SnapshotSource & { readonly content: Buffer } {
  const content = Buffer.from(Uint16Array.from({ length: bytes }, (_, i) => i * 7 + (i >> 8)));
  return {
    name: `snapshot_1000_${offset}.snap`,
    offset: at(offset),
    bytes,
    content,
    read: async function* () {
      const random = seededRandom(bytes);
      for (let from = 0; from < bytes; ) {
        const end = Math.min(bytes, from + 1 + Math.floor(random() * 700_000));
        yield content.subarray(from, end);
        from = end;
      }
    },
  };
}

/** A primary that keeps only what comes after about `kept` of its records. */
export async function retiredTo(primary: LinkNodeDouble, kept: number): Promise<number> {
  await primary.required.retain(at(kept));
  expect(primary.required.firstOffset).toBeGreaterThan(1);
  return primary.required.firstOffset;
}

/** Until the replica has everything durably, and the primary knows; then the segments are the same, byte for byte. */
export async function same(primary: LinkNodeDouble, replica: LinkNodeDouble): Promise<void> {
  await primary.world.clock.until(() => hasAll(primary, replica), `${replica.name} has everything`);
  const [own, others] = [await primary.segments(), await replica.segments()];
  expect(others.get(Math.max(...own.keys())), "the newest segment").toBeDefined();
  // Either may keep older ones than the other.
  for (const [base, bytes] of others) expect(own.get(base) ?? bytes, `segment ${base}`).toBe(bytes);
}

function hasAll(primary: LinkNodeDouble, replica: LinkNodeDouble): boolean {
  const durable = primary.required.durableOffset;
  const sender = primary.listener?.senders.find(({ progress }) => progress.node.nodeId === replica.nodeId);
  return (
    replica.receiver?.progress.phase === "streaming" &&
    replica.log()?.endOffset === primary.end &&
    replica.required.durableOffset === durable &&
    sender?.progress.durable === durable
  );
}
