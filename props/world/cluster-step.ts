/** What may be done to a simulated set, faults included, and how it is drawn. A property runs lists of these, so that they shrink. */
import fc from "fast-check";
import type { FsyncMode } from "../../log/index.js";
import type { DamageHow } from "./cluster-damage.js";
import type { AsksFor } from "./cluster-node.js";
import type { DuplicateHow } from "./duplicates.js";

export type ClusterStep =
  /** To one of those that take writes now. */
  | { readonly type: "write"; readonly node: number; readonly acks: AsksFor; readonly count: number }
  | { readonly type: "read"; readonly node: number; readonly back: number }
  | { readonly type: "promote"; readonly node: number; readonly force: boolean }
  /** To the node from whoever leads. */
  | { readonly type: "switchover"; readonly to: number }
  | { readonly type: "follow"; readonly node: number; readonly to: number }
  | { readonly type: "resync"; readonly node: number }
  /** A node that is down, or is given up for that, stays so, and the primary strikes it off its list. */
  | { readonly type: "forget"; readonly node: number }
  | { readonly type: "reset"; readonly node: number }
  /** Killed or without power now, or in that operation of its disk; started again after so long. */
  | {
      readonly type: "end";
      readonly node: number;
      readonly how: "stopped" | "off";
      readonly operation: number;
      readonly downMs: number;
    }
  | { readonly type: "pause"; readonly node: number; readonly ms: number }
  /** Its wall clock is set. */
  | { readonly type: "clock"; readonly node: number; readonly ms: number }
  | {
      readonly type: "cut";
      readonly from: number;
      readonly to: number;
      readonly both: boolean;
      readonly ms: number;
    }
  /** From everybody. */
  | { readonly type: "isolate"; readonly node: number; readonly ms: number }
  | { readonly type: "drop"; readonly from: number; readonly to: number }
  /** Bits are changed on the way. */
  | { readonly type: "garble"; readonly from: number; readonly to: number; readonly ms: number }
  /** Something durable changes on the disk of the node, whether it runs or not: see `cluster-damage.ts`. */
  | { readonly type: "damage"; readonly node: number; readonly how: DamageHow }
  /** What goes between the two comes more than once, from what the first of them says on: see `duplicates.ts`. */
  | {
      readonly type: "duplicate";
      readonly from: number;
      readonly to: number;
      readonly how: DuplicateHow;
      readonly ms: number;
    }
  | { readonly type: "retain"; readonly node: number }
  /** A fresh node, that follows this one. */
  | { readonly type: "join"; readonly to: number }
  | { readonly type: "rest"; readonly ms: number };

const node = fc.integer({ min: 0, max: 3 });
const ms = fc.oneof(fc.integer({ min: 1, max: 300 }), fc.integer({ min: 300, max: 6000 }));
const HOUR_MS = 3_600_000;

const damageHow = fc.constantFrom<DamageHow[]>("bit", "bit", "sector", "header");
const type = <Type extends string>(name: Type): fc.Arbitrary<Type> => fc.constant(name);
const rarely = (weight: number): fc.Arbitrary<boolean> =>
  fc.oneof({ weight, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) });

export const anyClusterStep: fc.Arbitrary<ClusterStep> = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({
      type: type("write"),
      node,
      acks: fc.constantFrom<AsksFor[]>(0, 0, 1, 1, 2, "quorum"),
      count: fc.integer({ min: 1, max: 8 }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ type: type("read"), node, back: fc.integer({ min: 0, max: 5 }) }),
  },
  { weight: 6, arbitrary: fc.record({ type: type("promote"), node, force: rarely(5) }) },
  { weight: 3, arbitrary: fc.record({ type: type("switchover"), to: node }) },
  { weight: 2, arbitrary: fc.record({ type: type("follow"), node, to: node }) },
  { weight: 2, arbitrary: fc.record({ type: type("resync"), node }) },
  { weight: 3, arbitrary: fc.record({ type: type("forget"), node }) },
  { weight: 1, arbitrary: fc.record({ type: type("reset"), node }) },
  {
    weight: 6,
    arbitrary: fc.record({
      type: type("end"),
      node,
      how: fc.constantFrom("stopped" as const, "off" as const),
      operation: fc.oneof(fc.constant(0), fc.integer({ min: 1, max: 40 })),
      downMs: ms,
    }),
  },
  { weight: 4, arbitrary: fc.record({ type: type("pause"), node, ms }) },
  {
    weight: 2,
    arbitrary: fc.record({
      type: type("clock"),
      node,
      ms: fc.oneof(
        fc.integer({ min: -5000, max: 5000 }),
        fc.integer({ min: -20 * HOUR_MS, max: 20 * HOUR_MS }),
      ),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ type: type("cut"), from: node, to: node, both: fc.boolean(), ms }),
  },
  { weight: 4, arbitrary: fc.record({ type: type("isolate"), node, ms }) },
  { weight: 2, arbitrary: fc.record({ type: type("drop"), from: node, to: node }) },
  { weight: 2, arbitrary: fc.record({ type: type("garble"), from: node, to: node, ms }) },
  {
    weight: 8,
    arbitrary: fc.record({
      type: type("duplicate"),
      from: node,
      to: node,
      how: fc.constantFrom<DuplicateHow[]>("straggle", "replay", "answer", "repeat", "repeat"),
      ms,
    }),
  },
  { weight: 6, arbitrary: fc.record({ type: type("damage"), node, how: damageHow }) },
  { weight: 4, arbitrary: fc.record({ type: type("retain"), node }) },
  { weight: 2, arbitrary: fc.record({ type: type("join"), to: node }) },
  { weight: 8, arbitrary: fc.record({ type: type("rest"), ms }) },
);

