/**
 * Waiting for replicas, over random acknowledgements, changes of who counts, timeouts and ends:
 *
 *   1. a write is never told to be confirmed by more replicas than hold it then, among those that count
 *   2. a write that enough replicas hold is told so in the turn in which that becomes true, not later
 *   3. every wait ends: confirmed, at its time, or with the end of the leadership; and only once
 *   4. what waits is as many as have not ended
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { offset } from "../log/index.js";
import { Confirmations } from "../replication/confirmations.js";
import { ReplicationError } from "../replication/errors.js";
import { VirtualClock } from "../test/support/virtual-clock.js";
import { runs } from "./run-settings.js";

const REPLICAS = ["a", "b", "c", "d"] as const;
const WAITERS_MAX = 40;

interface Wait {
  readonly offset: number;
  readonly wanted: number;
  readonly deadline: number;
  outcome: { readonly confirmed: number; readonly at: number } | "rejected" | undefined;
}

type Step =
  | { readonly type: "write"; readonly ahead: number; readonly wanted: number; readonly timeoutMs: number }
  | { readonly type: "ack"; readonly replica: (typeof REPLICAS)[number]; readonly by: number }
  | { readonly type: "counts"; readonly replica: (typeof REPLICAS)[number]; readonly counts: boolean }
  | { readonly type: "lease"; readonly replica: (typeof REPLICAS)[number]; readonly lasts: boolean }
  | { readonly type: "forget"; readonly replica: (typeof REPLICAS)[number] }
  | { readonly type: "time"; readonly ms: number }
  | { readonly type: "end" };

const replica = fc.constantFrom(...REPLICAS);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      type: fc.constant("write" as const),
      ahead: fc.nat(5),
      wanted: fc.integer({ min: 0, max: 4 }),
      timeoutMs: fc.nat(50),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({ type: fc.constant("ack" as const), replica, by: fc.integer({ min: -3, max: 6 }) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("counts" as const), replica, counts: fc.boolean() }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("lease" as const), replica, lasts: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("forget" as const), replica }) },
  { weight: 3, arbitrary: fc.record({ type: fc.constant("time" as const), ms: fc.nat(30) }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("end" as const) }) },
);

/** The simplest that could be right: everything is looked at anew each time. */
class Model {
  readonly durable = new Map<string, number>();
  readonly counting = new Set<string>(REPLICAS);
  readonly leased = new Set<string>(REPLICAS);
  readonly waits: Wait[] = [];
  written = 0;

  holders(at: number): number {
    const counts = (id: string): boolean => this.counting.has(id) && this.leased.has(id);
    return [...this.durable].filter(([id, held]) => counts(id) && held >= at).length;
  }

  get open(): Wait[] {
    return this.waits.filter(({ outcome }) => outcome === undefined);
  }
}

describe("confirmations", () => {
  it("never come early, and every wait ends", async () => {
    const seen = { confirmed: 0, late: 0, rejected: 0, full: 0 };
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 120 }), async (steps) => {
        const clock = new VirtualClock();
        const model = new Model();
        const confirmations = new Confirmations({
          clock,
          waitersMax: WAITERS_MAX,
          counts: (id) => model.counting.has(id),
          isLeased: (id) => model.leased.has(id),
        });
        for (const each of steps) await act(each, model, confirmations, clock);
        await clock.advance(100);
        expect(model.open).toEqual([]);
        expect(confirmations.waiting).toBe(0);
        for (const { outcome, wanted, deadline } of model.waits) {
          if (outcome === "rejected") seen.rejected++;
          else if (outcome !== undefined && outcome.confirmed >= wanted) seen.confirmed++;
          else if (outcome !== undefined && outcome.at >= deadline) seen.late++;
          else seen.full++;
        }
      }),
      runs(150),
    );
    expect(Math.min(seen.confirmed, seen.late, seen.rejected)).toBeGreaterThan(50);
  });
});

async function act(
  step: Step,
  model: Model,
  confirmations: Confirmations,
  clock: VirtualClock,
): Promise<void> {
  switch (step.type) {
    case "write":
      write(step, model, confirmations, clock);
      break;
    case "ack": {
      const durable = Math.max(0, (model.durable.get(step.replica) ?? 0) + step.by);
      model.durable.set(step.replica, durable);
      confirmations.acknowledged(step.replica, offset(durable));
      break;
    }
    case "counts":
      if (step.counts) model.counting.add(step.replica);
      else model.counting.delete(step.replica);
      confirmations.recount();
      break;
    case "lease":
      if (!step.lasts) model.leased.delete(step.replica);
      else {
        // It begins with an acknowledgement, which may say nothing else that is new.
        model.leased.add(step.replica);
        const durable = model.durable.get(step.replica);
        if (durable !== undefined) confirmations.acknowledged(step.replica, offset(durable));
      }
      break;
    case "forget":
      model.durable.delete(step.replica);
      confirmations.forget(step.replica);
      break;
    case "time":
      await clock.advance(step.ms);
      break;
    case "end":
      model.durable.clear();
      confirmations.end(new ReplicationError("REPLICATION_FENCED", "a test's end"));
      break;
  }
  // Promises settle in the turn: what is open now must not be confirmed, and must not be due.
  for (let i = 0; i < 3; i++) await Promise.resolve();
  expect(confirmations.waiting).toBe(model.open.length);
  for (const { offset: at, wanted, deadline } of model.open) {
    expect(model.holders(at)).toBeLessThan(wanted);
    expect(deadline).toBeGreaterThan(clock.stopwatch());
  }
}

function write(
  { ahead, wanted, timeoutMs }: Extract<Step, { type: "write" }>,
  model: Model,
  confirmations: Confirmations,
  clock: VirtualClock,
): void {
  model.written++;
  const at = model.written + ahead;
  const isFull = model.open.length >= WAITERS_MAX;
  const wait: Wait = { offset: at, wanted, deadline: clock.stopwatch() + timeoutMs, outcome: undefined };
  const since = clock.stopwatch();
  model.waits.push(wait);
  confirmations.confirmed(offset(at), wanted, timeoutMs).then(
    ({ confirmed }) => {
      expect(wait.outcome).toBeUndefined();
      expect(confirmed).toBe(model.holders(at));
      const now = clock.stopwatch();
      expect(confirmed >= wanted || now >= wait.deadline || (isFull && now === since)).toBe(true);
      wait.outcome = { confirmed, at: now };
    },
    () => {
      expect(wait.outcome).toBeUndefined();
      wait.outcome = "rejected";
    },
  );
}
