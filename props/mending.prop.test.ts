/**
 * Promise: damage on a log that follows another one is taken back from that one, and nothing else changes. Whatever byte of its segment
 * files is flipped, wherever one of them is cut off or cannot be read any more, whichever is lost –
 *
 *   1. the damage is found: by the opening, by reading, or by looking at a sealed segment whole; never served
 *   2. what has to be had again is had, and then the files are byte for byte those of the log that is followed
 *   3. what was damaged is kept aside as it was, with a note; what was sound is not
 *   4. an open log reads the new bytes at once, also whoever was reading
 *   5. ended in any operation of the disk, by kill -9 or with the power, the log is the damaged one or the mended one, and it can be done again
 *   6. records that do not lead to the segment behind them are not put in place
 */
import { beforeAll, describe, expect, test } from "vitest";
import {
  offset as asOffset,
  DamagedDirectory,
  type EventLog,
  type FileSystem,
  findingOf,
  Installation,
  LogError,
  listQuarantined,
  type OpenedLog,
  openLog,
  type RecordRun,
  type SegmentMending,
  verifyDirectory,
} from "../log/index.js";
import { shipped } from "../test/support/shipping.js";
import { factor, seed, seededRandom } from "./run-settings.js";
import { DATA_DIRECTORY, worldLogOptions } from "./world/log-settings.js";
import type { Ending, OperationKind } from "./world/operations.js";
import { seededClock } from "./world/seeded-world.js";
import { SimulatedDisk, type SimulatedMount } from "./world/simulated-file-system.js";

const LOG = `${DATA_DIRECTORY}/log`;
const RECORDS = 40;

interface Primary {
  readonly clusterId: string;
  readonly runs: readonly RecordRun[];
  /** Its segment files by name, without the zeros behind the last record. */
  readonly files: ReadonlyMap<string, Buffer>;
}

let primary: Primary;

const optionsOn = (disk: SimulatedDisk, files: FileSystem) =>
  worldLogOptions(disk, files as SimulatedMount, seededClock(disk.random), "always");

async function bytesOf(files: FileSystem, path: string): Promise<Buffer> {
  const handle = await files.open(path, "read");
  const bytes = Buffer.alloc(await handle.size());
  let at = 0;
  for (let count = -1; count !== 0; at += count) count = await handle.read(bytes.subarray(at), at);
  await handle.close();
  return bytes;
}

async function segmentFiles(files: FileSystem): Promise<Map<string, Buffer>> {
  const found = new Map<string, Buffer>();
  for (const name of await files.list(LOG))
    if (name.endsWith(".log")) found.set(name, await bytesOf(files, `${LOG}/${name}`));
  return found;
}

beforeAll(async () => {
  const disk = new SimulatedDisk(seed);
  const files = disk.mount();
  const { log, identity } = await openLog(optionsOn(disk, files));
  for (let i = 1; i < RECORDS; i++) {
    if (i === 15) await log.startEpoch();
    log.append({ kind: 2, version: 1, timestamp: i, body: Buffer.alloc(120 + 61 * (i % 17), i) });
  }
  await log.whenCommitted(log.endOffset);
  const runs = await shipped(log, asOffset(1));
  await log.close();
  primary = { clusterId: identity.clusterId, runs, files: await segmentFiles(files) };
  expect(primary.files.size).toBeGreaterThan(4);
});

/** A node that has everything, and is stopped. */
async function replica(disk: SimulatedDisk): Promise<void> {
  const files = disk.mount();
  const options = { ...optionsOn(disk, files), clusterId: primary.clusterId, isHeld: false };
  const installation = await Installation.begin(options);
  for (const run of primary.runs) await installation.receive(run);
  await installation.commit({ oldEnd: undefined });
  await (await follow(disk, files)).log.close();
}

function follow(disk: SimulatedDisk, files: FileSystem): Promise<OpenedLog> {
  return openLog({ ...optionsOn(disk, files), following: true });
}

async function fetchInto(mending: SegmentMending, changed = (bytes: Uint8Array) => bytes): Promise<void> {
  const { first, last } = mending.target;
  try {
    for (const run of primary.runs)
      if (run.first >= first && run.last <= last)
        await mending.receive({ ...run, bytes: changed(Uint8Array.from(run.bytes)) });
    await mending.finish();
  } finally {
    await mending.abandon();
  }
}

async function readAll(log: EventLog): Promise<void> {
  for await (const _ of log.read(log.firstOffset));
}

