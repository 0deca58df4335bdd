// The directory as a store, on real disks; and what only a directory has: links, and addresses.
import { randomBytes } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { realFileSystem } from "../../log/index.js";
import { DirectoryStore } from "../../ops/backup/directory-store.js";
import { openObjectStore } from "../../ops/backup/open-object-store.js";
import { describeObjectStore } from "../support/object-store-contract.js";

const root = mkdtempSync(join(tmpdir(), "annals-store-"));
afterAll(() => rmSync(root, { recursive: true }));

const fresh = (): string => join(mkdtempSync(join(root, "r-")), "repository");
const storeIn = (directory: string, files = realFileSystem): DirectoryStore =>
  new DirectoryStore({ files, directory, randomBytes });

describeObjectStore("directory", async () => {
  const directory = fresh();
  return { store: storeIn(directory), other: storeIn(directory), dispose: () => Promise.resolve() };
});

describe("a directory as a store", () => {
  it("links a file of the same file system, and leaves a name that is taken, saying so", async () => {
    const directory = fresh();
    const store = storeIn(directory);
    const file = join(root, "file");
    writeFileSync(file, "shared");
    expect(await store.link(file, "segments/a")).toBe(true);
    expect(statSync(join(directory, "segments/a")).ino).toBe(statSync(file).ino);
    await store.put("segments/b", Buffer.from("own"));
    expect(await store.link(file, "segments/b")).toBe(false);
    expect(readFileSync(join(directory, "segments/b"), "utf8")).toBe("own");
  });

  it("says when it cannot link, so that the caller copies", async () => {
    const link = (): Promise<void> => Promise.reject(Object.assign(new Error("EXDEV"), { code: "EXDEV" }));
    const directory = fresh();
    const store = storeIn(directory, { ...realFileSystem, link });
    writeFileSync(join(root, "elsewhere"), "x");
    expect(await store.link(join(root, "elsewhere"), "segments/a")).toBe(false);
    expect(readdirSync(join(directory, "segments"))).toEqual([]);
  });

  it("puts an absent name also where the file system has no links; two at once need the lock there", async () => {
    const link = (): Promise<void> => Promise.reject(Object.assign(new Error("EPERM"), { code: "EPERM" }));
    const directory = fresh();
    const store = storeIn(directory, { ...realFileSystem, link });
    expect(await store.put("a", Buffer.from("one"), { ifAbsent: true })).toBe("stored");
    expect(await store.put("a", Buffer.from("two"), { ifAbsent: true })).toBe("exists");
    expect(readFileSync(join(directory, "a"), "utf8")).toBe("one");
    expect(readdirSync(directory)).toEqual(["a"]);
  });

  it("takes no name that leads out of the repository", async () => {
    const store = storeIn(fresh());
    for (const name of ["../a", "a/../../b", "/etc/passwd", "", "a//b"])
      await expect(store.put(name, Buffer.from("x"))).rejects.toThrow(RangeError);
  });

  it("is opened by a path or a file address; anything else is refused with advice", async () => {
    const directory = fresh();
    expect((await openObjectStore(directory, {})).url).toBe(directory);
    expect((await openObjectStore(`file://${directory}`, {})).url).toBe(directory);
    const looksLikeOne = ["file:backups", "file:///a?b", "file:///a#b", "file:///a%2fb"];
    for (const url of ["ftp://host/x", "file://host/x", "https://host/x", ...looksLikeOne])
      await expect(openObjectStore(url, {})).rejects.toMatchObject({ code: "BACKUP_TARGET_INVALID" });
    writeFileSync(join(root, "plain"), "x");
    await expect(openObjectStore(join(root, "plain"), {})).rejects.toMatchObject({
      code: "BACKUP_TARGET_INVALID",
    });
  });
});
