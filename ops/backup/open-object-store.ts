/** From the address of a repository, as an operator writes it, to the store behind it. */
import { randomBytes } from "node:crypto";
import { realFileSystem } from "../../log/index.js";
import { directoryAddress } from "./directory-address.js";
import { DirectoryStore } from "./directory-store.js";
import { BackupError } from "./errors.js";
import type { ObjectStore } from "./object-store.js";
import { type StoreEnvironment, s3Address } from "./s3-address.js";

/**
 * `url` is a directory, a `file://` or an `s3://bucket/prefix` address. The directory need not be there yet; the bucket must.
 * @throws BackupError BACKUP_TARGET_INVALID.
 */
export async function openObjectStore(url: string, environment: StoreEnvironment): Promise<ObjectStore> {
  if (/^s3:/i.test(url)) {
    const address = s3Address(url, environment);
    // Only who needs a bucket pays for loading its client.
    const { S3Store } = await import("./s3-store.js");
    return new S3Store(address, { random: Math.random });
  }
  const directory = directoryOf(url);
  const status = await realFileSystem.stat(directory).catch(() => undefined);
  if (status !== undefined && status.type !== "directory")
    throw new BackupError("BACKUP_TARGET_INVALID", `${directory} is a file, not a directory`, { url });
  return new DirectoryStore({ files: realFileSystem, directory, randomBytes });
}

function directoryOf(url: string): string {
  const directory = directoryAddress(url);
  if (directory !== undefined) return directory;
  const why =
    url === ""
      ? "an empty address is no repository"
      : `${url} is no repository that this release can use: name a directory, a file:// or an s3://bucket/prefix address`;
  throw new BackupError("BACKUP_TARGET_INVALID", why, { url });
}
