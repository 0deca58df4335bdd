import { describe, expect, it } from "vitest";
import { offset } from "../../log/index.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { appendMany, at, offsetsOf, openTestLog, readAll, span, textRecord } from "../support/test-log.js";

async function openOn(disk: SimulatedDisk, fsyncMode: "always" | "periodic" | "never" = "always") {
  return openTestLog("/disk", { files: disk.mount(), fsyncMode });
}

describe("tail", () => {
  it("shows nothing that is not durable", async () => {
    const disk = new SimulatedDisk(1);
    const { log } = await openOn(disk, "never");
    await appendMany(log, 10);
    const follower = log.follow(offset(1));
    const first = await follower.next();
    expect(offsetsOf(first.value)).toEqual([1]);
    const second = follower.next();
    await appendMany(log, 60);
    const { durableOffset } = log;
    expect(durableOffset).toBeLessThan(71);
    expect(offsetsOf((await second).value)[0]).toBe(2);
    const seen = (await second).value as { offset: number }[];
    expect(seen.at(-1)?.offset).toBeLessThanOrEqual(durableOffset);
    await follower.return?.();
    await log.close();
  });

  it("follows over the border of segments that are sealed while it waits", async () => {
    const { log } = await openOn(new SimulatedDisk(2));
    const follower = log.follow(offset(2));
    const seen: number[] = [];
    for (const _ of span(1, 6)) {
      const waiting = follower.next();
      await appendMany(log, 25);
      seen.push(...offsetsOf((await waiting).value));
    }
    while (seen.length < 150) seen.push(...offsetsOf((await follower.next()).value));
    expect(seen).toEqual(span(2, 151));
    await follower.return?.();
    await log.close();
  });

  it("reads only when it is asked", async () => {
    const disk = new SimulatedDisk(3);
    const { log } = await openOn(disk);
    await appendMany(log, 100);
    const follower = log.follow(offset(1));
    await follower.next();
    await appendMany(log, 1);
    const reads = disk.counts.begun.get("read");
    await appendMany(log, 50);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(disk.counts.begun.get("read")).toBe(reads);
    await follower.return?.();
    await log.close();
  });

  it("answers several calls for the next batch in their order", async () => {
    const { log } = await openOn(new SimulatedDisk(4));
    await appendMany(log, 120);
    const follower = log.follow(offset(1));
    const batches = await Promise.all([follower.next(), follower.next(), follower.next()]);
    const offsets = batches.flatMap(({ value }) => offsetsOf(value));
    expect(offsets).toEqual(span(1, offsets.length));
    await follower.return?.();
    await log.close();
  });

  it("is told when what it wants next was removed by retention", async () => {
    const { log } = await openOn(new SimulatedDisk(5));
    await appendMany(log, 100);
    const follower = log.follow(offset(1));
    await follower.next();
    await log.retain(offset(90));
    await expect(follower.next()).rejects.toMatchObject({ code: "LOG_OFFSET_RETIRED" });
    expect(await follower.next()).toMatchObject({ done: true });
    await log.close();
  });

  it("refuses to begin further out than the end", async () => {
    const { log } = await openOn(new SimulatedDisk(6));
    await expect(log.follow(offset(3)).next()).rejects.toMatchObject({ code: "LOG_OFFSET_BEYOND_END" });
    await log.close();
    await expect(log.follow(offset(1)).next()).rejects.toMatchObject({ code: "LOG_CLOSED" });
    await expect(readAll(log)).rejects.toMatchObject({ code: "LOG_CLOSED" });
  });

  it("stops reading when its subscriber leaves, in the middle of a batch", async () => {
    const { log } = await openOn(new SimulatedDisk(7));
    await appendMany(log, 30);
    const seen: number[] = [];
    await new Promise<void>((resolve) => {
      const subscription = log.tail(at(1)).subscribe((record) => {
        seen.push(record.offset);
        if (seen.length < 5) return;
        subscription.unsubscribe();
        resolve();
      });
    });
    await appendMany(log, 30);
    expect(seen).toEqual(span(1, 5));
    await log.close();
  });

  it("tells an observer of damage instead of giving it out", async () => {
    const disk = new SimulatedDisk(8);
    const { log } = await openOn(disk);
    await appendMany(log, 3);
    disk.flip("/disk/log/00000000000000000001.log", 300, 1);
    const seen: number[] = [];
    const error = await new Promise<unknown>((resolve) => {
      log.tail(at(1)).subscribe({ next: ({ offset }) => seen.push(offset), error: resolve });
    });
    expect(error).toMatchObject({ code: "LOG_CORRUPT" });
    expect(seen).toEqual([1, 2]);
    await log.close();
  });

  it("starts over at the cut when the end that it has not read yet is cut off", async () => {
    const { log } = await openOn(new SimulatedDisk(9));
    await appendMany(log, 100);
    const follower = log.follow(offset(90));
    expect(offsetsOf((await follower.next()).value)[0]).toBe(90);
    const slow = log.follow(offset(40));
    await slow.next();
    await log.truncate(offset(95));
    log.append(textRecord("another 96"));
    await log.whenCommitted(log.endOffset);
    const rest: number[] = [];
    while (rest.at(-1) !== 96) rest.push(...offsetsOf((await slow.next()).value));
    expect(rest).toEqual(span(rest[0]!, 96));
    await slow.return?.();
    await follower.return?.();
    await log.close();
  });
});
