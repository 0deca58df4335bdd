import { describe, expect, it } from "vitest";
import { SNAPSHOT_DIRECTORY } from "../../log/index.js";
import {
  Fold,
  foldTo,
  kv,
  queue,
  readSnapshot,
  stream,
  TEXT_TYPE,
  writeSnapshot,
} from "../../projections/index.js";
import { WORLD_RULES as rules } from "../../props/world/store-world.js";
import { TestStore } from "../support/kv-store.js";
import { MemoryFileSystem } from "../support/memory-file-system.js";

const DIRECTORY = `/data/${SNAPSHOT_DIRECTORY}`;

describe("giving way", () => {
  it("is done at every record, key, message and entry of a stream: when they are folded, written and read", async () => {
    const [keys, messages, entries] = [40, 50, 60];
    const t = await TestStore.open();
    for (let n = 0; n < keys; n++) await t.ok(kv.set, { key: `k${n}`, value: "v", contentType: TEXT_TYPE });
    await t.ok(queue.create, { queue: "jobs" });
    for (let n = 0; n < messages; n++)
      await t.ok(queue.publish, { queue: "jobs", payload: Buffer.from("m") });
    await t.ok(stream.create, { name: "s", contentType: "application/octet-stream" });
    for (let n = 0; n < entries; n++)
      await t.ok(stream.append, { name: "s", messages: [{ bytes: Buffer.from("e") }] });
    const files = new MemoryFileSystem();
    let times = 0;
    const giveWay = (): void => {
      times++;
    };
    const timesIn = async <T>(work: () => Promise<T>): Promise<[T, number]> => {
      times = 0;
      const result = await work();
      return [result, times];
    };
    const [{ fold }, folding] = await timesIn(() => foldTo(t.log, undefined, { rules, giveWay }));
    expect(folding).toBe(t.log.endOffset);
    const mark = await t.log.markAt(t.log.endOffset);
    const [{ name }, writing] = await timesIn(() =>
      writeSnapshot(files, DIRECTORY, fold, mark, { now: () => 5_000, giveWay }),
    );
    // Rows of all but the entries, which share some, then the digest of everything.
    expect(writing).toBeGreaterThan(2 * (keys + messages) + entries);
    const [, reading] = await timesIn(() =>
      readSnapshot(files, `${DIRECTORY}/${name}`, new Fold({ rules }), { giveWay }),
    );
    expect(reading).toBeGreaterThan(keys + messages);
  });
});
