/**
 * Undoing makes it undone.
 *
 * 1. After `annals undo` every key under the pattern is what it was at the moment: value, type and expiry; gone where it was not
 *    there, or would have expired by now. Every other key is untouched.
 * 2. A dry run writes nothing and tells exactly the changes that the run then makes.
 * 3. So it is when answers are lost, and when the server has let go of the past state between two pages.
 */
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { ImportError } from "../ops/import/errors.js";
import { ServerDoor } from "../ops/import/server-door.js";
import { type Change, type UndoSummary, undo } from "../ops/undo/undo-run.js";
import { asIs, type Context, Fold, type KvEntry } from "../projections/index.js";
import { TEST_STORE_RULES } from "../test/support/kv-store.js";
import { TestServer } from "../test/support/test-server.js";
import type { Operation } from "./model/kv-model.js";
import { MODEL_KEYS, MODEL_START_MS, outcomeOf, type Runs, writeOperation } from "./model/kv-operations.js";
import { runs } from "./run-settings.js";

const KEYS = MODEL_KEYS.filter((key) => key !== "");
/** With the keys that each means. */
const PATTERNS: Readonly<Record<string, (key: string) => boolean>> = {
  "*": () => true,
  "[a-c]": (key) => /^[a-c]$/.test(key),
  "k?": (key) => key === "k\u0000",
};

const mortalFor = (min: number, max: number) =>
  fc
    .tuple(fc.constantFrom(...KEYS), fc.integer({ min, max }))
    .map(([key, value]): Operation => ({ op: "expire", key, expiry: { type: "seconds", value } }));
const mortal = mortalFor(1, 12);
const operation = fc.oneof({ weight: 4, arbitrary: writeOperation }, { weight: 2, arbitrary: mortal });
const steps = fc.array(fc.record({ operation, laterMs: fc.nat({ max: 400 }) }), {
  minLength: 10,
  maxLength: 50,
  size: "max",
});
/** At the end some keys only change their expiry, to one that is still to come, some go, and others expire. */
const farewell = fc
  .constantFrom(...KEYS)
  .map((key): Operation => ({ op: "delete", key, ifRevision: undefined }));
const end = fc.oneof({ weight: 2, arbitrary: mortalFor(60, 120) }, { weight: 1, arbitrary: farewell });
const closing = fc.array(fc.record({ operation: end, laterMs: fc.constantFrom(1, 1, 5_000) }), {
  maxLength: 7,
  size: "max",
});
const history = fc.tuple(steps, closing).map(([work, end]) => [...work, ...end]);
const faults = fc.array(fc.constantFrom("none", "none", "lost", "lost_before", "let_go"), {
  maxLength: 12,
});
type Fault = "none" | "lost" | "lost_before" | "let_go";

const happened = {
  created: 0,
  replaced: 0,
  expiry_changed: 0,
  deleted: 0,
  untouched: 0,
  unchanged: 0,
  expiredSince: 0,
  lost: 0,
  letGo: 0,
};

/** A store behind its server, as the random operations run on it. */
function runsOn(server: TestServer): Runs {
  const context = (): Context => ({ now: server.now, random: 0.5, cause: { command: "test" } });
  return {
    run: async (decide, command) => server.store.execute(decide, command, context(), asIs),
    ask: async (read, query) => server.store.query(read, query, context(), asIs),
  };
}

/** Loses answers and forgets cursors as told; the server knows nothing of it. */
class FaultyDoor implements Pick<ServerDoor, "tryOnce" | "insist"> {
  readonly #door: ServerDoor;
  readonly #faults: Fault[];
  readonly #sent = new Set<string>();

  constructor(url: string, given: readonly Fault[]) {
    this.#door = new ServerDoor({ url, patienceMs: 10_000, sleep: async () => undefined, now: () => 0 });
    this.#faults = [...given];
  }

