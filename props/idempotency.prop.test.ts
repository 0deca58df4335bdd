/**
 * A write with an `Idempotency-Key` happens once.
 *
 * Random writes on keys, queues, streams and batches go through the REST door, the envelope, the raw door and that of durable
 * streams, while the clock moves, processes restart from their log, the power goes, and the table of kept answers is small.
 * 1. Within its window a request that comes again changes nothing (state and log end are the same) and is answered the same:
 *    status, body and headers byte for byte; also after a restart, and with another request id in the envelope.
 * 2. Another request under the same key is refused with 422 and changes nothing.
 * 3. While the first is on its way, a repeat is refused with 409, and nobody hears what is not committed; if it is lost, it
 *    never happened.
 * 4. A refused request changes nothing and is not kept.
 * 5. When its window is over, to the millisecond, or when enough newer answers are kept, the key is a new one; not before.
 * Every write that there is is among them.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { operations } from "../api/operations/catalog.js";
import { runs } from "./run-settings.js";
import { everyBareWrite, everyWrite } from "./world/every-write.js";
import { type Attempt, emptyCounts, KeyedClients } from "./world/keyed-clients.js";
import {
  anyIntent,
  type BareWrite,
  bareRequestOf,
  bareWrite,
  batchOf,
  type Intent,
  type KeyedRequest,
  SURE,
} from "./world/keyed-requests.js";

type JsonDoor = "rest" | "envelope";

type Step =
  | { readonly type: "write"; readonly intent: Intent; readonly door: JsonDoor }
  | { readonly type: "bare write"; readonly write: BareWrite }
  | { readonly type: "unkeyed"; readonly intent: Intent }
  | { readonly type: "again"; readonly which: number; readonly requestId: string }
  | {
      readonly type: "other request";
      readonly which: number;
      readonly intent: Intent;
      readonly door: JsonDoor;
    }
  | { readonly type: "advance"; readonly ms: number }
  | { readonly type: "restart"; readonly windowMs: number | undefined }
  | Trial;

/** Rare cases, each of which every history meets. */
type Trial =
  | { readonly type: "last millisecond"; readonly door: JsonDoor; readonly choice: number }
  | {
      readonly type: "on its way";
      readonly door: JsonDoor;
      readonly ending: "committed" | "lost";
      readonly choice: number;
    }
  | { readonly type: "too many" }
  | { readonly type: "only the body differs"; readonly door: JsonDoor; readonly choice: number }
  | { readonly type: "another door"; readonly door: JsonDoor }
  | { readonly type: "across a restart"; readonly door: JsonDoor; readonly choice: number }
  | { readonly type: "refused, then not"; readonly door: JsonDoor };

const RULES = fc.record({
  windowMs: fc.constantFrom(500, 5_000),
  answersMax: fc.constantFrom(2, 3, 8),
});

const door = fc.constantFrom<JsonDoor>("rest", "envelope");
const which = fc.nat(1_000);
/** Not the last one, whose path differs each time. */
const choice = fc.nat(SURE.length - 2);
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ type: fc.constant("write" as const), intent: anyIntent, door }) },
  { weight: 4, arbitrary: fc.record({ type: fc.constant("bare write" as const), write: bareWrite }) },
  { weight: 1, arbitrary: fc.record({ type: fc.constant("unkeyed" as const), intent: anyIntent }) },
  {
    weight: 7,
    arbitrary: fc.record({
      type: fc.constant("again" as const),
      which,
      requestId: fc.constantFrom("r-1", "other"),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("other request" as const), which, intent: anyIntent, door }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ type: fc.constant("advance" as const), ms: fc.constantFrom(1, 250, 499, 1_000) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      type: fc.constant("restart" as const),
      windowMs: fc.option(fc.constantFrom(500, 5_000), { nil: undefined }),
    }),
  },
);

