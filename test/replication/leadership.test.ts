import { describe, expect, it } from "vitest";
import { epoch } from "../../log/index.js";
import { seededRandom } from "../../props/run-settings.js";
import { SimulatedDisk } from "../../props/world/simulated-file-system.js";
import { HeardLeadership } from "../../replication/leadership.js";
import {
  decodeLeadership,
  encodeLeadership,
  LEADERSHIP_FILE,
  type LeadershipContent,
  LeadershipFile,
  NOTHING_HEARD,
  readLeadership,
} from "../../replication/leadership-file.js";
import { compareLeaderships, type Leadership } from "../../replication/leadership-order.js";
import type { PeerNote } from "../../replication/messages.js";

const DIRECTORY = "/disk";
const led = (number: number, digit = "a"): Leadership => ({
  epoch: epoch(number),
  lineageId: digit.repeat(32),
});

const NOTE: PeerNote = {
  nodeId: "0".repeat(32),
  name: "north",
  listen: { host: "10.0.0.1", port: 15_501 },
  http: "http://10.0.0.1:15500",
  since: 2,
  confirmed: 3,
};

const CONTENT: LeadershipContent = {
  heard: led(3),
  from: "north (00000000)",
  since: 1_800_000_000_000,
  primary: NOTE,
  list: { under: led(3), version: 3, nodes: [NOTE, { ...NOTE, nodeId: "1".repeat(32), listen: undefined }] },
  lived: "replica",
  owes: 12,
  nodeId: "9".repeat(32),
  told: {
    role: "replica",
    address: { host: "::1", port: 1 },
    settings: { role: "master", address: undefined },
  },
};

async function opened(disk: SimulatedDisk): Promise<LeadershipFile> {
  const file = new LeadershipFile(disk.mount(), DIRECTORY);
  await file.load();
  return file;
}

describe("leadership.json", () => {
  it("is read as it was written", () => {
    expect(decodeLeadership(encodeLeadership(CONTENT))).toEqual(CONTENT);
    expect(decodeLeadership(encodeLeadership(NOTHING_HEARD))).toEqual(NOTHING_HEARD);
  });

  it("looks as its description says", () => {
    const text = Buffer.from(
      encodeLeadership({ ...NOTHING_HEARD, heard: led(2, "b"), from: "x" }),
    ).toString();
    expect(text).toBe(
      `{"format":1,"heard":{"epoch":2,"lineageId":"${"b".repeat(32)}"},"from":"x","since":0,"list":{"version":0,"nodes":[]},"crc":"9bc57916"}\n`,
    );
  });

  it("is never believed with one bit changed, or an end missing", () => {
    const bytes = encodeLeadership(CONTENT);
    const random = seededRandom(1);
    for (let at = 0; at < bytes.length - 1; at++) {
      const damaged = Buffer.from(bytes);
      damaged[at] = damaged[at]! ^ (1 << Math.floor(random() * 8));
      expect(typeof decodeLeadership(damaged), `byte ${at}`).toBe("string");
      expect(typeof decodeLeadership(bytes.subarray(0, at)), `up to ${at}`).toBe("string");
    }
  });

  it("keeps a node from starting when it is damaged, or another release's", async () => {
    for (const [text, found] of [
      ["", "json"],
      ["null", "json"],
      [`{"format":1,"crc":"00000000"}`, "crc"],
      [" ".repeat(300_000), "length"],
    ] as const) {
      const disk = new SimulatedDisk(1);
      const files = disk.mount();
      await files.makeDirectory(DIRECTORY);
      const handle = await files.open(`${DIRECTORY}/${LEADERSHIP_FILE}`, "create");
      await handle.write(Buffer.from(text), 0);
      await handle.close();
      await expect(readLeadership(files, DIRECTORY)).rejects.toMatchObject({
        code: "REPLICATION_LEADERSHIP_DAMAGED",
        context: { file: `${DIRECTORY}/${LEADERSHIP_FILE}`, found },
      });
    }
  });
});

describe("the highest leadership", () => {
  it("is ordered by epoch, then by lineage", () => {
    const sorted = [led(2, "a"), led(10, "0"), led(2, "b"), led(1, "f")].sort(compareLeaderships);
    expect(sorted).toEqual([led(1, "f"), led(2, "a"), led(2, "b"), led(10, "0")]);
  });

  it("rises in the turn in which it is heard of, and is told to be durable only when it is", async () => {
    const disk = new SimulatedDisk(2, { syncTurnsMax: 5 });
    const heard = new HeardLeadership(await opened(disk), () => 5);
    const first = heard.raise(led(2), "x");
    expect(heard.highest).toEqual(led(2));
    // Heard again before it is durable: nobody may act upon it yet.
    const again = heard.raise(led(2), "y");
    expect(again).toBeDefined();
    await Promise.all([first, again]);
    expect((await readLeadership(disk.mount(), DIRECTORY)).heard).toEqual(led(2));
    expect(heard.raise(led(2), "z")).toBeUndefined();
    expect(heard.raise(led(1), "z")).toBeUndefined();
    expect([heard.highest, heard.from]).toEqual([led(2), "x"]);
  });

  it("is not taken for durable when it could not be written, and is written with the next word", async () => {
    const disk = new SimulatedDisk(3);
    const heard = new HeardLeadership(await opened(disk), () => 5);
    disk.arm({ type: "fail", kinds: new Set(["sync"]), at: 1, errno: "EIO", sticky: false });
    await expect(heard.raise(led(2), "x")).rejects.toMatchObject({ code: "REPLICATION_LOG_FAILED" });
    expect(heard.highest).toEqual(led(2));
    await heard.raise(led(2), "x");
    expect((await readLeadership(disk.mount(), DIRECTORY)).heard).toEqual(led(2));
  });

  it("survives a power cut at every step, once it was told to be durable", async () => {
    let ended = 0;
    for (let at = 1; at < 60; at++) {
      const disk = new SimulatedDisk(at);
      const heard = new HeardLeadership(await opened(disk), () => 5);
      await heard.raise(led(1), "x");
      const files = disk.mount();
      let durable = led(1);
      disk.arm({ type: "end", at, ending: "power" });
      const raising = (async () => {
        for (let number = 2; number < 6; number++) {
          await heard.raise(led(number), "x");
          durable = led(number);
        }
      })();
      await Promise.race([raising, disk.ended()]);
      if (files.alive) {
        disk.disarm();
        disk.losePower();
      } else ended++;
      const { heard: found } = await readLeadership(disk.mount(), DIRECTORY);
      expect(found, `ended at ${at}`).toBeDefined();
      expect(compareLeaderships(found!, durable), `ended at ${at}`).toBeGreaterThanOrEqual(0);
    }
    expect(ended).toBeGreaterThan(10);
  });

  it("forgets who led when it rises, and believes no other word than its own about it", async () => {
    const heard = new HeardLeadership(await opened(new SimulatedDisk(4)), () => 5);
    await heard.raise(led(2), "x");
    await heard.led(led(1), { ...NOTE, name: "old" });
    expect(heard.primary).toBeUndefined();
    await heard.led(led(2), NOTE);
    expect(heard.primary).toEqual(NOTE);
    await heard.raise(led(3), "x");
    expect(heard.primary).toBeUndefined();
  });
});