  async tryOnce(method: string, path: string, body = ""): ReturnType<ServerDoor["tryOnce"]> {
    // A page that was done is answered from what is kept, whatever became of the past state.
    const mayBeLetGo = body.includes('"cursor":"then:') && !this.#sent.has(body);
    const isLetGo = this.#faults[0] === "let_go" && mayBeLetGo;
    // A state that nobody asks for yet is let go later.
    const waits = this.#faults[0] === "let_go" && !mayBeLetGo;
    const fault = waits ? "none" : (this.#faults.shift() ?? "none");
    if (fault === "lost_before") return { unknown: "no connection" };
    this.#sent.add(body);
    const sent = isLetGo ? body.replace(/"cursor":"then:[0-9a-f]{8}/, '"cursor":"then:ffffffff') : body;
    const answer = await this.#door.tryOnce(method, path, sent);
    if (isLetGo) happened.letGo++;
    if (fault !== "lost") return answer;
    happened.lost++;
    return { unknown: "the answer was cut short" };
  }

  insist<T>(attempt: () => Promise<T | { readonly unknown: string }>): Promise<T> {
    return this.#door.insist(attempt);
  }
}

async function undone(
  server: TestServer,
  given: readonly Fault[],
  asked: { pattern: string; at: string; dryRun: boolean; pageKeys: number },
): Promise<{ summary: UndoSummary; changes: readonly Change[] }> {
  const changes: Change[] = [];
  const summary = await undo({
    ...asked,
    door: new FaultyDoor(server.url, given),
    runId: `run-${server.log.endOffset}`,
    onChanges: (some) => changes.push(...some),
    onRestart: () => {
      if (asked.dryRun) changes.length = 0;
    },
  });
  const sum = Object.values(summary.counts).reduce((all, count) => all + count, 0);
  expect(sum).toBe(changes.length);
  return { summary, changes };
}

/** What the key was, if it would still be there now. */
function wasAt(fold: Fold, key: string, now: number): Omit<KvEntry, "revision"> | undefined {
  const entry = fold.kv.get(key, fold.clock);
  if (entry === undefined) return undefined;
  const { revision: _, ...was } = entry;
  if (was.expiresAt > 0 && was.expiresAt <= now) {
    happened.expiredSince++;
    return undefined;
  }
  return was;
}

function isNow(server: TestServer, key: string): KvEntry | undefined {
  const fold = new Fold({ rules: TEST_STORE_RULES });
  for (const record of recordsOf(server)) fold.take(record);
  return fold.kv.get(key, server.now);
}

function recordsOf(server: TestServer) {
  const { log } = server;
  if (!("records" in log) || !Array.isArray(log.records)) throw new Error("a memory log");
  return log.records;
}

interface Asked {
  readonly pattern: string;
  readonly n: number;
  readonly pageKeys: number;
  readonly given: readonly Fault[];
}

async function expectUndone(server: TestServer, { pattern, n, pageKeys, given }: Asked): Promise<void> {
  const end = server.log.endOffset;
  const at = 1 + (n % end);
  const asked = { pattern, at: String(at), pageKeys };
  const fold = new Fold({ rules: TEST_STORE_RULES });
  for (const record of recordsOf(server).slice(0, at)) fold.take(record);
  const before = new Map(KEYS.map((key) => [key, isNow(server, key)]));

  const dry = await undone(server, given, { ...asked, dryRun: true });
  expect(server.log.endOffset).toBe(end);
  const real = await undone(server, given, { ...asked, dryRun: false });
  expect(new Set(real.changes.map((change) => JSON.stringify(change)))).toEqual(
    new Set(dry.changes.map((change) => JSON.stringify(change))),
  );
  expect(real.summary.at).toBe(at);
  for (const { change } of real.changes) happened[change]++;

  const changed = new Set(real.changes.map(({ key }) => key));
  for (const key of KEYS) {
    const now = isNow(server, key);
    if (!PATTERNS[pattern]?.(key)) {
      expect(now).toEqual(before.get(key));
      happened.untouched++;
      continue;
    }
    if (now === undefined) expect(wasAt(fold, key, server.now)).toBeUndefined();
    else expect(now).toMatchObject(wasAt(fold, key, server.now) ?? { bytes: "it was not there" });
    if (changed.has(key)) continue;
    expect(now).toEqual(before.get(key));
    happened.unchanged++;
  }
  const again = await undone(server, [], { ...asked, dryRun: true });
  expect(again.changes).toEqual([]);
}

describe("undo", () => {
  it("leaves nothing that differs from the moment under the pattern, and changes nothing else", async () => {
    await fc.assert(
      fc.asyncProperty(
        history,
        fc.constantFrom("*", ...Object.keys(PATTERNS)),
        fc.nat(),
        fc.integer({ min: 1, max: 4 }),
        faults,
        async (done, pattern, n, pageKeys, given) => {
          const server = await TestServer.start();
          try {
            server.now = MODEL_START_MS;
            const on = runsOn(server);
            for (const { operation, laterMs } of done) {
              server.now += laterMs;
              await outcomeOf(on, operation);
            }
            if (server.log.endOffset > 0) await expectUndone(server, { pattern, n, pageKeys, given });
          } finally {
            await server.close();
          }
        },
      ),
      runs(18),
    );
  });

  it("gives up when the server stays away", async () => {
    const door = new ServerDoor({
      url: "http://127.0.0.1:9",
      patienceMs: 0,
      sleep: async () => undefined,
      now: () => 0,
    });
    const asked = { door, pattern: "*", at: "1", dryRun: true, pageKeys: 1, runId: "r" };
    const heard = { onChanges: () => undefined, onRestart: () => undefined };
    await expect(undo({ ...asked, ...heard })).rejects.toThrow(ImportError);
  });

  afterAll(() => {
    for (const [what, times] of Object.entries(happened)) expect(times, what).toBeGreaterThan(0);
  });
});
