/** The tester, tested: each fault of the simulated disk does what it says, and only that. */
import { describe, expect, test } from "vitest";
import { errnoOf, type FileHandle, type FileSystem, readWholeFile } from "../../log/index.js";
import type { OperationKind } from "../../props/world/operations.js";
import { SECTOR_BYTES } from "../../props/world/simulated-file.js";
import { SimulatedDisk, type SimulatedMount } from "../../props/world/simulated-file-system.js";

const PAGE = 4096;
const filled = (length: number, byte: number): Uint8Array => new Uint8Array(length).fill(byte);

async function createFile(files: FileSystem, path: string, content: Uint8Array): Promise<FileHandle> {
  const handle = await files.open(path, "create");
  if (content.length > 0) await handle.write(content, 0);
  await handle.sync();
  await files.syncDirectory(path.slice(0, path.lastIndexOf("/")));
  return handle;
}

const read = (files: FileSystem, path: string): Promise<Uint8Array> => readWholeFile(files, path, 1 << 20);

/** Runs a scenario on many seeds and collects what was found after a power cut, as distinct texts. */
async function outcomes(
  runs: number,
  scenario: (files: SimulatedMount, disk: SimulatedDisk) => Promise<unknown>,
  look: (files: SimulatedMount) => Promise<string>,
  ending: "power" | "kill" = "power",
): Promise<Set<string>> {
  const seen = new Set<string>();
  for (let seed = 1; seed <= runs; seed += 1) {
    const disk = new SimulatedDisk(seed);
    const files = disk.mount();
    await files.makeDirectory("/d");
    await scenario(files, disk);
    if (ending === "power") disk.losePower();
    else disk.kill();
    disk.disarm();
    seen.add(await look(disk.mount()));
  }
  return seen;
}

const names = async (files: FileSystem): Promise<string> => (await files.list("/d")).join(",");

describe("power cuts › data", () => {
  test("what was synced survives, whatever else is lost", async () => {
    const seen = await outcomes(
      200,
      async (files) => {
        const handle = await createFile(files, "/d/a", filled(3 * PAGE, 1));
        await handle.write(filled(PAGE, 2), 2 * PAGE);
      },
      async (files) => String((await read(files, "/d/a")).subarray(0, 2 * PAGE).every((byte) => byte === 1)),
    );
    expect([...seen]).toEqual(["true"]);
  });

  test("un-synced pages survive in any combination, an earlier one lost and a later one kept included", async () => {
    const seen = await outcomes(
      600,
      async (files) => {
        const handle = await createFile(files, "/d/a", filled(3 * PAGE, 0));
        for (const page of [0, 1, 2]) await handle.write(filled(PAGE, 1), page * PAGE);
      },
      async (files) => {
        const bytes = await read(files, "/d/a");
        return [0, 1, 2].map((page) => pageState(bytes.subarray(page * PAGE, (page + 1) * PAGE))).join("");
      },
    );
    for (const expected of ["000", "111", "001", "100", "101", "010"]) expect(seen).toContain(expected);
    expect([...seen].some((state) => state.includes("t"))).toBe(true);
  });

  test("a page is torn only at sectors", async () => {
    const seen = await outcomes(
      400,
      async (files) => {
        const handle = await createFile(files, "/d/a", filled(PAGE, 0));
        await handle.write(filled(PAGE, 1), 0);
      },
      async (files) => {
        const bytes = await read(files, "/d/a");
        const sectors = Array.from({ length: 8 }, (_, index) =>
          pageState(bytes.subarray(index * SECTOR_BYTES, (index + 1) * SECTOR_BYTES)),
        );
        return sectors.join("");
      },
    );
    expect([...seen].every((sectors) => /^[01]{8}$/.test(sectors))).toBe(true);
    expect(seen.size).toBeGreaterThan(10);
  });

  test("each version that a page went through may be the one on the disk", async () => {
    const seen = await outcomes(
      300,
      async (files) => {
        const handle = await createFile(files, "/d/a", filled(10, 0));
        for (const version of [1, 2, 3]) await handle.write(filled(10, version), 0);
      },
      async (files) => String((await read(files, "/d/a"))[0]),
    );
    expect([...seen].sort()).toEqual(["0", "1", "2", "3"]);
  });

  test("an un-synced size may be lost, and a size without its data reads zeros", async () => {
    const seen = await outcomes(
      300,
      async (files) => {
        const handle = await createFile(files, "/d/a", filled(10, 1));
        await handle.write(filled(PAGE, 2), PAGE);
      },
      async (files) => {
        const bytes = await read(files, "/d/a");
        return `${bytes.length} ${bytes.at(-1)}`;
      },
    );
    expect(seen).toContain("10 1");
    expect(seen).toContain(`${2 * PAGE} 0`);
    expect(seen).toContain(`${2 * PAGE} 2`);
  });

  test("a synced write makes its own page durable and no other", async () => {
    const seen = await outcomes(
      300,
      async (files) => {
        await createFile(files, "/d/a", filled(2 * PAGE, 0));
        const handle = await files.open("/d/a", "write", { syncOnWrite: true });
        handle.writeNow(filled(100, 1), PAGE);
        await handle.write(filled(100, 2), 0);
      },
      async (files) => {
        const bytes = await read(files, "/d/a");
        return `${bytes[0]}${bytes[PAGE]}`;
      },
    );
    expect([...seen].sort()).toEqual(["20", "21"]);
  });

  test("a synced write in flight reaches the disk in part", async () => {
    let flying: Promise<void> | undefined;
    const seen = await outcomes(
      400,
      async (files) => {
        await createFile(files, "/d/a", filled(2 * PAGE, 0));
        const handle = await files.open("/d/a", "write", { syncOnWrite: true });
        flying = handle.write(filled(2 * PAGE, 1), 0);
      },
      async (files) => {
        const bytes = await read(files, "/d/a");
        return [0, 1].map((page) => pageState(bytes.subarray(page * PAGE, (page + 1) * PAGE))).join("");
      },
    );
    expect(flying).toBeDefined();
    for (const expected of ["00", "11", "01", "10", "t0", "0t"]) expect(seen).toContain(expected);
  });

  test("an un-synced cut may come back, with the old bytes or without, and a synced one never", async () => {
    const cut = async (files: FileSystem, synced: boolean): Promise<void> => {
      const handle = await createFile(files, "/d/a", filled(3 * PAGE, 1));
      await handle.truncate(100);
      if (synced) await handle.sync();
    };
    const look = async (files: FileSystem): Promise<string> => {
      const bytes = await read(files, "/d/a");
      return `${bytes.length} ${bytes.at(-1)}`;
    };
    const unsynced = await outcomes(300, (files) => cut(files, false), look);
    expect([...unsynced].sort()).toEqual(["100 1", `${3 * PAGE} 1`]);
    expect([...(await outcomes(100, (files) => cut(files, true), look))]).toEqual(["100 1"]);
  });

  test("what lies behind a cut never shows again when the file grows", async () => {
    const seen = await outcomes(
      300,
      async (files) => {
        const handle = await createFile(files, "/d/a", filled(2 * PAGE, 7));
        await handle.truncate(PAGE);
        await handle.truncate(2 * PAGE);
        await handle.sync();
      },
      async (files) => String((await read(files, "/d/a"))[PAGE + 5]),
    );
    expect([...seen]).toEqual(["0"]);
  });
});

