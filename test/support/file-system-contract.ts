/**
 * What every implementation of the log's `FileSystem` must do, as far as a living process can see. What a power cut takes
 * is the simulated disk's own matter (`test/world/simulated-disk.test.ts`).
 */
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  errnoOf,
  type FileSystem,
  LockHeldError,
  type OpenMode,
  readWholeFile,
  replaceFile,
} from "../../log/index.js";

export interface FileSystemUnderTest {
  readonly files: FileSystem;
  /** An existing, empty directory. */
  readonly directory: string;
  readonly dispose: () => Promise<void>;
}

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

/** The errno that a call fails with, or what it gave back. */
async function outcomeOf(call: Promise<unknown>): Promise<unknown> {
  try {
    return await call;
  } catch (error) {
    return errnoOf(error) ?? error;
  }
}

export function describeFileSystem(name: string, create: () => Promise<FileSystemUnderTest>): void {
  describe(`file system contract, ${name}`, () => {
    let files: FileSystem;
    let directory: string;
    let dispose: () => Promise<void>;

    beforeEach(async () => {
      ({ files, directory, dispose } = await create());
    });
    afterEach(() => dispose());

    const put = async (path: string, text: string, mode: OpenMode = "create"): Promise<void> => {
      const handle = await files.open(path, mode);
      await handle.write(bytesOf(text), 0);
      await handle.sync();
      await handle.close();
    };
    const get = async (path: string): Promise<string> => textOf(await readWholeFile(files, path, 1_000_000));

    describe("files", () => {
      test("a created file reads back what was written, at any position", async () => {
        const handle = await files.open(`${directory}/a`, "create");
        await handle.write(bytesOf("hello world"), 0);
        await handle.write(bytesOf("WORLD"), 6);
        const into = new Uint8Array(5);
        expect(await handle.read(into, 6)).toBe(5);
        expect(textOf(into)).toBe("WORLD");
        await handle.close();
        expect(await get(`${directory}/a`)).toBe("hello WORLD");
      });

      test("a read across the end gives what is there, and 0 beyond it", async () => {
        await put(`${directory}/a`, "0123456789");
        const handle = await files.open(`${directory}/a`, "read");
        const into = new Uint8Array(8).fill(0xff);
        expect(await handle.read(into, 7)).toBe(3);
        expect([...into]).toEqual([55, 56, 57, 255, 255, 255, 255, 255]);
        expect(await handle.read(into, 10)).toBe(0);
        expect(await handle.read(into, 5000)).toBe(0);
        await handle.close();
      });

      test("a gap left by a write reads as zeros", async () => {
        const handle = await files.open(`${directory}/a`, "create");
        await handle.write(bytesOf("x"), 9000);
        expect(await handle.size()).toBe(9001);
        const into = new Uint8Array(9000).fill(1);
        expect(await handle.read(into, 0)).toBe(9000);
        expect(into.every((byte) => byte === 0)).toBe(true);
        await handle.close();
      });

      test("truncate cuts, and what it extends again reads as zeros", async () => {
        await put(`${directory}/a`, "abcdefgh");
        const handle = await files.open(`${directory}/a`, "write");
        await handle.truncate(3);
        expect(await handle.size()).toBe(3);
        await handle.truncate(6);
        await handle.close();
        expect(await get(`${directory}/a`)).toBe("abc\0\0\0");
      });

      test("two handles of one file see each other's writes at once", async () => {
        const writer = await files.open(`${directory}/a`, "create");
        const reader = await files.open(`${directory}/a`, "read");
        writer.writeNow(bytesOf("now"), 0);
        const into = new Uint8Array(3);
        expect(await reader.read(into, 0)).toBe(3);
        expect(textOf(into)).toBe("now");
        await reader.close();
        await writer.close();
      });

      test("a file opened with syncOnWrite takes writes, reads and truncates like any other", async () => {
        await put(`${directory}/a`, "....");
        const handle = await files.open(`${directory}/a`, "write", { syncOnWrite: true });
        await handle.write(bytesOf("sync"), 0);
        await handle.truncate(2);
        await handle.close();
        expect(await get(`${directory}/a`)).toBe("sy");
      });

      test("writes that are in flight together all arrive", async () => {
        const handle = await files.open(`${directory}/a`, "create");
        const block = 5000;
        const writes = Array.from({ length: 8 }, (_, index) =>
          handle.write(new Uint8Array(block).fill(index + 1), index * block),
        );
        await Promise.all([...writes, handle.sync()]);
        const whole = await readWholeFile(files, `${directory}/a`, 8 * block);
        for (let index = 0; index < 8; index += 1)
          expect(whole.subarray(index * block, (index + 1) * block).every((byte) => byte === index + 1)).toBe(
            true,
          );
        await handle.close();
      });

      test("opening refuses what is not there, and creating what is", async () => {
        await put(`${directory}/a`, "kept");
        expect(await outcomeOf(files.open(`${directory}/none`, "read"))).toBe("ENOENT");
        expect(await outcomeOf(files.open(`${directory}/none`, "write"))).toBe("ENOENT");
        expect(await outcomeOf(files.open(`${directory}/a`, "create"))).toBe("EEXIST");
        expect(await outcomeOf(files.open(`${directory}/none/a`, "create"))).toBe("ENOENT");
        expect(await get(`${directory}/a`)).toBe("kept");
      });

      test("a handle opened for reading refuses writes, and a closed one everything", async () => {
        await put(`${directory}/a`, "kept");
        const reader = await files.open(`${directory}/a`, "read");
        expect(await outcomeOf(reader.write(bytesOf("x"), 0))).toBe("EBADF");
        expect(() => reader.writeNow(bytesOf("x"), 0)).toThrow();
        await reader.close();
        expect(await outcomeOf(reader.close())).toBe(undefined);
        expect(await outcomeOf(reader.read(new Uint8Array(1), 0))).toBe("EBADF");
        expect(await outcomeOf(reader.sync())).toBe("EBADF");
        expect(await get(`${directory}/a`)).toBe("kept");
      });
    });

    describe("names", () => {
      test("list is sorted and complete", async () => {
        for (const name of ["b", "a", "10", "9"]) await put(`${directory}/${name}`, name);
        await files.makeDirectory(`${directory}/c`);
        expect(await files.list(directory)).toEqual(["10", "9", "a", "b", "c"]);
        expect(await outcomeOf(files.list(`${directory}/none`))).toBe("ENOENT");
      });

      test("makeDirectory makes the whole path and may be repeated", async () => {
        await files.makeDirectory(`${directory}/x/y/z`);
        await files.makeDirectory(`${directory}/x/y/z`);
        expect(await files.exists(`${directory}/x/y/z`)).toBe(true);
        await put(`${directory}/x/y/z/a`, "deep");
        expect(await get(`${directory}/x/y/z/a`)).toBe("deep");
      });

      test("makeDirectory refuses a path through a file", async () => {
        await put(`${directory}/a`, "file");
        expect(["ENOTDIR", "EEXIST"]).toContain(await outcomeOf(files.makeDirectory(`${directory}/a`)));
        expect(["ENOTDIR", "EEXIST"]).toContain(await outcomeOf(files.makeDirectory(`${directory}/a/b`)));
      });

      test("rename moves, replaces what was there, and keeps open handles on the file", async () => {
        await put(`${directory}/new`, "new");
        await put(`${directory}/old`, "old");
        const handle = await files.open(`${directory}/new`, "write");
        await files.rename(`${directory}/new`, `${directory}/old`);
        await handle.write(bytesOf("NEW"), 0);
        await handle.close();
        expect(await files.list(directory)).toEqual(["old"]);
        expect(await get(`${directory}/old`)).toBe("NEW");
        expect(await outcomeOf(files.rename(`${directory}/none`, `${directory}/a`))).toBe("ENOENT");
      });

      test("rename moves between directories", async () => {
        await files.makeDirectory(`${directory}/from`);
        await files.makeDirectory(`${directory}/to`);
        await put(`${directory}/from/a`, "moved");
        await files.rename(`${directory}/from/a`, `${directory}/to/b`);
        await files.syncDirectory(`${directory}/to`);
        await files.syncDirectory(`${directory}/from`);
        expect(await files.list(`${directory}/from`)).toEqual([]);
        expect(await get(`${directory}/to/b`)).toBe("moved");
      });

      test("a removed file is gone by name and stays readable by an open handle", async () => {
        await put(`${directory}/a`, "still");
        const handle = await files.open(`${directory}/a`, "read");
        await files.remove(`${directory}/a`);
        expect(await files.exists(`${directory}/a`)).toBe(false);
        const into = new Uint8Array(5);
        expect(await handle.read(into, 0)).toBe(5);
        expect(textOf(into)).toBe("still");
        await handle.close();
        expect(await outcomeOf(files.remove(`${directory}/a`))).toBe("ENOENT");
      });

      test("a link is a second name of the same file, and refuses a name that is taken", async () => {
        await put(`${directory}/a`, "shared");
        await files.link(`${directory}/a`, `${directory}/b`);
        expect((await files.stat(`${directory}/a`))?.links).toBe(2);
        await put(`${directory}/a`, "SHARED", "write");
        expect(await get(`${directory}/b`)).toBe("SHARED");
        expect(await outcomeOf(files.link(`${directory}/a`, `${directory}/b`))).toBe("EEXIST");
        expect(await outcomeOf(files.link(`${directory}/none`, `${directory}/c`))).toBe("ENOENT");
        await files.remove(`${directory}/a`);
        expect(await get(`${directory}/b`)).toBe("SHARED");
        expect((await files.stat(`${directory}/b`))?.links).toBe(1);
      });

      test("stat tells files, directories and what is not there", async () => {
        await put(`${directory}/a`, "12345");
        await files.makeDirectory(`${directory}/x`);
        expect(await files.stat(`${directory}/a`)).toMatchObject({ type: "file", bytes: 5 });
        expect(await files.stat(`${directory}/x`)).toMatchObject({ type: "directory" });
        expect(await files.stat(`${directory}/none`)).toBe(undefined);
      });

      test("syncDirectory takes a directory and refuses what is not there", async () => {
        expect(await outcomeOf(files.syncDirectory(directory))).toBe(undefined);
        expect(await outcomeOf(files.syncDirectory(`${directory}/none`))).toBe("ENOENT");
      });

      test("replaceFile leaves the new content and no temporary file, also over a leftover one", async () => {
        await put(`${directory}/point.tmp`, "left over by a crash");
        await replaceFile(files, directory, "point", bytesOf("one"));
        await replaceFile(files, directory, "point", bytesOf("two"));
        expect(await files.list(directory)).toEqual(["point"]);
        expect(await get(`${directory}/point`)).toBe("two");
      });
    });

    describe("space and locks", () => {
      test("freeBytes tells a plausible number", async () => {
        const free = await files.freeBytes(directory);
        expect(Number.isSafeInteger(free)).toBe(true);
        expect(free).toBeGreaterThan(0);
      });

      test("a directory's lock is held by one, who is named to the others, until it is released", async () => {
        const path = `${directory}/LOCK`;
        const lock = await files.lock(path, "annals serve, pid 1");
        const refusal = await outcomeOf(files.lock(path, "another"));
        expect(refusal).toBe("EAGAIN");
        const error = await files.lock(path, "another").catch((caught: unknown) => caught);
        expect(error).toBeInstanceOf(LockHeldError);
        expect(error instanceof LockHeldError ? error.holder : "").toContain("annals serve, pid 1");
        await lock.release();
        const again = await files.lock(path, "x");
        expect(await get(path)).toContain("x");
        expect(await get(path)).not.toContain("annals");
        await again.release();
      });
    });
  });
}