const few = fc.integer({ min: 1, max: 8 });
const other = fc.constantFrom(1, 2);
const LONG_MS = 6000;

/**
 * The first node, which leads, goes on alone, and another is promoted: what only the first one answered is put aside. When its log has
 * lost its beginning meanwhile, or everything is wanted anew, that is the whole log.
 */
const leftAlone = fc
  .record({
    count: fc.integer({ min: 1, max: 40 }),
    other,
    ms: fc.integer({ min: 300, max: LONG_MS }),
    retains: fc.boolean(),
    resyncs: fc.boolean(),
  })
  .map(({ count, other: next, ms: alone, retains, resyncs }): ClusterStep[] => [
    { type: "write", node: 0, acks: 1, count: 3 },
    { type: "isolate", node: 0, ms: alone },
    { type: "write", node: 0, acks: 0, count },
    { type: "rest", ms: 200 },
    ...(retains ? [{ type: "retain", node: 0 } as const] : []),
    { type: "promote", node: next, force: false },
    { type: "rest", ms: 200 },
    { type: "write", node: next, acks: 1, count: 3 },
    ...(resyncs
      ? [{ type: "follow", node: 0, to: next } as const, { type: "resync", node: 0 } as const]
      : []),
  ]);

/**
 * The successor cannot reach the first node, for which it waits most of a second; then it fences the third one, which loses its power in
 * some operation of that and goes on with the first: what it heard must not be lost.
 */
const forgetful = fc
  .record({ operation: fc.integer({ min: 1, max: 8 }), downMs: fc.integer({ min: 1, max: 50 }), writes: few })
  .map(({ operation, downMs, writes }): ClusterStep[] => [
    { type: "cut", from: 0, to: 1, both: true, ms: LONG_MS },
    { type: "promote", node: 1, force: false },
    { type: "rest", ms: 650 },
    { type: "end", node: 2, how: "off", operation, downMs },
    { type: "rest", ms: 300 },
    ...Array.from({ length: writes }, (): ClusterStep[] => [
      { type: "write", node: 0, acks: 1, count: 1 },
      { type: "rest", ms: 60 },
    ]).flat(),
  ]);

/** A node that has less is promoted by force, all are cut to what it has, and the first one leads again: what was confirmed to it before counts no more. */
const thereAndBack = fc
  .record({ lost: few, writes: few, ms: fc.integer({ min: 1, max: 40 }) })
  .map(({ lost, writes, ms: between }): ClusterStep[] => [
    { type: "cut", from: 0, to: 1, both: true, ms: 1500 },
    { type: "write", node: 0, acks: 1, count: lost + 6 },
    { type: "rest", ms: 100 },
    { type: "promote", node: 1, force: true },
    { type: "rest", ms: 5000 },
    { type: "promote", node: 0, force: false },
    ...Array.from({ length: writes + 8 }, (): ClusterStep[] => [
      { type: "rest", ms: between },
      { type: "write", node: 0, acks: 1, count: 1 },
    ]).flat(),
  ]);

/** A node begins while the oldest records are gone already. */
const lateJoin = fc.record({ count: few, to: other }).map(({ count, to }): ClusterStep[] => [
  { type: "write", node: 0, acks: 1, count: 20 },
  { type: "rest", ms: 300 },
  { type: "retain", node: 0 },
  { type: "retain", node: to },
  { type: "join", to: 0 },
  { type: "write", node: 0, acks: 1, count },
]);