describe("power cuts › names", () => {
  test("a new file is lost without a sync of its directory, even if the file was synced", async () => {
    const seen = await outcomes(
      100,
      async (files) => {
        const handle = await files.open("/d/a", "create");
        await handle.write(filled(10, 1), 0);
        await handle.sync();
      },
      names,
    );
    expect([...seen].sort()).toEqual(["", "a"]);
  });

  test("with a sync of its directory the name is there, and the un-synced content need not be", async () => {
    const seen = await outcomes(
      200,
      async (files) => {
        const handle = await files.open("/d/a", "create");
        await handle.write(filled(10, 1), 0);
        await files.syncDirectory("/d");
      },
      async (files) => `${await names(files)}:${(await read(files, "/d/a")).length}`,
    );
    expect([...seen].sort()).toEqual(["a:0", "a:10"]);
  });

  test("an un-synced rename is there whole or not at all", async () => {
    const seen = await outcomes(
      200,
      async (files) => {
        await createFile(files, "/d/old", filled(1, 1));
        await createFile(files, "/d/new", filled(1, 2));
        await files.rename("/d/new", "/d/old");
      },
      async (files) => `${await names(files)}:${(await read(files, "/d/old"))[0]}`,
    );
    expect([...seen].sort()).toEqual(["new,old:1", "old:2"]);
  });

  test("an un-synced removal may come back", async () => {
    const seen = await outcomes(
      100,
      async (files) => {
        await createFile(files, "/d/a", filled(1, 1));
        await files.remove("/d/a");
      },
      names,
    );
    expect([...seen].sort()).toEqual(["", "a"]);
  });

  test("changes of different names survive in any combination, those of one name in order", async () => {
    const seen = await outcomes(
      400,
      async (files) => {
        await files.open("/d/a", "create");
        await files.open("/d/b", "create");
        await files.rename("/d/b", "/d/c");
      },
      names,
    );
    expect([...seen].sort()).toEqual(["", "a", "a,b", "a,c", "b", "c"]);
  });

  test("directories made by makeDirectory are durable", async () => {
    const seen = await outcomes(
      50,
      (files) => files.makeDirectory("/d/x/y"),
      async (files) => String(await files.exists("/d/x/y")),
    );
    expect([...seen]).toEqual(["true"]);
  });
});

