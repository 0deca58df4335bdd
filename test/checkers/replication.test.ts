/** The checkers of logs and sets of them, tested on histories whose verdict is known: one that cannot fail says nothing when it passes. */
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import {
  epoch as asEpoch,
  offset as asOffset,
  type EpochEntry,
  type LogRecord,
  SEGMENT_HEADER_BYTES,
  segmentName,
} from "../../log/index.js";
import { type Acknowledged, checkAcknowledged } from "../../props/checkers/acknowledged.js";
import { checkByteEqual, segmentFiles } from "../../props/checkers/byte-equal.js";
import { checkConvergence } from "../../props/checkers/convergence.js";
import { checkDurable } from "../../props/checkers/durable.js";
import { checkEvidence } from "../../props/checkers/evidence.js";
import { checkFencedWrites } from "../../props/checkers/fenced-writes.js";
import { checkHandedOver } from "../../props/checkers/handed-over.js";
import { type ConfirmedWrite, checkHeld } from "../../props/checkers/held.js";
import { checkLeadsWhole } from "../../props/checkers/leads-whole.js";
import { checkListed } from "../../props/checkers/listed.js";
import { checkMismatch } from "../../props/checkers/mismatch.js";
import { checkOneWriter } from "../../props/checkers/one-writer.js";
import { checkPrefix, EPOCH_STARTED } from "../../props/checkers/prefix.js";
import { checkPrimaryClock } from "../../props/checkers/primary-clock.js";
import { checkReplicaPrefix, type NodeLog } from "../../props/checkers/replica-prefix.js";
import { checkRefusedTokens, checkTokens } from "../../props/checkers/tokens.js";
import { checkTooFew } from "../../props/checkers/too-few.js";
import { checkUnfenced } from "../../props/checkers/unfenced.js";
import type { Leadership } from "../../replication/leadership-order.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";

type Check = () => unknown;

/** By the checker's file. */
interface Known {
  /** What its complaints begin with. */
  readonly promise: string;
  readonly good: Readonly<Record<string, Check>>;
  readonly bad: Readonly<Record<string, Check>>;
}

const first: Leadership = { epoch: asEpoch(1), lineageId: "a".repeat(32) };
const second: Leadership = { epoch: asEpoch(2), lineageId: "b".repeat(32) };
/** Of the same epoch, on another node. */
const rival: Leadership = { ...second, lineageId: "c".repeat(32) };

const entry = (under: Leadership, from: number, nodeId: string): EpochEntry => ({
  ...under,
  nodeId,
  first: asOffset(from),
});
const record = (at: number, of: number, body: string, crc = at, kind = 2): LogRecord => ({
  offset: asOffset(at),
  epoch: asEpoch(of),
  timestamp: at,
  kind,
  version: 1,
  crc,
  body: Buffer.from(body),
});

/** The log's own, which begins an epoch. */
const own = record(1, 1, "", 1, EPOCH_STARTED);

const confirmed = (at: number, body: string, under: Leadership = first): Acknowledged => ({
  ...under,
  offset: at,
  body,
  confirmed: 1,
});
const logOf =
  (...bodies: (string | null)[]) =>
  (at: number): string | undefined | null =>
    bodies[at - 1];
const won = (under: Leadership, forced = false) => ({ ...under, forced });

const held = (over: Partial<ConfirmedWrite>): ConfirmedWrite => ({
  node: "n1",
  offset: 7,
  epoch: 1,
  confirmed: 1,
  holders: ["n2"],
  unknown: 0,
  quorum: false,
  ...over,
});

const files = (...names: [base: number, text: string][]) =>
  new Map(names.map(([base, text]) => [segmentName(asOffset(base)), Buffer.from(text)] as const));
const equal =
  (a: ReturnType<typeof files>, b: ReturnType<typeof files>): Check =>
  () =>
    checkByteEqual({ node: "n1", segments: a }, { node: "n2", segments: b });

