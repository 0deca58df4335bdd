/** What is on the disk has versions, and every one that was ever written is read. A new one shows here first. */
import { mkdtempSync } from "node:fs";
import { cp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import {
  DIRECTORY_FORMAT_VERSION,
  decodeEpochStart,
  EPOCH_STARTED,
  type LogRecord,
  offset,
  openLogView,
  readDirectoryFormat,
  realFileSystem,
  SEGMENT_FORMAT_VERSION,
} from "../../log/index.js";
import {
  type Digests,
  decodeEvents,
  Fold,
  foldTo,
  knownKinds,
  listSnapshots,
  newestForm,
  readSnapshot,
  SNAPSHOT_FORMAT_OLDEST,
  SNAPSHOT_FORMAT_VERSION,
  versionsByKind,
} from "../../projections/index.js";
import { TEST_STORE_RULES } from "../support/kv-store.js";
import { openTestLog, readAll } from "../support/test-log.js";

const rules = TEST_STORE_RULES;

interface Fixture {
  readonly name: string;
  readonly directoryFormat: number;
  readonly epochStart: number;
  readonly snapshotFormat: number;
  /** As the release that wrote it had them of its own state, at these offsets. */
  readonly digests: Readonly<Record<number, Digests>>;
  readonly missing: readonly number[];
  /** Where the chains of keys that were removed end, after a start from the newest snapshot. */
  readonly removed: Readonly<Record<string, readonly [offset: number, isWhole: boolean]>>;
}

const HALF: Digests = {
  kv: "2e0c2e213658fd25954f5d6b06f8ee528b3c73985340edf99d5966cfde9d5c8d",
  queue: "182a7088eecd3ee48402ef20b67f89286052e9dc8392fa717725f132eaa5b750",
  stream: "8606ed198a9c88574d9a71b1781dd783191c966c1469f6452ac8beebd3c4d3d4",
  idempotency: "71bf7833fd34feefe3c6053cb02a48e09141d924507ab22a08200ea273d95b39",
  all: "b5244bbcb01fbf1a3952768449e013136482046e1a2f7e04a57f711c8946896b",
};
const END: Digests = {
  kv: "f419f00bc0a786b6822fb1520219b7282ccb4df89fb062870ded43486eefa8e4",
  queue: "7f7ffc21c114b9422f017d8385da2b10a04c2cdf6055c32d332caff8d2b11189",
  stream: "069969bc1844df4638f0d4cf5ccdf7f07cf66b4d3da168a0e7e4ec13dfe6b93e",
  idempotency: "14fecf9c6e2b059f8af5b9e325818a55d153c2d777f43e71cee3ca16816c03b5",
  all: "236444597a89607da842e339ff3ce1e2336f71614835497096e96631917fc64a",
};

const FIXTURES: readonly Fixture[] = [
  {
    name: "data-directory-v1",
    directoryFormat: 1,
    epochStart: 1,
    snapshotFormat: 1,
    digests: { 129: HALF, 258: END },
    missing: [4],
    removed: { gone: [0, false], never: [0, false] },
  },
  {
    name: "data-directory-v2",
    directoryFormat: 2,
    epochStart: 2,
    snapshotFormat: 2,
    digests: {
      129: HALF,
      259: { ...END, all: "43dc1e017413f58b30da795db76983c71e47e90784a10fcdb4355d05df843dd6" },
    },
    missing: [],
    removed: { gone: [252, true], never: [0, true] },
  },
];

const directory = mkdtempSync(join(tmpdir(), "annals-formats-"));
afterAll(() => rm(directory, { recursive: true, force: true }));
const pathOf = (name: string): string => new URL(`../fixtures/${name}`, import.meta.url).pathname;

const chainIn = ({ kv }: Fold, key: string): readonly [number, boolean] => {
  const { offset: at, isWhole } = kv.chainOf(key);
  return [at, isWhole];
};

describe.each(FIXTURES)("$name", (fixture) => {
  const path = pathOf(fixture.name);
  const { directoryFormat, epochStart, snapshotFormat, digests, missing, removed } = fixture;
  const ends = Object.keys(digests).map(Number);
  const [, end = 0] = ends;

  it("folds to the digests that it had when it was written, from every beginning", async () => {
    expect(await readDirectoryFormat(realFileSystem, path)).toBe(directoryFormat);
    const log = await openLogView(realFileSystem, path);
    expect(log.endOffset).toBe(end);
    for (const last of ends) {
      const { fold } = await foldTo(log, undefined, { rules, last: offset(last) });
      expect(fold.digests(), `all of the log up to ${last}`).toEqual(digests[last]);
      fold.close();
    }
    const snapshots = { files: realFileSystem, directory: `${path}/snapshots` };
    for (const { name, offset: at, info } of await listSnapshots(snapshots.files, snapshots.directory)) {
      expect(info?.formatVersion).toBe(snapshotFormat);
      const read = new Fold({ rules });
      await readSnapshot(snapshots.files, `${snapshots.directory}/${name}`, read);
      expect(read.digests(), name).toEqual(digests[at]);
      expect(info?.digests, `what ${name} says of itself`).toEqual(digests[at]);
    }
    const { fold, from } = await foldTo(log, snapshots, { rules });
    expect([from?.offset, fold.digests()]).toEqual([end, digests[end]]);
    for (const [key, chain] of Object.entries(removed)) expect(chainIn(fold, key), key).toEqual(chain);
  });

  it("has every kind of record that its release knew, and each can be read and written anew", async () => {
    const log = await openLogView(realFileSystem, path);
    const kinds = new Set<number>();
    const types = new Set<string>();
    for await (const batch of log.read(offset(1)))
      for (const record of batch) {
        kinds.add(record.kind);
        for (const { type } of decodeEvents(record).events) types.add(type);
        const { kind, version, body } = newestForm(record);
        expect([kind, version]).toEqual([record.kind, versionsByKind.get(kind)?.newest]);
        expect(decodeEvents({ kind, version, body })).toEqual(decodeEvents(record));
        if (kind !== EPOCH_STARTED) continue;
        expect(record.version).toBe(epochStart);
        expect(decodeEpochStart(record.version, record.body)).toEqual({ reason: "created" });
        expect(decodeEpochStart(version, body)).toEqual({ reason: "created" });
      }
    expect([...types]).toEqual(expect.arrayContaining(AMONG_SEVERAL));
    expect([...kinds].sort((a, b) => a - b)).toEqual(
      knownKinds
        .filter((kind) => !missing.includes(kind) && !ONLY_AMONG_SEVERAL.includes(kind))
        .sort((a, b) => a - b),
    );
  });

  it("is opened, written and read again, and nothing old in it is changed", async () => {
    const copy = join(directory, fixture.name);
    await cp(path, copy, { recursive: true });
    const opened = await openTestLog(copy);
    expect(opened.formatVersion).toBe(directoryFormat);
    const { log } = opened;
    await log.whenCommitted(
      log.append({ kind: 20, version: 1, timestamp: 2e12, body: Buffer.from([0x91, 0xc0]) }),
    );
    const records = await readAll(log);
    await log.close();
    const old: LogRecord[] = [];
    for await (const batch of (await openLogView(realFileSystem, path)).read(offset(1))) old.push(...batch);
    expect(records.slice(0, -1)).toEqual(old);
    expect(await readDirectoryFormat(realFileSystem, copy)).toBe(directoryFormat);
    const snapshots = { files: realFileSystem, directory: `${copy}/snapshots` };
    const { fold } = await foldTo(await openLogView(realFileSystem, copy), snapshots, { rules });
    expect([fold.offset, fold.kv.keysHeld]).toEqual([end + 1, 0]);
  });
});

/** idempotency.answered, kv.evicted and queue.released: each comes with what made it necessary. */
const ONLY_AMONG_SEVERAL: readonly number[] = [3, 18, 40];
const AMONG_SEVERAL = ["idempotency.answered", "kv.evicted", "queue.released"];

/** Kind and version of each event, as of the newest directory. */
const EVENTS =
  "1:2 2:1 3:1 4:1 16:1 17:1 18:1 19:1 20:1 32:1 33:1 34:1 35:1 36:1 37:1 38:1 39:1 40:1 41:1 42:1 43:1 44:1 48:1 49:1 50:1 51:1 52:1 53:1 54:1";

describe("the versions of everything on the disk", () => {
  it("are those of the directory's version: whoever changes one raises it, and says so in upgrading.md", () => {
    const events = [...versionsByKind]
      .sort(([a], [b]) => a - b)
      .map(([kind, { newest }]) => `${kind}:${newest}`)
      .join(" ");
    expect({
      directory: DIRECTORY_FORMAT_VERSION,
      segment: SEGMENT_FORMAT_VERSION,
      snapshot: [SNAPSHOT_FORMAT_OLDEST, SNAPSHOT_FORMAT_VERSION],
      events,
    }).toEqual({ directory: 3, segment: 1, snapshot: [1, 2], events: EVENTS });
  });
});
