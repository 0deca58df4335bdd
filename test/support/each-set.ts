/** A set of nodes of its own for each test of a file: made before it, stopped after it. */
import { afterEach, beforeEach } from "vitest";
import type { ReplicationErrorCode } from "../../replication/errors.js";
import { type SetNode, SetWorld } from "./set-node.js";

export interface EachSet {
  /** That of the test that runs. */
  readonly world: SetWorld;
  /** The rest asks `world`, and its clock. */
  setOf(...names: readonly string[]): Promise<SetNode[]>;
  until(holds: () => boolean, what: string): Promise<void>;
  settled<T>(promise: Promise<T>, what: string): Promise<T>;
  codeOf(promise: Promise<unknown>): Promise<ReplicationErrorCode | "none">;
}

export function eachSet(): EachSet {
  let world = new SetWorld();
  beforeEach(() => {
    world = new SetWorld();
  });
  afterEach(() => world.stop());
  return {
    get world() {
      return world;
    },
    setOf: (...names) => world.setOf(...names),
    until: (holds, what) => world.clock.until(holds, what),
    settled: (promise, what) => world.clock.settled(promise, what),
    codeOf: (promise) => world.codeOf(promise),
  };
}
