/**
 * Promise: what concurrent clients of a key hear has one order in which it makes sense (linearizability), also across
 * power cuts: an unanswered call may have happened or not, an answered one has.
 *
 *   1. ten clients on a few keys, the store on a simulated disk, power cut in any operation, restart, on with the same clients
 *   2. the same over HTTP on the real process, killed in between
 *
 * A store whose answers do not wait for the disk must be found out by the same check.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { EventLog } from "../log/index.js";
import { HttpClient } from "../test/support/http-client.js";
import { startServer } from "../test/support/server-process.js";
import { checkKeysLinearizable } from "./checkers/key-model.js";
import { PromiseBroken } from "./checkers/promise-broken.js";
import { factor, runs, seed, seededRandom } from "./run-settings.js";
import { httpDoor, KeyHistory, runClients, storeDoor } from "./world/key-clients.js";
import { seededClock } from "./world/seeded-world.js";
import { SimulatedDisk } from "./world/simulated-file-system.js";
import { openWorldStore, withoutWaiting } from "./world/store-world.js";

const CLIENTS = 10;
const KEYS = ["a", "b", "c"];

interface World {
  readonly worldSeed: number;
  /** One life each; the number of the operation in which its power goes. */
  readonly cuts: readonly number[];
}

async function historyOf(world: World, disguise?: (log: EventLog) => EventLog): Promise<KeyHistory> {
  const disk = new SimulatedDisk(world.worldSeed, { syncTurnsMax: 6 });
  const clock = seededClock(disk.random);
  const history = new KeyHistory();
  for (const cut of [...world.cuts, 0]) {
    if (cut > 0) disk.arm({ type: "end", at: cut, ending: "power" });
    const files = disk.mount();
    const live = async (): Promise<void> => {
      const { store } = await openWorldStore(disk, files, clock, disguise);
      await runClients({
        door: storeDoor(store, clock.now, disk.random),
        history,
        random: disk.random,
        keys: KEYS,
        clients: CLIENTS,
        callsEach: 12,
        alive: () => files.alive,
      });
    };
    await Promise.race([live(), disk.ended()]);
    disk.disarm();
    if (files.alive) disk.losePower();
    history.processEnded();
  }
  return history;
}

const world: fc.Arbitrary<World> = fc.record({
  worldSeed: fc.noShrink(fc.integer({ min: 1, max: 2 ** 31 })),
  cuts: fc.array(fc.integer({ min: 45, max: 120 }), { minLength: 1, maxLength: 3 }),
});

describe("linearizability", () => {
  test("of the store's keys, across power cuts", async () => {
    const happened = { calls: 0, unanswered: 0, mismatch: 0, incremented: 0, absent: 0, found: 0 };
    await fc.assert(
      fc.asyncProperty(world, async (one) => {
        const history = await historyOf(one);
        checkKeysLinearizable(history.telling);
        happened.calls += history.calls.length;
        for (const { output } of history.calls) {
          if (output === undefined) happened.unanswered += 1;
          else if (output.type === "mismatch") happened.mismatch += 1;
          else if (output.type === "incremented") happened.incremented += 1;
          else if (output.type === "absent") happened.absent += 1;
          else if (output.type === "found") happened.found += 1;
        }
      }),
      runs(100),
    );
    for (const [what, count] of Object.entries(happened)) expect(count, what).toBeGreaterThan(100);
  });

  test("finds out a store that answers before the disk has it", async () => {
    const random = seededRandom(seed);
    let caught = 0;
    for (let round = 0; round < 160; round += 1) {
      const cuts = [20 + Math.floor(random() * 60), 20 + Math.floor(random() * 60)];
      const history = await historyOf({ worldSeed: seed + round, cuts }, withoutWaiting);
      try {
        checkKeysLinearizable(history.telling);
      } catch (error) {
        if (!(error instanceof PromiseBroken)) throw error;
        caught += 1;
      }
    }
    expect(caught).toBeGreaterThan(15);
  });

  test("of the real server's keys over HTTP, across kills", { timeout: 1_800_000 }, async () => {
    const directory = await mkdtemp(join(tmpdir(), "annals-linear-"));
    const random = seededRandom(seed);
    const history = new KeyHistory();
    const kills = Math.round(2 * Math.min(factor, 10));
    try {
      for (let life = 0; life <= kills; life += 1) {
        const server = await startServer({ dataDirectory: directory });
        const client = new HttpClient(server.port, CLIENTS);
        const killed = life < kills ? killSoon(server, random) : undefined;
        await runClients({
          door: httpDoor(client),
          history,
          random,
          // New keys in each life beside one that lives through all of them, so that histories stay short.
          keys: ["always", `x${life}`, `y${life}`, `z${life}`],
          clients: CLIENTS,
          callsEach: 40,
          alive: () => server.running,
        });
        await killed;
        await server.kill();
        history.processEnded();
        client.close();
      }
      checkKeysLinearizable(history.telling);
      expect(history.calls.length).toBeGreaterThan(300);
    } finally {
      await rm(directory, { recursive: true });
    }
  });
});

async function killSoon(server: { kill: () => Promise<unknown> }, random: () => number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, 20 + random() * 150));
  await server.kill();
}