/** As a replica starts: opens, reads everything, and does what has to be done about what it finds. */
async function heal(disk: SimulatedDisk, files: FileSystem): Promise<{ log: EventLog; did: string[] }> {
  const did: string[] = [];
  for (let round = 0; round < 12; round++) {
    let opened: OpenedLog | undefined;
    try {
      opened = await follow(disk, files);
      await readAll(opened.log);
      return { log: opened.log, did };
    } catch (error) {
      await opened?.log.close();
      const finding = findingOf(error);
      if (finding === undefined) throw error;
      const directory = await DamagedDirectory.open({ ...optionsOn(disk, files) });
      try {
        const remedy = await directory.remedy(finding);
        did.push(remedy.type);
        if (remedy.type === "fetch") await fetchInto(directory.mend(remedy.target));
        else if (remedy.type === "cut") await directory.cut(remedy);
        else throw error;
      } finally {
        await directory.close();
      }
    }
  }
  throw new Error(`still damaged: ${did.join(" ")}`);
}

/** The rest comes as it always does. */
async function followToEnd(log: EventLog): Promise<void> {
  for (const run of primary.runs) {
    if (run.last <= log.endOffset) continue;
    await log.receive(run.first > log.endOffset ? run : restOf(run, log.endOffset + 1));
  }
}

function restOf(run: RecordRun, first: number): RecordRun {
  const view = new DataView(run.bytes.buffer, run.bytes.byteOffset, run.bytes.length);
  let at = 0;
  for (let offset: number = run.first; offset < first; offset++) at += 36 + view.getUint32(at + 4, true);
  return { ...run, startsSegment: false, first: asOffset(first), bytes: run.bytes.subarray(at) };
}

async function expectHealed(files: FileSystem): Promise<void> {
  const found = await segmentFiles(files);
  expect([...found.keys()]).toEqual(names());
  for (const [name, bytes] of found) expect(bytes.equals(primary.files.get(name)!), name).toBe(true);
  const { problems, notes } = await verifyDirectory(files, DATA_DIRECTORY);
  expect(problems).toEqual([]);
  expect(notes.filter(({ code }) => code !== "torn")).toEqual([]);
}

type Damage = "flip" | "cut" | "lose" | "spoil";

/** Damages one segment file. Returns what it is now, if that can be read. */
async function damage(
  disk: SimulatedDisk,
  name: string,
  how: Damage,
  at: number,
): Promise<Buffer | undefined> {
  const files = disk.mount();
  const path = `${LOG}/${name}`;
  if (how === "flip") disk.flip(path, at, 1 << (at % 8));
  else if (how === "spoil") disk.spoil(path, at);
  else if (how === "lose") await files.remove(path);
  else {
    const handle = await files.open(path, "write");
    await handle.truncate(at);
    await handle.sync();
    await handle.close();
  }
  await files.syncDirectory(LOG);
  const now = how === "lose" || how === "spoil" ? undefined : await bytesOf(files, path);
  disk.kill();
  return now;
}

const CHANGING: ReadonlySet<OperationKind> = new Set([
  ...(["create", "write", "syncedWrite", "sync", "truncate", "rename", "link", "remove"] as const),
  ...(["makeDirectory", "syncDirectory"] as const),
]);

/** Runs `doing` in a process that ends in its `at`-th operation; true when it came to its end before. */
async function endedAt(
  disk: SimulatedDisk,
  at: number,
  ending: Ending,
  doing: (files: SimulatedMount) => Promise<void>,
): Promise<boolean> {
  const files = disk.mount();
  disk.arm({ type: "end", at, ending, ...(factor > 1 ? {} : { kinds: CHANGING }) });
  const done = await Promise.race([doing(files).then(() => files.alive), disk.ended().then(() => false)]);
  disk.disarm();
  // What was reported done is not taken back by a power cut either.
  if (done && ending === "power") disk.losePower();
  else if (files.alive) disk.kill();
  return done;
}

const random = seededRandom(seed);
const below = (limit: number): number => Math.floor(random() * limit);
const names = (): string[] => [...primary.files.keys()];