/** Two epochs: the first record of each is the log's own. */
const log = (node: string, over: Partial<NodeLog> = {}): NodeLog => ({
  node,
  epochs: [entry(first, 1, "n1"), entry(second, 3, "n2")],
  records: [own, record(2, 1, "x"), record(3, 2, "", 3, EPOCH_STARTED), record(4, 2, "y")],
  ...over,
});
const appended = ({ epoch: of }: EpochEntry, at: number): string | undefined =>
  new Map([
    ["1 2", "x"],
    ["2 4", "y"],
  ]).get(`${of} ${at}`);
const prefixes =
  (...logs: NodeLog[]): Check =>
  () =>
    checkReplicaPrefix(logs, appended);

const bodies = new Map(
  ["x", "y"].map((text, at) => {
    const body = Buffer.from(text);
    return [at + 2, { kind: 2, version: 1, timestamp: at + 2, body }] as const;
  }),
);
const prefix =
  (records: LogRecord[], end: number): Check =>
  () =>
    checkPrefix(bodies, records, 1, end);

const answer = (over: { at: number; confirmed?: number; under?: Leadership }) => {
  const { at, confirmed: by = 1, under = first } = over;
  return { ...under, node: "n1", offset: 7, confirmed: by, at };
};
const began = (at: number, forced = false, under: Leadership = second) => ({
  ...under,
  node: "n2",
  at,
  forced,
});

