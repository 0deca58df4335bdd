// The answers that are kept take no more than they may, and the oldest go first.
import { describe, expect, it } from "vitest";
import { offset } from "../../log/index.js";
import { IdempotencyState } from "../../projections/idempotency/state.js";

const NOW = 1_000;

/** `keep` notes an answer with a body of so many characters, at the next offset. */
function stateOf(rules: { readonly answersMax?: number; readonly bytesMax?: number }) {
  const state = new IdempotencyState({ windowMs: 100, answersMax: 1_000, bytesMax: 1 << 20, ...rules });
  let last = 0;
  const keep = (key: string, length: number, at = NOW): void => {
    last += 1;
    const answer = { status: 200, revision: undefined, body: "x".repeat(length), expiresAt: at + 100 };
    state.put(
      { type: "idempotency.answered", key, fingerprint: new Uint8Array(32), ...answer },
      offset(last),
      at,
    );
  };
  const kept = (...keys: string[]): string[] => keys.filter((key) => state.get(key, NOW) !== undefined);
  return { state, keep, kept };
}

describe("kept answers", () => {
  it("that together take too many bytes make room, the oldest first", () => {
    const { state, keep, kept } = stateOf({ bytesMax: 100_000 });
    keep("a", 10_000);
    keep("b", 10_000);
    keep("c", 20_000);
    expect(kept("a", "b", "c")).toEqual(["a", "b", "c"]);
    keep("d", 25_000);
    expect(kept("a", "b", "c", "d")).toEqual(["c", "d"]);
    expect(state.bytes).toBeLessThanOrEqual(100_000);
  });

  it("are charged once for a key that is used again, and nothing when all are gone", () => {
    const { state, keep, kept } = stateOf({ answersMax: 2 });
    keep("a", 100);
    const one = state.bytes;
    keep("a", 100);
    expect([state.size, state.bytes]).toEqual([1, one]);
    keep("b", 100);
    keep("a", 50);
    keep("c", 0);
    // "a" was used again after "b", so it is the newer one.
    expect(kept("a", "b", "c")).toEqual(["a", "c"]);
    keep("d", 0, NOW + 1_000);
    expect([state.size, state.get("d", NOW + 1_000)?.offset]).toEqual([1, 6]);
  });

  it("hold no answer that is larger than all may be together, and lose none for it", () => {
    const { state, keep, kept } = stateOf({ bytesMax: 1_000 });
    keep("a", 10);
    const { bytes } = state;
    keep("b", 10_000);
    expect([kept("a", "b"), state.bytes]).toEqual([["a"], bytes]);
    keep("a", 10_000);
    expect([kept("a", "b"), state.size, state.bytes]).toEqual([[], 0, 0]);
  });
});