const trials = fc
  .tuple(door, door, door, door, door, door, choice, choice, choice)
  .chain(([a, b, c, d, e, f, one, two, three]) =>
    fc.shuffledSubarray<Trial>(
      [
        { type: "last millisecond", door: a, choice: one },
        { type: "on its way", door: b, ending: "committed", choice: two },
        { type: "on its way", door: c, ending: "lost", choice: three },
        { type: "too many" },
        { type: "only the body differs", door: d, choice: three },
        { type: "another door", door: e },
        { type: "across a restart", door: f, choice: one },
        { type: "refused, then not", door: a },
      ],
      { minLength: 8 },
    ),
  );

const history = fc
  .tuple(fc.array(step, { minLength: 12, maxLength: 24, size: "max" }), trials)
  .map(([steps, rare]) =>
    rare.flatMap((trial, at) => [trial, ...steps.filter((_, place) => place % rare.length === at)]),
  );

const counts = emptyCounts();

/** Of all operations that write to the log: a snapshot is a file. */
const writeNames = operations
  .filter(({ kind, name }) => kind === "write" && name !== "admin.snapshot")
  .map(({ name }) => name)
  .sort();

async function run(clients: KeyedClients, each: Step): Promise<void> {
  switch (each.type) {
    case "write":
      return void (await clients.send({
        key: clients.freshKey(),
        request: clients.request(each.intent, each.door),
      }));
    case "bare write":
      return void (await clients.send({ key: clients.freshKey(), request: bareRequestOf(each.write) }));
    case "unkeyed":
      return clients.sendUnkeyed(clients.request(each.intent, "rest"));
    case "again": {
      const attempt = clients.attempts[each.which % Math.max(1, clients.attempts.length)];
      if (attempt !== undefined) await clients.send(attempt, each.requestId);
      return;
    }
    case "other request": {
      const attempt = clients.attempts[each.which % Math.max(1, clients.attempts.length)];
      const request = clients.request(each.intent, each.door);
      if (attempt !== undefined) await clients.send({ key: attempt.key, request });
      return;
    }
    case "advance":
      return clients.advance(each.ms);
    case "restart":
      return clients.restart("all", each.windowMs);
    default:
      return runTrial(clients, each);
  }
}

async function runTrial(clients: KeyedClients, trial: Trial): Promise<void> {
  switch (trial.type) {
    case "last millisecond": {
      const { attempt, known } = await clients.first(clients.sureRequest(trial.door, trial.choice));
      clients.advance(known.expiresAt - 1 - clients.now);
      await clients.send(attempt);
      clients.advance(1);
      counts.lapsed += 1;
      return sendAsNew(clients, attempt);
    }
    case "on its way": {
      const attempt = { key: clients.freshKey(), request: clients.sureRequest(trial.door, trial.choice) };
      await clients.sendWhileHeld(attempt, clients.sureRequest(trial.door, trial.choice), trial.ending);
      return trial.ending === "lost" ? sendAsNew(clients, attempt) : sendAgain(clients, attempt);
    }
    case "too many": {
      const oldest = await clients.first(clients.sureRequest("rest"));
      const newer: Attempt[] = [];
      while (newer.length < clients.answersMax) {
        newer.push((await clients.first(clients.sureRequest("envelope"))).attempt);
      }
      for (const attempt of newer) await sendAgain(clients, attempt);
      counts.evicted += 1;
      return sendAsNew(clients, oldest.attempt);
    }
    case "only the body differs": {
      const { attempt } = await clients.first(clients.sureRequest(trial.door, trial.choice));
      const other = clients.sureRequest(trial.door, trial.choice);
      expect([other.method, other.path]).toEqual([attempt.request.method, attempt.request.path]);
      await clients.send({ key: attempt.key, request: other });
      return sendAgain(clients, attempt);
    }
    case "another door": {
      const intent = batchOf([...SURE.slice(0, 2).map((each) => each(0))]);
      const { attempt, known } = await clients.first(clients.request(intent, trial.door));
      const other = clients.request(intent, trial.door === "rest" ? "envelope" : "rest");
      return clients.sendThroughOther(attempt, other, known);
    }
    case "across a restart": {
      const { attempt } = await clients.first(clients.sureRequest(trial.door, trial.choice));
      await clients.restart();
      return sendAgain(clients, attempt);
    }
    case "refused, then not": {
      const key = clients.freshKey();
      const intent = { ...SURE[2]!(0), inPath: { room: `room of ${key}` } };
      const attempt = { key, request: clients.request(intent, trial.door) };
      await sendRefused(clients, attempt);
      await sendRefused(clients, attempt);
      await clients.sendUnkeyed(clients.request({ ...intent, path: "/stream/{room}", fields: {} }, "rest"));
      await sendAsNew(clients, attempt);
      return sendAgain(clients, attempt);
    }
  }
}

