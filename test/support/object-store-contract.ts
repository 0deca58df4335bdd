/** What every store behind a repository must do, whatever keeps the bytes. */
import { createHash } from "node:crypto";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { BackupError } from "../../ops/backup/errors.js";
import { type ObjectStore, readObject, type StoredObject } from "../../ops/backup/object-store.js";

export interface StoreUnderTest {
  readonly store: ObjectStore;
  /** Another process's view of the same repository. */
  readonly other: ObjectStore;
  readonly dispose: () => Promise<void>;
}

const bytesOf = (text: string): Uint8Array => Buffer.from(text);
const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

async function* inParts(...parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array, void> {
  for (const part of parts) yield part;
}

async function codeOf(call: Promise<unknown>): Promise<string> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(BackupError);
  return error instanceof BackupError ? error.code : "";
}

export function describeObjectStore(name: string, create: () => Promise<StoreUnderTest>): void {
  describe(`object store contract, ${name}`, () => {
    let store: ObjectStore;
    let other: ObjectStore;
    let dispose: () => Promise<void>;
    beforeEach(async () => {
      ({ store, other, dispose } = await create());
    });
    afterEach(() => dispose());

    const textOf = async (from: ObjectStore, object: string): Promise<string> =>
      Buffer.from(await readObject(from, object, 1 << 26)).toString("utf8");
    const listed = async (prefix: string): Promise<StoredObject[]> => {
      const found: StoredObject[] = [];
      for await (const object of store.list(prefix)) found.push(object);
      return found;
    };
    const namesOf = async (prefix: string): Promise<string[]> =>
      (await listed(prefix)).map((object) => object.name);

    test("an object reads back as it was put, everywhere, from bytes or from a stream", async () => {
      expect(await store.put("segments/a", bytesOf("one"))).toBe("stored");
      expect(await store.put("segments/b", inParts(bytesOf("tw"), bytesOf(""), bytesOf("o")))).toBe("stored");
      expect(await textOf(other, "segments/a")).toBe("one");
      expect(await textOf(other, "segments/b")).toBe("two");
      expect(await other.head("segments/b")).toMatchObject({ bytes: 3 });
    });

    test("an empty object and one of several megabytes are objects like any other", async () => {
      const large = Buffer.alloc(9_500_000, "large");
      await store.put("a", new Uint8Array(0));
      await store.put("b", inParts(large.subarray(0, 4_000_001), large.subarray(4_000_001)), {
        sha256: sha256Of(large),
      });
      expect(await store.head("a")).toMatchObject({ bytes: 0 });
      expect(await textOf(store, "a")).toBe("");
      expect(sha256Of(await readObject(other, "b", 1 << 26))).toBe(sha256Of(large));
    });

    test("a put replaces, unless it is only for an absent one", async () => {
      await store.put("a", bytesOf("first"));
      expect(await other.put("a", bytesOf("second"), { ifAbsent: true })).toBe("exists");
      expect(await textOf(store, "a")).toBe("first");
      expect(await store.put("a", bytesOf("third"))).toBe("stored");
      expect(await textOf(other, "a")).toBe("third");
      expect(await store.put("b", inParts(bytesOf("new")), { ifAbsent: true })).toBe("stored");
      expect(await textOf(store, "b")).toBe("new");
    });

    test("of many that put one absent name at once exactly one does", async () => {
      const outcomes = await Promise.all(
        Array.from({ length: 8 }, (_, i) =>
          (i % 2 === 0 ? store : other).put("a", bytesOf(`${i}`), { ifAbsent: true }),
        ),
      );
      expect(outcomes.filter((outcome) => outcome === "stored")).toHaveLength(1);
      expect(await textOf(store, "a")).toBe(`${outcomes.indexOf("stored")}`);
      expect(await namesOf("")).toEqual(["a"]);
    });

    test("bytes that are not those of the hash are not stored", async () => {
      const sha256 = sha256Of(bytesOf("expected"));
      expect(await codeOf(store.put("a", bytesOf("changed"), { sha256 }))).toBe("BACKUP_SOURCE_CHANGED");
      expect(await codeOf(store.put("a", inParts(bytesOf("chan"), bytesOf("ged")), { sha256 }))).toBe(
        "BACKUP_SOURCE_CHANGED",
      );
      expect(await store.head("a")).toBe(undefined);
      expect(await namesOf("")).toEqual([]);
    });

    test("a stream that fails stores nothing", async () => {
      async function* failing(): AsyncGenerator<Uint8Array, void> {
        yield bytesOf("some");
        throw new Error("the source is gone");
      }
      await expect(store.put("a", failing())).rejects.toThrow("the source is gone");
      expect(await store.head("a")).toBe(undefined);
      expect(await namesOf("")).toEqual([]);
    });

    test("a range is what lies in it", async () => {
      await store.put("a", bytesOf("0123456789"));
      const range = async (from: number, end?: number): Promise<string> => {
        const parts: Uint8Array[] = [];
        for await (const part of store.get("a", end === undefined ? { from } : { from, end }))
          parts.push(part);
        return Buffer.concat(parts).toString("utf8");
      };
      expect(await range(0, 4)).toBe("0123");
      expect(await range(7)).toBe("789");
      expect(await range(3, 100)).toBe("3456789");
    });

    test("list gives every object below a prefix once, in the order of names, with its size", async () => {
      const names = ["backups/1", "backups/2", "segments/1-a", "segments/1-b", "segments/2", "top"];
      for (const each of names.toReversed()) await store.put(each, bytesOf(each));
      expect(await namesOf("")).toEqual(names);
      expect(await namesOf("segments/")).toEqual(["segments/1-a", "segments/1-b", "segments/2"]);
      expect(await namesOf("segments/1")).toEqual(["segments/1-a", "segments/1-b"]);
      expect(await namesOf("none/")).toEqual([]);
      for (const { name: each, bytes } of await listed("")) expect(bytes).toBe(each.length);
    });

    test("what is not there is missing to a reader and nothing to a removal", async () => {
      expect(await store.head("a")).toBe(undefined);
      expect(await codeOf(readObject(store, "a", 10))).toBe("BACKUP_DAMAGED");
      await store.remove("a");
      await store.put("a", bytesOf("x"));
      await other.remove("a");
      expect(await store.head("a")).toBe(undefined);
      expect(await namesOf("")).toEqual([]);
    });

    test("one holds the lock, who is named to the others, until it is released", async () => {
      const lock = await store.lock("annals backup, pid 1");
      const refusal = other.lock("another");
      expect(await codeOf(refusal)).toBe("BACKUP_LOCKED");
      await expect(refusal).rejects.toThrow("annals backup, pid 1");
      await lock.release();
      await (await other.lock("another")).release();
    });

    test("more bytes than expected are not read into memory", async () => {
      await store.put("a", bytesOf("0123456789"));
      await expect(readObject(store, "a", 9)).rejects.toThrow(RangeError);
    });
  });
}
