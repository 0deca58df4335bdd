import { describe, expect, it } from "vitest";
import { BREAKER_FAILURES_MAX, Breaker, Breakers } from "../../replication/breaker.js";
import { ReplicationError, type ReplicationErrorCode } from "../../replication/errors.js";

const failure = (code: ReplicationErrorCode = "REPLICATION_RECORDS_REFUSED"): ReplicationError =>
  new ReplicationError(code, "it did not hold");

describe("a breaker", () => {
  it("opens after so many verification failures in a row, once", () => {
    const breaker = new Breaker("x", () => 7);
    const opened = Array.from({ length: BREAKER_FAILURES_MAX + 1 }, () => breaker.failed(failure()));
    expect(opened.indexOf(true)).toBe(BREAKER_FAILURES_MAX - 1);
    expect(opened.filter(Boolean)).toHaveLength(1);
    expect(breaker.stats()).toMatchObject({
      open: true,
      openedAt: 7,
      lastCode: "REPLICATION_RECORDS_REFUSED",
    });
  });

  it("does not count lost connections, nor failures with something sound between them", () => {
    const breaker = new Breaker("x", () => 7);
    for (let i = 0; i < 20; i++) {
      breaker.failed(failure("REPLICATION_CONNECTION_LOST"));
      breaker.failed(failure());
      breaker.progressed();
    }
    expect(breaker.isOpen).toBe(false);
  });

  it("stays open until somebody resets it, whatever comes", () => {
    const breakers = new Breakers(() => 7);
    const breaker = breakers.of("x");
    for (let i = 0; i < BREAKER_FAILURES_MAX; i++) breaker.failed(failure());
    breaker.progressed();
    breakers.of("y");
    expect(breakers.of("x")).toBe(breaker);
    expect(breakers.stats().map(({ id, open }) => [id, open])).toEqual([["x", true]]);
    expect([breakers.reset("y"), breakers.reset("x"), breakers.reset()]).toEqual([0, 1, 0]);
    expect(breaker.isOpen).toBe(false);
  });

  it("that damage of the own log tripped are reset when it is mended, and no others", () => {
    const breakers = new Breakers(() => 7);
    const mended = breakers.of("a");
    for (let i = 0; i < BREAKER_FAILURES_MAX; i++) mended.failed(failure("REPLICATION_LOG_DAMAGED"));
    const other = breakers.of("b");
    for (let i = 0; i < BREAKER_FAILURES_MAX; i++) other.failed(failure());
    expect(breakers.resetDamaged()).toBe(1);
    expect([mended.isOpen, other.isOpen]).toEqual([false, true]);
  });
});