describe("making directories", () => {
  test("a kill in the middle leaves a name that a power cut takes, unless the next process asks again", async () => {
    const seen = new Set<string>();
    for (let seed = 1; seed <= 400; seed += 1) {
      const disk = new SimulatedDisk(seed);
      disk.arm({ type: "end", at: 1, ending: "kill" });
      void disk.mount().makeDirectory("/x/y");
      await disk.ended();
      const asked = seed % 2 === 0;
      if (asked) await disk.mount().makeDirectory("/x/y");
      const before = await disk.mount().exists("/x/y");
      disk.losePower();
      const after = await disk.mount().exists("/x/y");
      seen.add(`${asked ? "asked" : "found"}: ${before} ${after}`);
    }
    expect([...seen].sort()).toEqual([
      "asked: true true",
      "found: false false",
      "found: true false",
      "found: true true",
    ]);
  });
});

describe("kill -9", () => {
  test("keeps everything that a finished operation did, synced or not", async () => {
    const seen = await outcomes(
      100,
      async (files) => {
        const handle = await files.open("/d/a", "create");
        await handle.write(filled(3 * PAGE, 1), 0);
        await files.rename("/d/a", "/d/b");
      },
      async (files) => `${await names(files)}:${(await read(files, "/d/b")).length}`,
      "kill",
    );
    expect([...seen]).toEqual([`b:${3 * PAGE}`]);
  });

  test("ends the process: what it awaits never settles, what it still does changes nothing, its locks are free", async () => {
    const disk = new SimulatedDisk(1);
    const files = disk.mount();
    await files.makeDirectory("/d");
    await files.lock("/d/LOCK", "first");
    const handle = await createFile(files, "/d/a", filled(4, 1));
    const down = disk.ended();
    let settled = false;
    const settle = (): void => {
      settled = true;
    };
    disk.kill();
    await down;
    void handle.write(filled(4, 2), 0).then(settle, settle);
    void files.list("/d").then(settle, settle);
    handle.writeNow(filled(4, 3), 0);
    const after = disk.mount();
    expect([files.alive, after.alive]).toEqual([false, true]);
    await after.lock("/d/LOCK", "second");
    expect([...(await read(after, "/d/a"))]).toEqual([1, 1, 1, 1]);
    expect(settled).toBe(false);
  });
});

