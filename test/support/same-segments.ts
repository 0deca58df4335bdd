/** Segment files of two nodes, compared byte for byte. */
import { expect } from "vitest";

/** The same records in the same bytes; what lies behind the last one is room for the next. */
export async function expectSameSegments(a: WithSegments, b: WithSegments): Promise<void> {
  const [left, right] = await Promise.all([a.segments(), b.segments()]);
  expect([...right.keys()]).toEqual([...left.keys()]);
  for (const [name, bytes] of left) {
    const other = right.get(name) ?? Buffer.alloc(0);
    const length = Math.min(bytes.length, other.length);
    expect(Buffer.compare(bytes.subarray(0, length), other.subarray(0, length)), name).toBe(0);
    const rest = bytes.length > length ? bytes.subarray(length) : other.subarray(length);
    expect(rest.every((byte) => byte === 0)).toBe(true);
  }
}

interface WithSegments {
  segments(): Promise<Map<string, Buffer>>;
}