describe("mending", () => {
  test("a stopped replica has the log of its primary again, whatever was damaged", async () => {
    const met: Record<string, number> = {};
    const sizes = names().map((name) => primary.files.get(name)!.length);
    for (let run = 0; run < 36 * factor; run++) {
      const disk = new SimulatedDisk(seed + run);
      await replica(disk);
      const damages = 1 + below(2);
      const log: string[] = [];
      const kept: { name: string; bytes: Buffer }[] = [];
      for (let i = 0; i < damages; i++) {
        const which = below(names().length);
        const name = names()[which]!;
        const drawn = (["flip", "flip", "cut", "lose", "spoil"] as const)[below(5)]!;
        // A log without its first segment looks like one that retention has shortened.
        const how = drawn === "lose" && which === 0 ? "flip" : drawn;
        if (log.some((before) => before.includes(name))) continue;
        const header = below(4) === 0;
        const now = await damage(disk, name, how, header ? below(104) : below(sizes[which]!));
        log.push(`${how} ${name}`);
        if (now !== undefined) kept.push({ name, bytes: now });
      }
      const files = disk.mount();
      try {
        const { log: healed, did } = await heal(disk, files);
        for (const what of did) met[what] = (met[what] ?? 0) + 1;
        await followToEnd(healed);
        await healed.close();
        await expectHealed(files);
        const quarantined = await listQuarantined(files, DATA_DIRECTORY);
        for (const { name, bytes } of kept) {
          if (did.length === 0) continue;
          const copies = quarantined.filter(({ base }) => name.startsWith(String(base).padStart(20, "0")));
          const same = await Promise.all(
            copies.map(({ file }) => bytesOf(files, `${DATA_DIRECTORY}/${file}`)),
          );
          // A cut that took the tail's last records whole, or nothing, leaves nothing to look at.
          if (copies.length > 0) expect(same.some((copy) => copy.equals(bytes))).toBe(true);
        }
      } catch (error) {
        throw disk.withTrace(error, log.join(", "));
      }
    }
    expect(met["fetch"], "fetched").toBeGreaterThan(5);
    expect(met["cut"], "cut").toBeGreaterThan(0);
  }, 600_000);

  test("an open log finds the damage, is mended, and everybody reads the new bytes", async () => {
    for (let run = 0; run < 6 * factor; run++) {
      const disk = new SimulatedDisk(seed + run);
      await replica(disk);
      const files = disk.mount();
      const { log, segments } = await follow(disk, files);
      const sealed = segments!.list();
      const target = sealed[below(sealed.length)]!;
      const name = names()[sealed.indexOf(target)]!;
      const noticed: number[] = [];
      segments!.noticed.subscribe((base) => noticed.push(base));
      const reader = log.follow(asOffset(1))[Symbol.asyncIterator]();
      await reader.next();
      if (run % 2 === 0) await readAll(log);
      disk.flip(`${LOG}/${name}`, 104 + below(primary.files.get(name)!.length - 104), 1 + below(255));

      const found = await segments!.check(target.first);
      expect(found.type).toBe("damaged");
      for (const { first } of sealed)
        if (first !== target.first) expect((await segments!.check(first)).type).toBe("sound");
      await expect(readAll(log)).rejects.toMatchObject({ code: "LOG_CORRUPT" });
      expect(noticed).toContain(target.first);
      if (found.type !== "damaged") return;

      const wrong = segments!.mend(target.first, found.finding);
      await expect(fetchInto(wrong, (bytes) => bytes.fill(7, 40, 50))).rejects.toBeInstanceOf(LogError);
      expect((await segments!.check(target.first)).type).toBe("damaged");
      const short = segments!.mend(target.first, found.finding);
      await expect(short.finish()).rejects.toMatchObject({ code: "LOG_NOT_CONTINUED" });
      await fetchInto(segments!.mend(target.first, found.finding));
      const end = await segments!.check(target.first);
      expect(end).toMatchObject({ type: "sound", end: await log.positionAt(target.last) });
      await readAll(log);
      for (let next = 0; next < log.endOffset; ) next = (await reader.next()).value?.at(-1)?.offset ?? next;
      await log.close();
      await expectHealed(files);
      expect(await listQuarantined(files, DATA_DIRECTORY)).toHaveLength(1);
    }
  }, 600_000);

  test("ended anywhere, the log is the damaged one or the mended one", async () => {
    const met = { damaged: 0, mended: 0 };
    const stride = factor > 1 ? 1 : 9;
    for (const how of ["open", "closed", "tail"] as const)
      for (const ending of ["kill", "power"] as const)
        for (let at = 1 + (seed % stride), done = false; !done; at += stride) {
          const disk = new SimulatedDisk(seed + at);
          try {
            await replica(disk);
            const name = names().at(how === "tail" ? -1 : 1)!;
            if (how !== "open") await damage(disk, name, "cut", 200);
            done = await endedAt(disk, at, ending, async (files) => {
              if (how !== "open") return (await heal(disk, files)).log.close();
              const { log, segments } = await follow(disk, files);
              const { first } = segments!.list()[1]!;
              disk.flip(`${LOG}/${name}`, 200, 1);
              const found = await segments!.check(first);
              if (found.type === "damaged") await fetchInto(segments!.mend(first, found.finding));
              await log.close();
            });
            const files = disk.mount();
            const bytes = await bytesOf(files, `${LOG}/${name}`);
            const isMended = bytes.equals(primary.files.get(name)!);
            met[isMended ? "mended" : "damaged"] += 1;
            if (done && how !== "tail") expect(isMended).toBe(true);
            const { log } = await heal(disk, files);
            await followToEnd(log);
            await log.close();
            await expectHealed(files);
            // Ended before it was damaged, it has nothing to keep.
            if (!isMended || done)
              expect((await listQuarantined(files, DATA_DIRECTORY)).length).toBeGreaterThan(0);
          } catch (error) {
            throw disk.withTrace(error, `${how}: ${ending} at ${at}`);
          }
        }
    for (const [what, count] of Object.entries(met)) expect(count, what).toBeGreaterThan(0);
  }, 600_000);
});