const checkers: Readonly<Record<string, Known>> = {
  acknowledged: {
    promise: "acknowledged",
    good: {
      "a confirmed write in the log": () =>
        expect(checkAcknowledged([confirmed(1, "x")], [won(second)], logOf("x"))).toBe(1),
      "the loss of what nobody confirmed": () =>
        checkAcknowledged([{ ...confirmed(1, "x"), confirmed: 0 }], [], logOf()),
      "the loss of what a later force passed over": () =>
        checkAcknowledged([confirmed(1, "x")], [won(second, true)], logOf("else")),
      "what retention took": () => expect(checkAcknowledged([confirmed(1, "x")], [], logOf(null))).toBe(0),
      "what went with the only node that had it, which was struck off": () =>
        checkAcknowledged(
          [{ ...confirmed(1, "x"), at: 1, holders: ["n2"] }],
          [],
          logOf(),
          new Map([["n2", { at: 2 }]]),
        ),
    },
    bad: {
      "a confirmed write that is gone": () => checkAcknowledged([confirmed(2, "x")], [], logOf("w")),
      "another record in its place": () => checkAcknowledged([confirmed(1, "x")], [], logOf("y")),
      "the loss of what was written above a force": () =>
        checkAcknowledged([confirmed(1, "x", second)], [won(first, true)], logOf()),
      "a loss in a leadership that was won without force": () =>
        checkAcknowledged([confirmed(1, "x")], [won(second)], logOf()),
      "the loss of what another node has, too": () =>
        checkAcknowledged(
          [{ ...confirmed(1, "x"), at: 1, holders: ["n2", "n3"] }],
          [],
          logOf(),
          new Map([["n2", { at: 2 }]]),
        ),
      "the loss of what was confirmed by a node that came back": () =>
        checkAcknowledged(
          [{ ...confirmed(1, "x"), at: 3, holders: ["n2"] }],
          [],
          logOf(),
          new Map([["n2", { at: 2 }]]),
        ),
    },
  },
  "byte-equal": {
    promise: "byte-equal",
    good: {
      "the same files": equal(files([1, "one"], [5, "two"]), files([1, "one"], [5, "two"])),
      "one that began with a full sync": equal(files([1, "one"], [5, "two"]), files([5, "two"])),
    },
    bad: {
      "a byte that differs": equal(files([1, "one"], [5, "two"]), files([1, "onE"], [5, "two"])),
      "a file that is shorter": equal(files([1, "one"], [5, "two"]), files([1, "one"], [5, "tw"])),
      "a newest file that one lacks": equal(files([1, "one"], [5, "two"]), files([1, "one"])),
    },
  },
  convergence: {
    promise: "convergence",
    good: {
      "nobody at all": () => checkConvergence([]),
      "one end and one state": () =>
        checkConvergence(["n1", "n2", "n3"].map((node) => ({ node, offset: 9, digest: "d" }))),
    },
    bad: {
      "a node that is behind": () =>
        checkConvergence([9, 9, 8].map((at, n) => ({ node: `n${n}`, offset: at, digest: "d" }))),
      "another state at the same end": () =>
        checkConvergence(["d", "d", "e"].map((digest, n) => ({ node: `n${n}`, offset: 9, digest }))),
    },
  },
  durable: {
    promise: "durable",
    good: {
      "all that was told": () => checkDurable({ answered: 9, durable: 8 }, false, true, 9),
      "the loss, with the power, of what was not synced and need not be": () =>
        checkDurable({ answered: 9, durable: 5 }, true, false, 5),
    },
    bad: {
      "a kill that takes what was answered": () => checkDurable({ answered: 9, durable: 5 }, false, false, 8),
      "a power cut that takes what must survive it": () =>
        checkDurable({ answered: 9, durable: 9 }, true, true, 8),
      "a power cut that takes what was called durable": () =>
        checkDurable({ answered: 9, durable: 5 }, true, false, 4),
    },
  },
  evidence: {
    promise: "evidence",
    good: {
      "what is in the log": () =>
        expect(checkEvidence([{ ...confirmed(1, "x"), node: "n1" }], () => "x", new Map())).toBe(0),
      "what lies beside the log of its node": () =>
        expect(
          checkEvidence([{ ...confirmed(1, "x"), node: "n1" }], () => "y", new Map([["n1", new Set(["x"])]])),
        ).toBe(1),
    },
    bad: {
      "what is nowhere": () =>
        checkEvidence(
          [{ ...confirmed(1, "x"), node: "n1" }],
          () => undefined,
          new Map([["n1", new Set(["y"])]]),
        ),
      "what lies beside the log of a node that never answered it": () =>
        checkEvidence(
          [{ ...confirmed(1, "x"), node: "n1" }],
          () => undefined,
          new Map([["n2", new Set(["x"])]]),
        ),
    },
  },
  "fenced-writes": {
    promise: "fenced writes",
    good: {
      "a fenced node whose writers are told at once": () => checkFencedWrites([], [{ node: "n1", ms: 0 }]),
    },
    bad: {
      "a write under a leadership that is over": () =>
        checkFencedWrites([{ node: "n1", under: first, heard: second }], []),
      "a write that was kept waiting": () => checkFencedWrites([], [{ node: "n1", ms: 900 }]),
    },
  },
  "handed-over": {
    promise: "handed over",
    good: {
      "everything before the new leadership": () =>
        checkHandedOver(
          [{ from: "n1", under: first, to: "n2", offset: 9 }],
          [{ ...first, node: "n1", offset: 8 }],
        ),
    },
    bad: {
      "an answer from where the other one leads": () =>
        checkHandedOver(
          [{ from: "n1", under: first, to: "n2", offset: 9 }],
          [{ ...first, node: "n1", offset: 9 }],
        ),
    },
  },
  held: {
    promise: "held",
    good: {
      "what another disk has": () => checkHeld([held({})], 3),
      "what the closed log of a node has, perhaps": () => checkHeld([held({ holders: [], unknown: 1 })], 3),
      "a quorum on three of five": () =>
        checkHeld([held({ confirmed: 2, holders: ["n2", "n3"], quorum: true })], 5),
    },
    bad: {
      "what nobody else has": () => checkHeld([held({ holders: [] })], 3),
      "what one has of the two that confirmed it": () => checkHeld([held({ confirmed: 2 })], 3),
      "a quorum on two of four": () => checkHeld([held({ quorum: true })], 4),
    },
  },
  "leads-whole": {
    promise: "leads whole",
    good: {
      "a leadership on the disk": () =>
        checkLeadsWhole({ node: "n1", offset: 7, durable: 7, knowsDamage: false }),
    },
    bad: {
      "a leadership that the power can take": () =>
        checkLeadsWhole({ node: "n1", offset: 7, durable: 6, knowsDamage: false }),
      "known damage": () => checkLeadsWhole({ node: "n1", offset: 7, durable: 9, knowsDamage: true }),
    },
  },
  listed: {
    promise: "listed",
    good: { "all, in any order": () => checkListed("n1", ["b", "a"], ["a", "b"]) },
    bad: {
      "one that is missing": () => checkListed("n1", ["a"], ["a", "b"]),
      "one that does not exist": () => checkListed("n1", ["a", "b", "c"], ["a", "b"]),
      "one that is there twice": () => checkListed("n1", ["a", "b", "b"], ["a", "b"]),
    },
  },
  mismatch: {
    promise: "mismatch",
    good: { "logs that compare as the same": () => checkMismatch([{ node: "n1" }, { node: "n2" }]) },
    bad: {
      "a sound log that compares as another": () =>
        checkMismatch([{ node: "n1" }, { node: "n2", mismatch: { offset: 5 } }]),
    },
  },
  "one-writer": {
    promise: "one writer",
    good: {
      "one node in each leadership, of the same epoch too": () =>
        checkOneWriter([
          ...[first, first].map((under) => ({ ...under, node: "n1" })),
          { ...second, node: "n2" },
          { ...rival, node: "n3" },
        ]),
    },
    bad: {
      "two nodes in one leadership": () =>
        checkOneWriter([
          { ...first, node: "n1" },
          { ...first, node: "n2" },
        ]),
    },
  },
  prefix: {
    promise: "prefix",
    good: {
      "what was appended, and the log's own record": prefix([own, record(2, 1, "x")], 2),
      "nothing at all": prefix([], 0),
    },
    bad: {
      "a record more than the log says": prefix([own], 0),
      "a hole": prefix([own, { ...record(2, 1, "x"), offset: asOffset(3) }], 2),
      "a time that goes back": prefix(
        [own, record(2, 1, "x"), record(3, 1, "y"), { ...own, offset: asOffset(4) }],
        4,
      ),
      "another kind": prefix([own, record(2, 1, "x", 2, 9)], 2),
      "a time that nobody gave": prefix([own, { ...record(2, 1, "x"), timestamp: 8 }], 2),
      "what nobody appended": prefix([record(1, 1, "z")], 1),
      "another body": prefix([own, record(2, 1, "y")], 2),
      "an epoch that goes back": prefix([record(1, 2, "", 1, EPOCH_STARTED), record(2, 1, "x")], 2),
    },
  },
  "primary-clock": {
    promise: "primary's clock",
    good: { "what a heartbeat told": () => checkPrimaryClock(5000, [{ node: "n2", shown: 4800 }]) },
    bad: {
      "a clock of its own": () => checkPrimaryClock(5000, [{ node: "n2", shown: 3_605_000 }]),
      "a clock that stands": () => checkPrimaryClock(5000, [{ node: "n2", shown: 3000 }]),
      "none though the primary is there": () => checkPrimaryClock(5000, [{ node: "n2", shown: undefined }]),
    },
  },
  "replica-prefix": {
    promise: "replica prefix",
    good: {
      "the same log, a beginning of it, and one without its beginning": prefixes(
        log("n1"),
        log("n2", { epochs: log("").epochs.slice(0, 1), records: log("").records.slice(0, 2) }),
        log("n3", { records: log("").records.slice(2) }),
      ),
    },
    bad: {
      "an epoch that begins elsewhere": prefixes(
        log("n1"),
        log("n2", { epochs: [entry(first, 1, "n1"), entry(second, 4, "n2")], records: [] }),
      ),
      "a record of one epoch under another": prefixes(
        log("n1", { records: [...log("").records.slice(0, 3), record(4, 1, "y")] }),
      ),
      "the same records after another beginning": prefixes(
        log("n1"),
        log("n2", { records: [...log("").records.slice(0, 3), record(4, 2, "y", 44)] }),
      ),
      "what nobody appended": prefixes(log("n1", { records: [...log("").records, record(5, 2, "z")] })),
      "another body": prefixes(log("n1", { records: [record(2, 1, "z")] })),
      "a record before every epoch": prefixes(log("n1", { epochs: [entry(second, 3, "n2")] })),
    },
  },
  tokens: {
    promise: "tokens",
    good: {
      "what the token tells of, or what retention took": () =>
        checkTokens(
          ["x", undefined].map((found) => ({ node: "n2", token: { offset: 4, epoch: 1, body: "x" }, found })),
        ),
      "a refusal of what another record took the place of": () =>
        checkRefusedTokens([{ node: "n2", token: { offset: 4, epoch: 1, body: "x" } }], () => "y"),
    },
    bad: {
      "an answer from another history": () =>
        checkTokens([{ node: "n2", token: { offset: 4, epoch: 1, body: "x" }, found: "y" }]),
      "a refusal of what is in the history": () =>
        checkRefusedTokens([{ node: "n2", token: { offset: 4, epoch: 1, body: "x" } }], () => "x"),
    },
  },
  "too-few": {
    promise: "too few replicas",
    good: {
      "enough that were heard of": () =>
        expect(checkTooFew([{ node: "n1", wanted: 2, silentMs: [10, 1500], timeoutMs: 1500 }])).toBe(1),
    },
    bad: {
      "one of two that is silent for too long": () =>
        checkTooFew([{ node: "n1", wanted: 2, silentMs: [10, 1501], timeoutMs: 1500 }]),
      "fewer nodes than are wanted": () =>
        checkTooFew([{ node: "n1", wanted: 2, silentMs: [10], timeoutMs: 1500 }]),
    },
  },
  unfenced: {
    promise: "unfenced",
    good: {
      "an answer before the next leadership began": () => checkUnfenced([answer({ at: 1 })], [began(2)], []),
      "one that nobody confirmed": () => checkUnfenced([answer({ at: 3, confirmed: 0 })], [began(2)], []),
      "one of the new leadership": () => checkUnfenced([answer({ at: 3, under: second })], [began(2)], []),
      "one whose node force did not reach": () => checkUnfenced([answer({ at: 3 })], [began(2, true)], []),
    },
    bad: {
      "a confirmed answer after a newer leadership began": () =>
        checkUnfenced([answer({ at: 3 })], [began(2)], []),
      "one after a higher leadership of the same epoch": () =>
        checkUnfenced([answer({ at: 3, under: second })], [began(2, false, rival)], []),
      "any answer of a node that has heard of a newer one": () =>
        checkUnfenced([], [], [{ node: "n1", under: first, heard: second }]),
    },
  },
};