/** A log of many segments, some of them damaged; of the node that leads, one that the others have to fetch yet, or have. */
const worn = fc
  .record({ count: few, down: fc.boolean(), other, how: fc.array(damageHow, { minLength: 2, maxLength: 4 }) })
  .map(({ count, down, other: index, how: [first = "bit", ...rest] }): ClusterStep[] => [
    { type: "write", node: 0, acks: 1, count: 30 },
    { type: "rest", ms: 100 },
    ...(down ? [{ type: "end", node: index, how: "stopped", operation: 0, downMs: 2500 } as const] : []),
    { type: "write", node: 0, acks: 1, count: 20 + count },
    { type: "rest", ms: 200 },
    { type: "damage", node: 0, how: first },
    ...rest.map((how) => ({ type: "damage", node: 3 - index, how }) as const),
    { type: "rest", ms: 3000 },
  ]);

/** The first node hands its lead over, and loses the other, or that one its life, somewhere in between; who wrote to the first goes on. */
const handingOver = fc
  .record({
    after: fc.integer({ min: 0, max: 120 }),
    other,
    how: fc.constantFrom("both", "there", "back", "off", "pause"),
    ms: fc.integer({ min: 300, max: LONG_MS }),
    writes: few,
  })
  .map(({ after, other: to, how, ms: lost, writes }): ClusterStep[] => {
    const cut = { type: "cut", ms: lost, both: how === "both" } as const;
    const faults = {
      both: { ...cut, from: 0, to },
      there: { ...cut, from: 0, to },
      back: { ...cut, from: to, to: 0 },
      off: { type: "end", node: to, how: "off", operation: 0, downMs: lost },
      pause: { type: "pause", node: to, ms: lost },
    } as const;
    return [
      { type: "write", node: 0, acks: 1, count: 3 },
      { type: "switchover", to },
      { type: "rest", ms: after },
      faults[how],
      ...Array.from({ length: writes }, (): ClusterStep[] => [
        { type: "write", node: 0, acks: 0, count: 1 },
        { type: "rest", ms: 500 },
      ]).flat(),
    ];
  });

/** What the random steps hit rarely in the order that hurts; at the beginning it is known who leads. */
const anyBeginning: fc.Arbitrary<ClusterStep[]> = fc.oneof(
  { weight: 5, arbitrary: fc.constant<ClusterStep[]>([]) },
  { weight: 2, arbitrary: leftAlone },
  { weight: 2, arbitrary: forgetful },
  { weight: 1, arbitrary: thereAndBack },
  { weight: 2, arbitrary: lateJoin },
  { weight: 2, arbitrary: worn },
  { weight: 2, arbitrary: handingOver },
);

/** In half of the worlds hardly anybody lets old records go: there nothing at all may vanish. And in most of them all disks keep what they have. */
export const anyClusterSteps: fc.Arbitrary<ClusterStep[]> = fc
  .tuple(
    fc.boolean(),
    rarely(2),
    anyBeginning,
    fc.array(anyClusterStep, { minLength: 8, maxLength: 50, size: "max" }),
  )
  .map(([retains, damages, beginning, rest]) => [
    ...beginning,
    ...rest.filter(({ type }) => (type !== "retain" || retains) && (type !== "damage" || damages)),
  ]);

/** How the nodes are set up. */
export interface ClusterSetting {
  readonly nodes: number;
  /** By node; the last one is that of all further ones. */
  readonly fsyncModes: readonly FsyncMode[];
  readonly slowSyncTurns: number;
  readonly settings: {
    readonly minReplicasForWrite: number;
    /** Without one nothing says who it is, so what comes again is known by nothing but the nonces. */
    readonly secret: Uint8Array | undefined;
  };
}

const mode = fc.constantFrom<FsyncMode[]>("always", "always", "periodic", "never");

export const anyClusterSetting: fc.Arbitrary<ClusterSetting> = fc.record({
  nodes: fc.constantFrom(3, 3, 4),
  fsyncModes: fc.oneof(fc.constant<FsyncMode[]>(["always"]), fc.array(mode, { minLength: 4, maxLength: 4 })),
  slowSyncTurns: fc.constantFrom(0, 0, 0, 10),
  settings: fc.record({
    minReplicasForWrite: fc.constantFrom(0, 0, 1),
    secret: fc.constantFrom(Buffer.from("of the set"), undefined),
  }),
});