describe("injected faults", () => {
  test("the process ends in exactly the operation that was asked for", async () => {
    for (const ending of ["power", "kill"] as const)
      for (let at = 1; at <= 5; at += 1) {
        const disk = new SimulatedDisk(at);
        disk.arm({ type: "end", at, ending });
        const files = disk.mount();
        let finished = 0;
        const scenario = async (): Promise<void> => {
          for (let index = 0; index < 5; index += 1) {
            await files.exists("/");
            finished += 1;
          }
        };
        await Promise.race([scenario(), disk.ended()]);
        expect([finished, disk.counts.ends, files.alive]).toEqual([at - 1, 1, false]);
      }
  });

  test("one failure is one, a sticky one stays, and both are counted", async () => {
    for (const sticky of [false, true]) {
      const disk = new SimulatedDisk(3);
      const files = disk.mount();
      await files.makeDirectory("/d");
      const handle = await createFile(files, "/d/a", filled(1, 1));
      disk.arm({ type: "fail", at: 2, errno: "EIO", sticky });
      const met: (string | undefined)[] = [];
      for (let index = 0; index < 4; index += 1)
        met.push(await handle.write(filled(1, 2), 0).then(() => undefined, errnoOf));
      expect(met).toEqual([undefined, "EIO", sticky ? "EIO" : undefined, sticky ? "EIO" : undefined]);
      expect(disk.counts.failures).toBe(sticky ? 3 : 1);
      disk.disarm();
      await handle.write(filled(1, 4), 0);
    }
  });

  test("only operations of the named kinds count and fail", async () => {
    const disk = new SimulatedDisk(3);
    const files = disk.mount();
    await files.makeDirectory("/d");
    const kinds = new Set<OperationKind>(["sync"]);
    disk.arm({ type: "fail", at: 1, errno: "EIO", sticky: true, kinds });
    const handle = await files.open("/d/a", "create");
    await handle.write(filled(10, 1), 0);
    expect(await handle.sync().then(() => undefined, errnoOf)).toBe("EIO");
    expect(await handle.size()).toBe(10);
  });

  test("after a failed sync the next one succeeds and proves nothing", async () => {
    const seen = await outcomes(
      100,
      async (files, disk) => {
        const handle = await createFile(files, "/d/a", filled(PAGE, 1));
        await handle.write(filled(PAGE, 2), 0);
        disk.arm({ type: "fail", at: 1, errno: "EIO", sticky: false });
        expect(await handle.sync().then(() => undefined, errnoOf)).toBe("EIO");
        await handle.sync();
      },
      async (files) => String((await read(files, "/d/a"))[0]),
    );
    expect([...seen].sort()).toEqual(["1", "2"]);
  });

  test("a failed synced write may lie in the cache and not on the disk; a kill may let it be forgotten", async () => {
    for (const ending of ["power", "kill"] as const) {
      const seen = await outcomes(
        200,
        async (files, disk) => {
          await createFile(files, "/d/a", filled(PAGE, 1));
          const handle = await files.open("/d/a", "write", { syncOnWrite: true });
          disk.arm({ type: "fail", at: 1, errno: "EIO", sticky: false });
          expect(await handle.write(filled(PAGE, 2), 0).then(() => undefined, errnoOf)).toBe("EIO");
        },
        async (files) => String((await read(files, "/d/a"))[0]),
        ending,
      );
      expect([...seen].sort()).toEqual(["1", "2"]);
    }
  });

  test("a full disk takes what fits, says ENOSPC and how little is free, and takes writes again after space is freed", async () => {
    const disk = new SimulatedDisk(5, { capacityBytes: 4 * PAGE });
    const files = disk.mount();
    await files.makeDirectory("/d");
    const handle = await files.open("/d/a", "create");
    await handle.write(filled(3 * PAGE, 1), 0);
    expect(await files.freeBytes("/d")).toBe(PAGE);
    expect(await handle.write(filled(2 * PAGE, 2), 3 * PAGE).then(() => undefined, errnoOf)).toBe("ENOSPC");
    expect(await handle.size()).toBe(4 * PAGE);
    expect(await files.freeBytes("/d")).toBe(0);
    await handle.write(filled(PAGE, 3), 0);
    await handle.truncate(PAGE);
    expect(await files.freeBytes("/d")).toBe(3 * PAGE);
    disk.capacityBytes = 2 * PAGE;
    await handle.write(filled(PAGE, 4), PAGE);
    expect(await handle.write(filled(PAGE, 4), 2 * PAGE).then(() => undefined, errnoOf)).toBe("ENOSPC");
  });

  test("a flipped byte is on the disk and nothing else is", async () => {
    const disk = new SimulatedDisk(6);
    const files = disk.mount();
    await files.makeDirectory("/d");
    await createFile(files, "/d/a", filled(8, 0));
    disk.flip("/d/a", 3, 0x10);
    disk.losePower();
    expect([...(await read(disk.mount(), "/d/a"))]).toEqual([0, 0, 0, 16, 0, 0, 0, 0]);
  });
});

describe("order and seed", () => {
  test("operations issued together complete in any order, those awaited in theirs", async () => {
    const orders = new Set<string>();
    for (let seed = 1; seed <= 100; seed += 1) {
      const files = new SimulatedDisk(seed).mount();
      const order: number[] = [];
      await Promise.all([1, 2, 3].map(async (index) => files.exists("/").then(() => order.push(index))));
      orders.add(order.join(""));
    }
    expect(orders.size).toBe(6);
  });

  test("one seed gives one world", async () => {
    const world = async (seed: number): Promise<string> => {
      const disk = new SimulatedDisk(seed);
      const files = disk.mount();
      await files.makeDirectory("/d");
      const handle = await createFile(files, "/d/a", filled(20 * PAGE, 1));
      await handle.write(filled(20 * PAGE, 2), 0);
      disk.losePower();
      return Buffer.from(await read(disk.mount(), "/d/a")).toString("latin1");
    };
    expect(await world(7)).toBe(await world(7));
    expect(await world(7)).not.toBe(await world(8));
  });

  test("slow syncs let other operations pass", async () => {
    const disk = new SimulatedDisk(9, { syncTurnsMax: 50 });
    const files = disk.mount();
    await files.makeDirectory("/d");
    const handle = await files.open("/d/a", "create");
    let passed = 0;
    let synced = false;
    const sync = handle.sync().then(() => {
      synced = true;
    });
    while (!synced) {
      await files.exists("/d");
      passed += 1;
    }
    await sync;
    expect(passed).toBeGreaterThan(3);
  });
});

/** "0" or "1" when every byte is, "t" when both occur. */
function pageState(bytes: Uint8Array): string {
  const values = new Set(bytes);
  return values.size === 1 ? String([...values][0]) : "t";
}
