/**
 * A repository in a bucket, Amazon's or a compatible one. An object appears whole or not at all, so there are no temporary
 * names; `ifAbsent` is the service's own condition (If-None-Match), so two that put one name at once cannot both have it.
 *
 * Every body is sent with its SHA-256, which the service checks. What is larger than a part goes in parts, each tried again
 * by itself; at no time more than two parts are held.
 */
import { createHash } from "node:crypto";
import { BackupError } from "./errors.js";
import { LOCK_OBJECT } from "./layout.js";
import type { ByteRange, ObjectStore, PutOptions, StoredObject, StoreLock } from "./object-store.js";
import type { S3Address } from "./s3-address.js";
import { AnswerError, S3_LIMITS, S3Client, type S3Limits } from "./s3-client.js";
import { LEASE, type LeaseTimes, takeLease } from "./s3-lease.js";
import { PART_BYTES, partsOf, uploadParts } from "./s3-multipart.js";
import { listedPage } from "./s3-xml.js";

export interface S3StoreOptions {
  /** In [0, 1): spreads the attempts of many over time. */
  readonly random: () => number;
  readonly limits?: S3Limits;
  readonly partBytes?: number;
  readonly lease?: LeaseTimes;
}

export class S3Store implements ObjectStore {
  readonly url: string;
  readonly #prefix: string;
  readonly #client: S3Client;
  readonly #partBytes: number;
  readonly #lease: LeaseTimes;
  readonly #token: () => string;

  constructor(address: S3Address, options: S3StoreOptions) {
    this.url = address.url;
    this.#prefix = address.prefix;
    this.#client = new S3Client(address, { limits: options.limits ?? S3_LIMITS, random: options.random });
    this.#partBytes = options.partBytes ?? PART_BYTES;
    this.#lease = options.lease ?? LEASE;
    this.#token = () => options.random().toString(36).slice(2);
  }

  async put(
    name: string,
    bytes: Uint8Array | AsyncIterable<Uint8Array>,
    options: PutOptions = {},
  ): Promise<"stored" | "exists"> {
    const hash = createHash("sha256");
    const parts = partsOf(bytes instanceof Uint8Array ? [bytes] : bytes, hash, this.#partBytes);
    try {
      const first = (await parts.next()).value ?? new Uint8Array(0);
      const second = (await parts.next()).value;
      const check = (): void => checkHash(name, options.sha256, hash.copy().digest("hex"));
      if (second === undefined) {
        check();
        return await this.#putWhole(name, first, options.ifAbsent === true);
      }
      // Before gigabytes are sent for nothing.
      if (options.ifAbsent === true && (await this.head(name)) !== undefined) return "exists";
      const rest = { first, second, parts };
      return await uploadParts(this.#client, name, rest, options.ifAbsent === true, check);
    } finally {
      await parts.return(undefined);
    }
  }

  async *get(name: string, range: ByteRange = { from: 0 }): AsyncGenerator<Uint8Array, void> {
    let { from } = range;
    let tag: string | undefined;
    if (range.end !== undefined && range.end <= from) return;
    for (let failures = 0; ; ) {
      const request = { method: "GET", name, headers: rangeHeaders(from, range.end, tag) } as const;
      try {
        const { response, end: finish } = await this.#client.open(request);
        const { status } = response;
        if (status !== 200 && status !== 206) {
          finish();
          // Nothing lies there: the object ends before the range begins.
          if (status === 416) return;
          if (status === 404) throw missing(name, this.url);
          throw new AnswerError(status, status === 412 ? "the object was replaced while it was read" : "");
        }
        tag = response.headers.get("etag") ?? undefined;
        const end = from + Number(response.headers.get("content-length"));
        for await (const chunk of this.#chunks(response, finish)) {
          from += chunk.length;
          failures = 0;
          yield chunk;
        }
        if (from === end) return;
        throw new Error(`${end - from} bytes less than announced`);
      } catch (error) {
        failures += 1;
        if (failures >= this.#client.limits.attempts || !this.#client.isPassing(error))
          throw this.#client.failure(request, error, failures);
      }
      await this.#client.pause(failures);
    }
  }

  async head(name: string): Promise<{ readonly bytes: number } | undefined> {
    const { status, headers } = await this.#client.send({ method: "HEAD", name }, [200, 404]);
    return status === 404 ? undefined : { bytes: Number(headers.get("content-length")) };
  }

  async *list(prefix: string): AsyncGenerator<StoredObject, void> {
    let next: string | undefined;
    do {
      const query = {
        "list-type": "2",
        "encoding-type": "url",
        prefix: `${this.#prefix}${prefix}`,
        ...(next === undefined ? {} : { "continuation-token": next }),
      };
      const { text } = await this.#client.send({ method: "GET", query }, [200]);
      const page = listedPage(text);
      if (page === undefined)
        throw new BackupError("BACKUP_STORE_FAILED", `${this.url} answers a list with something else`, {
          url: this.url,
        });
      for (const { key, bytes, changedAt } of page.objects)
        if (key.startsWith(this.#prefix)) yield { name: key.slice(this.#prefix.length), bytes, changedAt };
      next = page.next;
    } while (next !== undefined);
  }

  async remove(name: string): Promise<void> {
    await this.#client.send({ method: "DELETE", name }, [200, 204, 404]);
  }

  lock(holder: string, owner?: string): Promise<StoreLock> {
    return takeLease(this.#client, {
      name: LOCK_OBJECT,
      url: this.url,
      holder,
      token: this.#token(),
      times: this.#lease,
      ...(owner === undefined ? {} : { owner }),
    });
  }

  close(): void {
    this.#client.close();
  }

  async #putWhole(name: string, body: Uint8Array, ifAbsent: boolean): Promise<"stored" | "exists"> {
    const headers = ifAbsent ? { "if-none-match": "*" } : {};
    const { status } = await this.#client.send({ method: "PUT", name, headers, body }, [200, 412]);
    return status === 200 ? "stored" : "exists";
  }

  /** The time limit is for the service: how long the caller takes with a chunk is its own matter. */
  async *#chunks(response: Response, finish: (reason?: Error) => void): AsyncGenerator<Uint8Array, void> {
    const reader = response.body?.getReader();
    if (reader === undefined) return;
    try {
      for (;;) {
        const late = setTimeout(
          () => finish(new Error("no byte for too long")),
          this.#client.limits.timeoutMs,
        );
        const { done, value } = await reader.read().finally(() => clearTimeout(late));
        if (done) return;
        yield value;
      }
    } finally {
      finish();
    }
  }
}

function rangeHeaders(from: number, end: number | undefined, tag: string | undefined) {
  return {
    ...(from === 0 && end === undefined
      ? {}
      : { range: `bytes=${from}-${end === undefined ? "" : end - 1}` }),
    // Read on from the same object, not from one that took its name meanwhile.
    ...(tag === undefined ? {} : { "if-match": tag }),
  };
}

function checkHash(name: string, expected: string | undefined, found: string): void {
  if (expected === undefined || expected === found) return;
  throw new BackupError("BACKUP_SOURCE_CHANGED", `what was to become ${name} changed while it was copied`, {
    name,
    expected,
    found,
  });
}

const missing = (name: string, url: string): BackupError =>
  new BackupError("BACKUP_DAMAGED", `${name} is missing in ${url}`, { name });
