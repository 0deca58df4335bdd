/** Objects that are larger than a part: cut into parts, sent one after the other, named at the end. */
import type { Hash } from "node:crypto";
import { BackupError } from "./errors.js";
import type { S3Client } from "./s3-client.js";
import { completion, uploadIdOf } from "./s3-xml.js";

/** Parts may be from 5 MiB on, and there may be 10,000 of them: later ones are larger, so an object may have 560 GiB. */
export const PART_BYTES = 8 * 1024 * 1024;
const LATER_FROM = 1000;
const LATER_FACTOR = 8;

/** Cuts a stream into parts that are full but for the last. Each byte goes through `hash`. */
export async function* partsOf(
  source: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
  hash: Hash,
  partBytes: number,
): AsyncGenerator<Uint8Array, undefined, undefined> {
  let chunks: Uint8Array[] = [];
  let [bytes, wanted, count] = [0, partBytes, 0];
  for await (const chunk of source) {
    hash.update(chunk);
    for (let at = 0; at < chunk.length; ) {
      const taken = chunk.subarray(at, at + wanted - bytes);
      chunks.push(taken);
      bytes += taken.length;
      at += taken.length;
      if (bytes < wanted) continue;
      yield Buffer.concat(chunks);
      count += 1;
      if (count === LATER_FROM) wanted = partBytes * LATER_FACTOR;
      [chunks, bytes] = [[], 0];
    }
  }
  if (bytes > 0) yield Buffer.concat(chunks);
  return undefined;
}

export interface Parts {
  readonly first: Uint8Array;
  readonly second: Uint8Array;
  /** Those after the second. */
  readonly parts: AsyncIterable<Uint8Array>;
}

/** `check` throws when what was read is not what it should be: then nothing gets the name. */
export async function uploadParts(
  client: S3Client,
  name: string,
  { first, second, parts }: Parts,
  ifAbsent: boolean,
  check: () => void,
): Promise<"stored" | "exists"> {
  const { text } = await client.send({ method: "POST", name, query: { uploads: "" } }, [200]);
  const uploadId = uploadIdOf(text);
  if (uploadId === undefined)
    throw new BackupError("BACKUP_STORE_FAILED", `no upload of ${name} was begun: ${text.slice(0, 200)}`, {
      name,
    });
  try {
    const sent: { number: number; tag: string }[] = [];
    let bytes = 0;
    const send = async (body: Uint8Array): Promise<void> => {
      const number = sent.length + 1;
      const query = { partNumber: String(number), uploadId };
      const { headers } = await client.send({ method: "PUT", name, query, body }, [200]);
      sent.push({ number, tag: headers.get("etag") ?? "" });
      bytes += body.length;
    };
    await send(first);
    await send(second);
    for await (const part of parts) await send(part);
    check();
    const done = await complete(client, name, uploadId, completion(sent), ifAbsent);
    return done === "gone" ? await whoseIsIt(client, name, bytes) : done;
  } catch (error) {
    // What failed is told; parts that stay behind cost money until the bucket's own rule removes them.
    await client
      .send({ method: "DELETE", name, query: { uploadId } }, [200, 204, 404])
      .catch(ignoreStoreError);
    throw error;
  }
}

async function complete(
  client: S3Client,
  name: string,
  uploadId: string,
  body: Uint8Array,
  ifAbsent: boolean,
): Promise<"stored" | "exists" | "gone"> {
  const headers = ifAbsent ? { "if-none-match": "*" } : {};
  const request = { method: "POST", name, query: { uploadId }, headers, body } as const;
  const { status } = await client.send(request, [200, 404, 412]);
  if (status === 200) return "stored";
  if (status === 404) return "gone";
  await client.send({ method: "DELETE", name, query: { uploadId } }, [200, 204, 404]);
  return "exists";
}

/** The upload is no longer known: an attempt whose answer was lost has completed it, or somebody ended it. */
async function whoseIsIt(client: S3Client, name: string, bytes: number): Promise<"stored"> {
  const { status, headers } = await client.send({ method: "HEAD", name }, [200, 404]);
  const found = status === 200 ? Number(headers.get("content-length")) : undefined;
  if (found === bytes) return "stored";
  throw new BackupError("BACKUP_STORE_FAILED", `the upload of ${name} was ended by somebody else`, {
    name,
    expected: bytes,
    found,
  });
}

function ignoreStoreError(error: unknown): void {
  if (!(error instanceof BackupError)) throw error;
}
