/**
 * Promise: what concurrent clients of the real server hear over HTTP of a queue, of keys and of batches that change both has
 * one order in which it makes sense, also when the process is killed (`kill -9`) at any moment and started again. A call
 * that was under way has happened by then, or never does; a batch whole or not.
 *
 * What the check finds out is shown in `test/checkers/store-model.test.ts`, on histories whose verdict is known.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { HttpClient } from "../test/support/http-client.js";
import { type RunningServer, startServer } from "../test/support/server-process.js";
import { checkStoreLinearizable } from "./checkers/store-model.js";
import { factor, seed, seededRandom } from "./run-settings.js";
import type { Random } from "./world/fate.js";
import { HttpClients, StoreHistory } from "./world/http-clients.js";
import { MAX_RETRIES } from "./world/queue-clients.js";

const CLIENTS = 8;
const KEYS = ["a", "b", "c"];
const KILLS = 5;

interface Lives {
  readonly history: StoreHistory;
  /** Calls under way at each kill. */
  readonly lost: number[];
}

async function livesOf(random: Random): Promise<Lives> {
  const dataDirectory = await mkdtemp(join(tmpdir(), "annals-histories-"));
  const history = new StoreHistory(KEYS);
  const lost: number[] = [];
  // Small segments, so that kills fall into rolls too.
  const environment = { ANNALS_LOG_SEGMENT_BYTES: String(64 * 1024) };
  try {
    for (let life = 0; life <= KILLS; life += 1) {
      const server = await startServer({ dataDirectory, environment });
      const client = new HttpClient(server.port, CLIENTS);
      try {
        const clients = new HttpClients(client, history, random);
        await clients.audit();
        const last = life === KILLS;
        const killed = last ? undefined : killAmongCalls(server, history, random);
        await clients.run(CLIENTS, last ? 15 : 1_000);
        await killed;
        if (last) await clients.audit();
      } finally {
        await server.kill();
        client.close();
      }
      lost.push(history.processEnded());
    }
  } finally {
    await rm(dataDirectory, { recursive: true });
  }
  return { history, lost };
}

/** After some calls and then a random moment: however fast the machine is, the kill falls into calls. */
async function killAmongCalls(server: RunningServer, history: StoreHistory, random: Random): Promise<void> {
  const target = history.calls.length + 40 + Math.floor(random() * 150);
  while (server.running && history.calls.length < target) await pause(1);
  await pause(random() * 5);
  await server.kill();
}

const pause = (durationMs: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, durationMs));

describe("linearizability", () => {
  test("of the real server's queue, keys and batches together, across kills", {
    timeout: 1_800_000,
  }, async () => {
    const random = seededRandom(seed);
    const histories = Math.round(factor);
    const happened: Record<string, number> = { lost: 0, batches: 0, refused: 0, redelivered: 0, dead: 0 };
    const note = (what: string): number => (happened[what] = (happened[what] ?? 0) + 1);
    for (let index = 0; index < histories; index += 1) {
      const { history, lost } = await livesOf(random);
      expect(lost.at(-1)).toBe(0);
      for (const { output } of history.telling) {
        if (output === undefined) note("lost");
        else if (output.on === "both") note(output.answer === "done" ? "batches" : "refused");
        else if (output.on === "queue") {
          const { answer } = output;
          note(answer.type);
          if (answer.type === "delivered" && answer.messages.some(({ attempt }) => attempt > 1))
            note("redelivered");
          if (answer.type === "nacked" && answer.dead) note("dead");
        } else note(output.answer.type);
      }
      checkStoreLinearizable(history.telling, MAX_RETRIES);
    }
    for (const [what, count] of Object.entries(happened)) expect(count, what).toBeGreaterThan(histories / 2);
  });
});
