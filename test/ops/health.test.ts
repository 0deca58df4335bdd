import { describe, expect, it } from "vitest";
import { offset } from "../../log/index.js";
import { Health } from "../../ops/health.js";

function makeHealth() {
  const archive = { detail: "up to offset 5", isFailing: false };
  const world = { nowMs: 0, full: false, archive };
  const log = { endOffset: offset(5), committedOffset: offset(5) };
  const health = new Health({
    stopwatch: () => world.nowMs,
    stalledWriteMs: 60_000,
    diskIsFull: () => world.full,
    diskFreeBytes: () => 1000,
    archive: () => world.archive,
  });
  return { world, log, health };
}

const ready = (health: Health): boolean => health.readiness().every(({ ok }) => ok);
const impaired = (health: Health): readonly string[] =>
  health.readiness().flatMap((check) => (check.impaired === true ? [check.name] : []));
const detail = (health: Health, name: string): string | undefined =>
  health.readiness().find((check) => check.name === name)?.detail;

describe("readiness", () => {
  it("comes when the replay is done, and tells how far it is before", () => {
    const { health } = makeHealth();
    expect(ready(health)).toBe(false);
    expect(detail(health, "replay")).toBe("checking the log");
    health.replaying(250, 1000);
    expect(detail(health, "replay")).toBe("offset 250 of 1000 (25 %)");
    expect(ready(health)).toBe(false);
    health.ready();
    expect(ready(health)).toBe(true);
  });

  it("goes with the order to stop, while requests are still served until the doors close", () => {
    const { health } = makeHealth();
    health.ready();
    health.leave();
    expect(ready(health)).toBe(false);
    expect(health.draining()).toBe(false);
    health.drain();
    expect(health.draining()).toBe(true);
  });

  it("goes when storage fails and never comes back", () => {
    const { health } = makeHealth();
    health.ready();
    health.fail("EIO");
    health.ready();
    health.leave();
    expect(ready(health)).toBe(false);
    expect(detail(health, "log")).toBe("EIO");
    expect(health.draining()).toBe(false);
  });

  it("goes while a write waits for the disk too long, says so, and comes back", () => {
    const { health, world, log } = makeHealth();
    health.ready();
    health.watch(log);
    health.sample();
    log.endOffset = offset(6);
    world.nowMs += 59_000;
    expect(ready(health)).toBe(true);
    world.nowMs += 1000;
    expect(ready(health)).toBe(false);
    expect(detail(health, "log")).toBe("a write has waited for the disk for 60 s");
    log.committedOffset = offset(6);
    expect(ready(health)).toBe(true);
  });

  it("stays while the disk is full, because reads go on, and says so", () => {
    const { health, world } = makeHealth();
    health.ready();
    world.full = true;
    expect(ready(health)).toBe(true);
    expect(detail(health, "disk")).toMatch(/writes are refused/);
    expect(impaired(health)).toEqual(["disk"]);
    world.full = false;
    expect(impaired(health)).toEqual([]);
  });

  it("stays while nothing can be archived, and says so", () => {
    const { health, world } = makeHealth();
    health.ready();
    world.archive = { detail: "nothing archived yet; failing: no answer", isFailing: true };
    expect(ready(health)).toBe(true);
    expect(detail(health, "archive")).toMatch(/no answer/);
    expect(impaired(health)).toEqual(["archive"]);
  });
});

describe("liveness", () => {
  it("holds during a long replay and on an idle log", () => {
    const { health, world, log } = makeHealth();
    health.replaying(0, 10);
    health.watch(log);
    world.nowMs = 10_000_000;
    health.sample();
    expect(health.live()).toBe(true);
  });

  it("ends when a write waits for the disk too long, and not when commits move on", () => {
    const { health, world, log } = makeHealth();
    health.watch(log);
    health.sample();
    log.endOffset = offset(9);
    for (let second = 0; second < 59; second++) {
      world.nowMs += 1000;
      health.sample();
    }
    expect(health.live()).toBe(true);
    world.nowMs += 1000;
    expect(health.live()).toBe(false);
    log.committedOffset = offset(6);
    health.sample();
    expect(health.live()).toBe(true);
  });
});
