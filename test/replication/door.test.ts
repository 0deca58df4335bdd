/** What an operator finds in the log of the node that was dialled. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { addressOf, SetWorld } from "../support/set-node.js";

let world: SetWorld;
beforeEach(() => {
  world = new SetWorld();
});
afterEach(() => world.stop());

it("who follows is told of, and why somebody is not let in, but not of each that tries", async () => {
  const one = world.add("a", { secrets: () => [Buffer.from("open sesame")] });
  await one.start();
  const two = world.add("b", { secrets: () => [Buffer.from("open sesame")] });
  await two.start({ role: "replica", masterAddress: addressOf("a") });
  await world.clock.until(() => two.end > 0, "it follows");
  expect(one.words).toContain("b follows this node");

  const stranger = world.add("c", { reconnectDelayMs: 100 });
  await stranger.start({ role: "replica", masterAddress: addressOf("a") });
  const refused = () => one.words.filter((words) => /was not let in: .*secret/.test(words)).length;
  await world.clock.until(() => (stranger.node.stats().counters.reconnects ?? 0) > 4, "it has tried often");
  expect(refused()).toBe(1);

  await two.stop();
  await world.clock.until(
    () => one.words.some((words) => words.startsWith("b follows this node no longer")),
    "that it went is told, too",
  );
});
