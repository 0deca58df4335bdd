/** Records that are asked for from the disk of another node: who gets them, and what is refused. */
import { setImmediate } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { beforeEach, describe, expect, it } from "vitest";
import { epoch, LogError, offset } from "../../log/index.js";
import { Borrowing } from "../../replication/borrowing.js";
import { Mender } from "../../replication/mender.js";
import type { Run } from "../../replication/messages.js";
import type { ConnectionHandlers, Network } from "../../replication/ports.js";
import { LinkNodeDouble } from "../support/link-node.js";
import { primaryWith, replicaOf, type WithPrimary } from "../support/link-world.js";
import { DISK_LOG, segmentFile } from "../support/test-log.js";

let set: WithPrimary;
let replica: LinkNodeDouble;

beforeEach(async () => {
  set = await primaryWith(120);
  replica = await replicaOf(set);
});

const settled = <T>(promise: Promise<T>): Promise<T> => set.world.clock.settled(promise, "it was answered");

const open = (from = replica): Promise<Borrowing> =>
  settled(Borrowing.open({ address: set.address, network: set.world.network, context: from.context }));

const sealed = () => set.primary.logSegments()!.list();
const ignore = async (): Promise<void> => undefined;

describe("a node that lends", () => {
  it("sends whole segments as they lie on its disk, one after the other, and says where they end", async () => {
    const borrowing = await open();
    for (const { first, last, bytes } of sealed()) {
      const runs: Run[] = [];
      await settled(borrowing.fetch(first, last, async (run) => void runs.push(run)));
      expect(runs[0]).toMatchObject({ startsSegment: true, header: { baseOffset: first } });
      expect(runs.reduce((sum, run) => sum + run.bytes.length, 104)).toBe(bytes);
      expect(await settled(borrowing.check(first, last))).toEqual(
        await set.primary.required.positionAt(last),
      );
    }
    await borrowing.close();
  });

  it("says where any records end, also where its own segments lie otherwise", async () => {
    const borrowing = await open();
    const [first, last] = [offset(sealed()[0]!.first + 3), offset(sealed()[2]!.last - 2)];
    expect(await settled(borrowing.check(first, last))).toEqual(await set.primary.required.positionAt(last));
  });

  it("reads from its disk, not from what it remembers: damage is named and not sent", async () => {
    const { first, last } = sealed()[1]!;
    set.primary.disk.flip(`${DISK_LOG}/${segmentFile(first)}`, 300, 1);
    await expect(settled((await open()).check(first, last))).rejects.toMatchObject({
      code: "REPLICATION_LOG_DAMAGED",
    });
    let sent = 0;
    const fetched = (await open()).fetch(first, last, async ({ bytes }) => {
      sent += bytes.length;
    });
    await expect(settled(fetched)).rejects.toMatchObject({ code: "REPLICATION_LOG_DAMAGED" });
    expect(sent).toBeLessThan(300);
  });

  it("refuses what retention took, and what it does not have", async () => {
    const [{ first, last }, second] = [sealed()[0]!, sealed()[1]!];
    await set.primary.required.retain(second.first);
    const gone = (await open()).fetch(first, last, ignore);
    await expect(settled(gone)).rejects.toMatchObject({ code: "REPLICATION_RECORDS_RETIRED" });
    const beyond = (await open()).check(offset(1), offset(10_000));
    await expect(settled(beyond)).rejects.toMatchObject({ code: "REPLICATION_NOT_READY" });
  });

  it("lends nothing any more once it has heard of a higher leadership", async () => {
    const borrowing = await open();
    const { first, last } = sealed()[1]!;
    void set.primary.onHeard({ epoch: epoch(9), lineageId: "ab".repeat(16) });
    await expect(settled(borrowing.fetch(first, last, ignore))).rejects.toMatchObject({
      code: "REPLICATION_FENCED",
    });
    await expect(settled((await open()).check(first, last))).rejects.toMatchObject({
      code: "REPLICATION_FENCED",
    });
  });

  it("lends to so many at once, and to others when one has ended", async () => {
    const borrowings: Borrowing[] = [];
    for (let i = 0; i < 8; i++) borrowings.push(await open(new LinkNodeDouble(set.world)));
    const ninth = await open(new LinkNodeDouble(set.world))
      .then((borrowing) => settled(borrowing.check(offset(1), offset(1))))
      .catch((error: { code: string }) => error.code);
    expect(ninth).toBe("REPLICATION_TOO_MANY_CONNECTIONS");
    await settled(borrowings[0]!.close());
    const { first, last } = sealed()[1]!;
    expect((await settled((await open()).check(first, last))).offset).toBe(last);
  });

  it("is given up when it does not answer, though it goes on saying that it lives", async () => {
    const borrowing = await open();
    const { first, last } = sealed()[1]!;
    set.primary.logSegments()!.check = () => new Promise(() => undefined);
    await expect(settled(borrowing.check(first, last))).rejects.toMatchObject({
      code: "REPLICATION_TIMEOUT",
    });
  });
});

describe("who takes what is lent", () => {
  it("ends the conversation when it does not hold, and both sides know why", async () => {
    const borrowing = await open();
    const { first, last } = sealed()[1]!;
    const bad = new LogError("LOG_RECORD_BAD", "it does not hold");
    const fetched = borrowing.fetch(first, last, () => Promise.reject(bad));
    await expect(settled(fetched)).rejects.toMatchObject({ code: "REPLICATION_RECORDS_REFUSED" });
    await expect(settled(borrowing.check(first, last))).rejects.toMatchObject({
      code: "REPLICATION_RECORDS_REFUSED",
    });
  });
});

describe("who asks again and again", () => {
  it("keeps nothing of a conversation that is over", async () => {
    const sessions: WeakRef<ConnectionHandlers>[] = [];
    const { network } = set.world;
    const watched: Network = {
      listen: () => Promise.reject(new Error("it only dials")),
      connect: (address, handlers) => {
        sessions.push(new WeakRef(handlers));
        return network.connect(address, handlers);
      },
    };
    const mender = new Mender({ network: watched, link: replica.context, lenders: () => [set.address] });
    const { first, last } = sealed()[1]!;
    for (let i = 0; i < 5; i++) expect((await settled(mender.endThere(first, last))).offset).toBe(last);
    network.cutAll();
    await collected();
    expect(sessions.filter((session) => session.deref() !== undefined)).toEqual([]);
    await mender.stop();
  });
});

/** Whatever nobody holds is gone when it resolves. */
async function collected(): Promise<void> {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  // What a turn has looked at stays to its end.
  for (let turn = 0; turn < 5; turn++) {
    await setImmediate();
    collect();
  }
}
