/**
 * Promise: what concurrent clients of a queue and of keys of one store hear has one order in which it makes sense, also
 * across power cuts and kills: an unanswered call may have happened or not, an answered one has. (Linearizability is local:
 * a history of a queue and some keys has such an order when each of them has one. Herlihy and Wing, 1990.)
 *
 *   1. clients of a queue beside clients of keys, the store on a simulated disk, which ends in any operation; then on
 *   2. a message is delivered in order of priority and publish, with its attempts counted across restarts; a passed
 *      deadline brings back exactly what was in flight; an old receipt does nothing
 *
 * A store whose answers do not wait for the disk must be found out by the queue's part alone.
 */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { EventLog } from "../log/index.js";
import { checkKeysLinearizable } from "./checkers/key-model.js";
import { PromiseBroken } from "./checkers/promise-broken.js";
import { checkQueueLinearizable } from "./checkers/queue-model.js";
import { runs, seed, seededRandom } from "./run-settings.js";
import { KeyHistory, runClients, storeDoor } from "./world/key-clients.js";
import type { Ending, OperationKind } from "./world/operations.js";
import { ACK_DEADLINE_MS, MAX_RETRIES, QueueHistory, runQueueClients } from "./world/queue-clients.js";
import { seededClock } from "./world/seeded-world.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";
import { openWorldStore, withoutWaiting } from "./world/store-world.js";

interface World {
  readonly worldSeed: number;
  readonly lives: readonly Life[];
}

interface Life {
  /** In which operation it ends, counting all or only the writes of records. */
  readonly at: number;
  readonly counting: "all" | "writes";
  readonly ending: Ending;
  /** It begins after every deadline has passed. */
  readonly late: boolean;
}

interface Histories {
  readonly keys: KeyHistory;
  readonly queue: QueueHistory;
  /** Lives that ended in the middle. */
  ends: number;
}

async function historiesOf(world: World, disguise?: (log: EventLog) => EventLog): Promise<Histories> {
  const disk = new SimulatedDisk(world.worldSeed, { syncTurnsMax: 6 });
  const { random } = disk;
  const clock = seededClock(random);
  const histories: Histories = { keys: new KeyHistory(), queue: new QueueHistory(), ends: 0 };
  const last: Life = { at: 0, counting: "all", ending: "power", late: true };
  for (const { at, ending, late, counting } of [...world.lives, last]) {
    if (late) {
      clock.advance(ACK_DEADLINE_MS + 1_000);
      histories.queue.deadlinesOver = true;
    }
    const kinds = counting === "writes" ? { kinds: RECORDS } : {};
    if (at > 0) disk.arm({ type: "end", at, ending, ...kinds });
    const files = disk.mount();
    const live = async (): Promise<void> => {
      const { store } = await openWorldStore(disk, files, clock, disguise);
      const shared = { random, callsEach: 8, alive: () => files.alive };
      await Promise.all([
        runQueueClients({ ...shared, store, history: histories.queue, now: clock.now, clients: 4 }),
        runClients({
          ...shared,
          door: storeDoor(store, clock.now, random),
          history: histories.keys,
          keys: ["a", "b"],
          clients: 4,
        }),
      ]);
    };
    await Promise.race([live(), disk.ended()]);
    disk.disarm();
    if (files.alive) disk.losePower();
    else histories.ends += 1;
    histories.keys.processEnded();
    histories.queue.processEnded();
  }
  return histories;
}

const RECORDS: ReadonlySet<OperationKind> = new Set(["syncedWrite"]);
const lifeOf = { ending: fc.constantFrom<Ending>("power", "power", "kill"), late: fc.boolean() };

const world: fc.Arbitrary<World> = fc.record({
  worldSeed: fc.noShrink(fc.integer({ min: 1, max: 2 ** 31 })),
  lives: fc.array(
    fc.oneof(
      fc.record({ ...lifeOf, counting: fc.constant("all" as const), at: fc.integer({ min: 15, max: 120 }) }),
      // Seldom while the store opens, mostly while somebody waits for an answer.
      fc.record({ ...lifeOf, counting: fc.constant("writes" as const), at: fc.integer({ min: 2, max: 10 }) }),
    ),
    { minLength: 1, maxLength: 2 },
  ),
});

describe("linearizability", () => {
  test("of a queue beside keys, across power cuts and kills", async () => {
    const happened = {
      ends: 0,
      unanswered: 0,
      delivered: 0,
      empty: 0,
      redelivered: 0,
      acked: 0,
      nacked: 0,
      died: 0,
      notOpen: 0,
      passed: 0,
      counted: 0,
      published: 0,
    };
    await fc.assert(
      fc.asyncProperty(world, async (one) => {
        const { keys, queue, ends } = await historiesOf(one);
        checkKeysLinearizable(keys.telling);
        checkQueueLinearizable(queue.telling, MAX_RETRIES);
        happened.ends += ends;
        for (const { output } of queue.calls) {
          if (output === undefined) happened.unanswered += 1;
          else if (output.type === "delivered") {
            happened[output.messages.length === 0 ? "empty" : "delivered"] += 1;
            if (output.messages.some(({ attempt }) => attempt > 1)) happened.redelivered += 1;
          } else if (output.type === "passed") happened.passed += output.count;
          else happened[output.type] += 1;
          if (output?.type === "nacked" && output.dead) happened.died += 1;
        }
      }),
      runs(40),
    );
    for (const [what, count] of Object.entries(happened)) expect(count, what).toBeGreaterThan(5);
  });

  test("finds out a queue that answers before the disk has it", async () => {
    const random = seededRandom(seed);
    let caught = 0;
    for (let round = 0; round < 100; round += 1) {
      const end = () => ({
        at: 20 + Math.floor(random() * 60),
        counting: "all" as const,
        ending: "power" as const,
        late: round % 2 === 0,
      });
      const { queue } = await historiesOf({ worldSeed: seed + round, lives: [end(), end()] }, withoutWaiting);
      try {
        checkQueueLinearizable(queue.telling, MAX_RETRIES);
      } catch (error) {
        if (!(error instanceof PromiseBroken)) throw error;
        caught += 1;
      }
    }
    expect(caught).toBeGreaterThan(15);
  });
});
