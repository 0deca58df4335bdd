// Restore points: given once, listed in order, remembered by restarts, snapshots and the log itself.
import { describe, expect, it } from "vitest";
import { encodeRecord } from "../../projections/events.js";
import {
  batch,
  Fold,
  foldTo,
  POINTS_MAX,
  points,
  readSnapshot,
  restorePointNames,
  writeSnapshot,
} from "../../projections/index.js";
import { RULES } from "../support/backup-bench.js";
import { TestStore } from "../support/kv-store.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";
import { MemoryLog } from "../support/memory-log.js";
import { at } from "../support/test-log.js";

const cause = { command: "restore_point.create" };

async function named(...names: string[]): Promise<TestStore> {
  const t = await TestStore.open();
  for (const name of names) {
    t.now += 10;
    await t.ok(points.name, { name });
  }
  return t;
}

describe("restore points", () => {
  it("are listed in the order of the log, with offset and time", async () => {
    const t = await named("z", "a");
    expect(await t.answer(points.list, {})).toEqual([
      { name: "z", offset: 1, timestamp: 1_000_010 },
      { name: "a", offset: 2, timestamp: 1_000_020 },
    ]);
    expect(await t.refused(points.name, { name: "z" })).toBe("RESTORE_POINT_EXISTS");
    for (const name of ["", ".hidden", "a/b", "ä", "x".repeat(129)])
      expect(await t.refused(points.name, { name })).toBe("RESTORE_POINT_NAME_INVALID");
    expect(t.log.endOffset).toBe(2);
  });

  it("are known after a restart, from the log and from a snapshot", async () => {
    const t = await named("one", "two");
    const again = await TestStore.open({ log: new MemoryLog({ records: t.log.records }) });
    expect(await again.answer(points.list, {})).toHaveLength(2);
    const { fold } = await foldTo(t.log, undefined, { rules: RULES });
    const files = new MemoryFileSystem();
    await files.makeDirectory("/snapshots");
    const mark = await t.log.markAt(at(2));
    const { name } = await writeSnapshot(files, "/snapshots", fold, mark, { now: () => 1 });
    const read = new Fold({ rules: RULES });
    await readSnapshot(files, `/snapshots/${name}`, read);
    expect(read.points.all()).toEqual(fold.points.all());
    expect(read.points.lastOffset).toBe(2);
    expect(read.digests()).toEqual(fold.digests());
  });

  it("change the digest of everything, and only then", async () => {
    const empty = new Fold({ rules: RULES }).digests();
    const { fold } = await foldTo((await named("one")).log, undefined, { rules: RULES });
    const { all, ...parts } = fold.digests(0);
    expect(parts).toEqual({
      kv: empty.kv,
      queue: empty.queue,
      stream: empty.stream,
      idempotency: empty.idempotency,
    });
    expect(all).not.toBe(empty.all);
  });

  it("are given once also within a batch", async () => {
    const t = await named();
    const step = {
      decide: (view: never, context: never) =>
        points.name(view, { name: "twice" }, context, undefined as never),
    };
    const steps = [
      { name: "restore_point.create", step },
      { name: "restore_point.create", step },
    ];
    expect(await t.refused(batch, { preconditions: [], steps } as never)).toBe("RESTORE_POINT_EXISTS");
    await t.ok(batch, { preconditions: [], steps: steps.slice(1) } as never);
    expect(await t.answer(points.list, {})).toMatchObject([{ name: "twice", offset: 1 }]);
  });

  it("are found in records, alone and among other events", () => {
    const point = (name: string) => ({ type: "point.named", name }) as const;
    expect(restorePointNames(encodeRecord([point("a")], cause))).toEqual(["a"]);
    expect(restorePointNames(encodeRecord([{ type: "kv.flushed" }, point("b"), point("c")], cause))).toEqual([
      "b",
      "c",
    ]);
    expect(restorePointNames(encodeRecord([{ type: "kv.flushed" }], cause))).toEqual([]);
  });

  it("are bounded: the oldest is forgotten, and its name may be given again", async () => {
    const t = await named(...Array.from({ length: POINTS_MAX + 2 }, (_each, i) => `p${i}`));
    const list = await t.answer(points.list, {});
    expect(list).toHaveLength(POINTS_MAX);
    expect(list[0]?.name).toBe("p2");
    await t.ok(points.name, { name: "p0" });
    expect((await t.answer(points.list, {})).at(-1)?.name).toBe("p0");
  });
});
