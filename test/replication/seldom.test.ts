import { describe, expect, it } from "vitest";
import { Seldom } from "../../replication/seldom.js";

describe("what strangers do", () => {
  it("is told once in ten seconds for each kind, with how much was passed over, however many kinds there are", () => {
    let now = 0;
    const seldom = new Seldom(() => now);
    const told: [string, number][] = [];
    const tell = (kind: string): void => seldom.tell(kind, (untold) => told.push([kind, untold]));
    for (const kind of ["a", "a", "b", "a"]) tell(kind);
    now = 9_999;
    tell("a");
    now = 10_000;
    for (const kind of ["a", "a", "b"]) tell(kind);
    expect(told).toEqual([
      ["a", 0],
      ["b", 0],
      ["a", 3],
      ["b", 0],
    ]);
    for (let kind = 0; kind < 1000; kind += 1) tell(String(kind));
    expect(told.length).toBe(4 + 62);
  });
});
