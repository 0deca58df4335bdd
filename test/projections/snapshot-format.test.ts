import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { epoch, offset, realFileSystem } from "../../log/index.js";
import { encodeRecord } from "../../projections/events.js";
import {
  BYTES_TYPE,
  bytesOf,
  DEFAULT_IDEMPOTENCY_RULES,
  DEFAULT_QUEUE_RULES,
  DEFAULT_STREAM_RULES,
  Fold,
  foldTo,
  inspectSnapshot,
  kv,
  listSnapshots,
  readSnapshot,
  type StoreRules,
  TEXT_TYPE,
  verifySnapshot,
  writeSnapshot,
} from "../../projections/index.js";
import { FOOTER_BYTES, HEADER_BYTES } from "../../projections/snapshot/format.js";
import { TEST_RULES, TestStore } from "../support/kv-store.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";
import { asFormat1 } from "../support/older-snapshots.js";

const rules: StoreRules = {
  kv: TEST_RULES,
  queue: DEFAULT_QUEUE_RULES,
  stream: DEFAULT_STREAM_RULES,
  idempotency: DEFAULT_IDEMPOTENCY_RULES,
};

const source = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), "utf8");
const FORMAT = "projections/snapshot/format.ts";

/** The lines of the source's opening comment that are indented as layout. */
const layout = source(FORMAT)
  .split("*/")[0]!
  .split("\n")
  .flatMap((line) => /^ \* {3}(.*\S)\s*$/.exec(line)?.[1] ?? []);

describe("the format of snapshots", () => {
  it("is shown by the README as it stands above the codec", () => {
    const blocks = [...source("projections/snapshot/README.md").matchAll(/```layout (\S+)\n([\s\S]*?)```/g)];
    expect(blocks.map(([, path]) => path)).toEqual([FORMAT, FORMAT, FORMAT, FORMAT]);
    const shown = blocks.flatMap(([, , text]) => text!.trimEnd().split("\n"));
    expect(shown.map((line) => line.trimEnd())).toEqual(layout);
  });

  it("is that of the worked example", async () => {
    const example = layout
      .slice(layout.findIndex((line) => line.startsWith("414e4e41")))
      .map((line) => line.split(/ {2,}/)[0]!.replaceAll(" ", ""))
      .join("");
    const fold = new Fold({ rules });
    const event = {
      type: "kv.set",
      key: "k",
      value: "v",
      contentType: TEXT_TYPE,
      expiresAt: 0,
      previous: offset(0),
    } as const;
    const timestamp = 1_700_000_000_003;
    const record = {
      ...encodeRecord([event], { command: "kv.set" }),
      offset: offset(1),
      epoch: epoch(1),
      timestamp,
    };
    fold.take(record);
    const files = new MemoryFileSystem();
    const mark = {
      clusterId: "c1".repeat(16),
      lineageId: "5ea1".repeat(8),
      epoch: epoch(1),
      offset: offset(1),
      timestamp,
      crc: 0xb1f4f1d7,
    };
    const { name, bytes } = await writeSnapshot(files, "/data", fold, mark, { now: () => timestamp + 1 });
    const written = Buffer.from(files.get(`/data/${name}`)).toString("hex");
    expect(example.length).toBeGreaterThan(200);
    expect(written.slice(0, example.length)).toBe(example);
    expect(written.length).toBe(2 * bytes);
  });
});