/** What `send` holds an answer against is what the model knows: these say what it must know here. */
async function sendAgain(clients: KeyedClients, attempt: Attempt): Promise<void> {
  expect(clients.kept(attempt.key)).toBeDefined();
  await clients.send(attempt);
}

async function sendAsNew(clients: KeyedClients, attempt: Attempt): Promise<void> {
  expect(clients.kept(attempt.key)).toBeUndefined();
  await clients.send(attempt);
  expect(clients.kept(attempt.key)).toBeDefined();
}

async function sendRefused(clients: KeyedClients, attempt: Attempt): Promise<void> {
  await clients.send(attempt);
  expect(clients.kept(attempt.key)).toBeUndefined();
}

describe("a write with an idempotency key", () => {
  const runsOf = runs(6);

  it("happens once within its window, whatever happens in between", async () => {
    await fc.assert(
      fc.asyncProperty(RULES, history, async (rules, steps) => {
        const clients = await KeyedClients.start(counts, rules);
        try {
          for (const each of steps) await run(clients, each);
        } finally {
          await clients.close();
        }
      }),
      runsOf,
    );
  });

  it("was tried in every way", () => {
    const histories = runsOf.numRuns ?? 1;
    // Each history meets each of these, whatever was drawn.
    for (const what of ["lapsed", "evicted", "lost", "waited", "acrossRestart", "acrossDoors"] as const) {
      expect(counts[what], what).toBeGreaterThanOrEqual(histories);
    }
    expect(counts.reused, "reused").toBeGreaterThanOrEqual(2 * histories);
    expect(counts.refused, "refused").toBeGreaterThanOrEqual(2 * histories);
    expect(counts.inProgress, "in progress").toBeGreaterThanOrEqual(6 * histories);
    expect(counts.restarts, "restarts").toBeGreaterThanOrEqual(2 * histories);
    expect(counts.replayed, "replayed").toBeGreaterThanOrEqual(7 * histories);
  });

  it.each(["rest", "envelope"] as const)(
    "is every one that there is, through the door %s",
    async (through) => {
      const clients = await KeyedClients.start(emptyCounts(), { windowMs: 1_000_000, answersMax: 100 });
      const attempts: Attempt[] = [];
      const again = async (request: KeyedRequest) => {
        const { attempt } = await clients.first(request);
        await sendAgain(clients, attempt);
        attempts.push(attempt);
      };
      try {
        for (const { intent, keyed } of everyWrite) {
          const request = clients.request(intent, through);
          await (keyed ? again(request) : clients.sendUnkeyed(request));
        }
        for (const write of everyBareWrite) await again(bareRequestOf(write));
        await clients.restart();
        for (const attempt of attempts) await sendAgain(clients, attempt);
        for (const attempt of attempts) await clients.send(attempt, "another request id");
      } finally {
        await clients.close();
      }
      const written = new Set(everyWrite.filter(({ keyed }) => keyed).map(({ intent }) => intent.command));
      expect([...written].sort()).toEqual(writeNames);
    },
  );
});