/** Files of checkers that hold what they are given to a promise by themselves; the models are of the linearizability checker. */
function checkerFiles(): string[] {
  const directory = new URL("../../props/checkers/", import.meta.url);
  return readdirSync(directory)
    .filter((name) => !name.endsWith("-model.ts"))
    .filter((name) => readFileSync(new URL(name, directory), "utf8").includes("new PromiseBroken("))
    .map((name) => name.replace(/\.ts$/, ""));
}

test("each checker has histories that it takes, and some that it refuses", () => {
  expect(Object.keys(checkers).sort()).toEqual(checkerFiles().sort());
});

for (const [name, { promise, good, bad }] of Object.entries(checkers))
  describe(`checker ${name}`, () => {
    test.each(Object.entries(good))("takes %s", (_, check) => void check());
    test.each(Object.entries(bad))("refuses %s", (_, check) =>
      expect(check).toThrow(new RegExp(`^${promise}: `)),
    );
  });

test("segment files are compared without the zeros at their end, nor one that has no record", async () => {
  const disk = new MemoryFileSystem();
  const put = async (base: number, bytes: Uint8Array): Promise<void> =>
    disk.put(`/data/log/${segmentName(asOffset(base))}`, bytes);
  await disk.makeDirectory("/data/log");
  await put(
    1,
    Buffer.concat([Buffer.alloc(SEGMENT_HEADER_BYTES, 7), Buffer.from("records"), Buffer.alloc(99)]),
  );
  await put(5, Buffer.alloc(SEGMENT_HEADER_BYTES, 7));
  disk.put("/data/log/notes.json", Buffer.from("{}"));
  const found = await segmentFiles(disk, "/data");
  expect([...found.keys()]).toEqual([segmentName(asOffset(1))]);
  expect(found.get(segmentName(asOffset(1)))?.length).toBe(SEGMENT_HEADER_BYTES + "records".length);
});