describe("a snapshot of format version 1", () => {
  const directory = new URL("../fixtures/snapshot-v1", import.meta.url).pathname;

  it("is read for ever, with everything that was in it", async () => {
    const [listed, ...others] = await listSnapshots(realFileSystem, directory);
    expect([others, listed?.problem]).toEqual([[], undefined]);
    const path = `${directory}/${listed?.name}`;
    expect(await verifySnapshot(realFileSystem, path)).toEqual({ info: listed?.info });
    const fold = new Fold({ rules });
    const facts = await readSnapshot(realFileSystem, path, fold);
    expect(facts).toMatchObject({
      offset: 58,
      clock: 1_700_000_027_183,
      formatVersion: 1,
      counts: { keys: 5, queues: 1, messages: 7, streams: 4, answers: 2 },
      sha256: "4f8b5a3514516a96e16276695e94c5d4f4b8a4052a01f17f99d6fe2f4bb6eaf0",
    });
    // Over every field of every projection; `digest.ts` of each says what of it.
    expect(fold.digests(facts.clock)).toEqual(facts.digests);
    expect(facts.digests.all).toBe("c0c797eebd938ae56152e23507bd32c1506317b00f60e83acc31a355f42dabb2");
  });

  it("is what tests make of a newer one that is to be old: byte for byte", async () => {
    const [listed] = await listSnapshots(realFileSystem, directory);
    const path = `${directory}/${listed?.name}`;
    const fold = new Fold({ rules });
    const facts = await readSnapshot(realFileSystem, path, fold);
    const files = new MemoryFileSystem();
    const { name, formatVersion } = await writeSnapshot(files, "/data", fold, facts, {
      now: () => facts.createdAt,
    });
    expect([name, formatVersion]).toEqual([facts.name, 2]);
    expect(asFormat1(files.get(`/data/${name}`)).equals(readFileSync(path))).toBe(true);
  });

  it("tells of no removed key, so no chain is called whole that may have begun before a removal", async () => {
    const t = await TestStore.open({ now: 1_000 });
    const set = (key: string) => t.ok(kv.set, { key, value: key, contentType: TEXT_TYPE });
    const begin = async (convert: boolean) => {
      const files = new MemoryFileSystem();
      const { fold } = await foldTo(t.log, undefined, { rules });
      const mark = await t.log.markAt(fold.offset);
      const { name } = await writeSnapshot(files, "/data", fold, mark, { now: () => 1 });
      if (convert) files.put(`/data/${name}`, asFormat1(files.get(`/data/${name}`)));
      const read = new Fold({ rules });
      const { formatVersion } = await readSnapshot(files, `/data/${name}`, read);
      expect([formatVersion, read.digests()]).toEqual([convert ? 1 : 2, fold.digests()]);
      return ["kept", "gone", "never"].map((key) => read.kv.chainOf(key));
    };
    await set("kept");
    const whole = (at: number) => ({ offset: at, isWhole: true });
    const unknown = (at: number) => ({ offset: at, isWhole: false });
    expect(await begin(true)).toEqual([whole(1), whole(0), whole(0)]);
    await set("gone");
    await t.ok(kv.delete, { key: "gone" });
    expect(await begin(true)).toEqual([unknown(1), unknown(0), unknown(0)]);
    expect(await begin(false)).toEqual([whole(1), whole(3), whole(0)]);
  });

  it("holds keys, a queue in every state of a message, forked and closed streams, and kept answers", async () => {
    const [listed] = await listSnapshots(realFileSystem, directory);
    const fold = new Fold({ rules });
    await readSnapshot(realFileSystem, `${directory}/${listed?.name}`, fold);
    const { kv, queue, stream, clock } = fold;
    const entry = kv.get("c", clock)!;
    expect([bytesOf(entry.bytes).toString("hex"), entry.contentType, entry.revision]).toEqual([
      "2f05fd02",
      BYTES_TYPE,
      32,
    ]);
    expect(["b", "d", "a"].map((key) => kv.revisionOf(key))).toEqual([22, 50, 48]);
    // It has expired, and was not reclaimed yet.
    expect([kv.get("\ufeffbom", clock), kv.revisionOf("\ufeffbom") > 0]).toEqual([undefined, true]);
    expect(queue.stats("mails")).toMatchObject({
      lastOffset: 58,
      waiting: 4,
      delayed: 1,
      inFlight: 1,
      dead: 1,
      published: 9,
      consumed: 5,
      timedOut: 4,
      expired: 2,
    });
    expect([...queue.first("mails", 0)].map(({ ref }) => ref.offset)).toEqual([31, 39, 54, 55]);
    const due = queue.due("mails", Number.MAX_SAFE_INTEGER, 10);
    expect(due).toMatchObject([
      { ref: { offset: 30 }, state: "delayed", availableAt: 1_700_000_027_283 },
      { ref: { offset: 25 }, delivery: { consumer: "anna", deadline: 1_700_000_028_072 } },
    ]);
    expect(queue.deadLetters("mails", 10)).toMatchObject([{ ref: { offset: 18 }, retryCount: 2 }]);
    expect(stream.find("room/b")).toMatchObject({ fork: { source: "ds/short", at: 0 }, end: 7 });
    expect(stream.find("ds/fork")).toMatchObject({ closed: true, closedBy: { id: "p1", epoch: 0, seq: 0 } });
    expect(stream.find("room/a")).toMatchObject({ lifetime: { ttlMs: 1_300 }, deadline: 1_700_000_026_083 });
    expect(stream.producer("ds/short", "p2")).toEqual({ epoch: 0, seq: 0, seen: 38 });
  });
});

describe("codes", () => {
  it("say nothing that is not theirs", async () => {
    const files = new MemoryFileSystem();
    await expect(inspectSnapshot(files, "/snapshot_1_1.snap")).rejects.toMatchObject({
      code: "ENOENT",
    });
    files.put("/short", new Uint8Array(HEADER_BYTES + FOOTER_BYTES - 1));
    await expect(inspectSnapshot(files, "/short")).rejects.toMatchObject({ code: "SNAPSHOT_DAMAGED" });
  });
});

describe("what is read back", () => {
  it("has the numbers of all queues that were deleted, however many", () => {
    const numbers = Array.from({ length: 200_000 }, (_, number) => number);
    const { queue: state } = new Fold({ rules });
    state.restoreVacant(numbers);
    expect(state.vacantNumbers).toEqual(numbers);
  });
});
