/**
 * A lock in a bucket: an object that says who, and that is written anew as long as whoever holds it lives. One that has not
 * been for long enough belongs to nobody, and the next one takes it. Both times are the service's, so no clock of a machine
 * matters; every change asks that the object is still the one that was seen, so of two that take it one fails. An owner of whom
 * only one process can run takes over at once what a killed process of its own left.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { BackupError } from "./errors.js";
import type { StoreLock } from "./object-store.js";
import type { S3Client } from "./s3-client.js";

export interface LeaseTimes {
  /** How often it is written anew. */
  readonly renewMs: number;
  /** Nobody's after so long without. */
  readonly expireMs: number;
}

export const LEASE: LeaseTimes = { renewMs: 20_000, expireMs: 120_000 };

export interface LeaseOptions {
  readonly name: string;
  readonly url: string;
  readonly holder: string;
  /** By chance: tells this holder from another one of the same name. */
  readonly token: string;
  /** Who it is across processes, without blanks. Default: nobody, so that only time frees what a killed one left. */
  readonly owner?: string;
  readonly times: LeaseTimes;
}

/** @throws BackupError BACKUP_LOCKED, BACKUP_STORE_FAILED. */
export async function takeLease(client: S3Client, options: LeaseOptions): Promise<StoreLock> {
  const lease = new Lease(client, options);
  await lease.take();
  return lease;
}

class Lease implements StoreLock {
  readonly #client: S3Client;
  readonly #options: LeaseOptions;
  readonly #released = new AbortController();
  #renewing: Promise<void> = Promise.resolve();
  #tag = "";
  #count = 0;

  constructor(client: S3Client, options: LeaseOptions) {
    this.#client = client;
    this.#options = options;
  }

  async take(): Promise<void> {
    for (let attempt = 1; !(await this.#write({ "if-none-match": "*" })); attempt++) {
      const seen = await this.#look();
      if (seen === undefined) continue;
      const isOver = seen.ageMs >= this.#options.times.expireMs || this.#isOwn(seen.text);
      if (!isOver || attempt > 3) throw this.#heldBy(seen.holder);
      if (await this.#write({ "if-match": seen.tag })) break;
    }
    this.#renewing = this.#renew();
  }

  async release(): Promise<void> {
    this.#released.abort();
    await this.#renewing;
    const seen = await this.#look();
    // Somebody else's if this one was asleep for too long.
    if (this.#wrote(seen?.text))
      await this.#client.send({ method: "DELETE", name: this.#options.name }, [200, 204, 404]);
  }

  async #renew(): Promise<void> {
    const { signal } = this.#released;
    const { renewMs } = this.#options.times;
    for (;;) {
      await sleep(renewMs, undefined, { signal, ref: false }).catch(() => undefined);
      if (signal.aborted) return;
      // Not renewed, it may run out under the holder: then two work at once, as with any lease, and nothing is overwritten.
      const isOurs = await this.#write({ "if-match": this.#tag }).catch(() => true);
      if (!isOurs) return;
    }
  }

  async #write(condition: Readonly<Record<string, string>>): Promise<boolean> {
    this.#count += 1;
    const body = Buffer.from(this.#text());
    const { name } = this.#options;
    const request = { method: "PUT", name, headers: condition, body } as const;
    const { status, headers } = await this.#client.send(request, [200, 404, 412]);
    if (status === 200) {
      this.#tag = headers.get("etag") ?? "";
      return true;
    }
    // Refused, perhaps because of a writing of ours whose answer was lost.
    const seen = await this.#look();
    if (seen === undefined || !this.#wrote(seen.text)) return false;
    this.#tag = seen.tag;
    return true;
  }

  async #look() {
    const { name, holder } = this.#options;
    const { status, headers, text } = await this.#client.send({ method: "GET", name }, [200, 404]);
    if (status === 404) return undefined;
    const ageMs = Date.parse(headers.get("date") ?? "") - Date.parse(headers.get("last-modified") ?? "");
    return {
      text,
      tag: headers.get("etag") ?? "",
      holder: text.split("\n")[0] ?? holder,
      ageMs: Number.isNaN(ageMs) ? 0 : ageMs,
    };
  }

  /** Each writing has its own text, and so its own tag. */
  #text(): string {
    const { holder, token, owner } = this.#options;
    const own = owner === undefined ? "" : ` ${owner}`;
    return `${holder}\n${token} ${this.#count}${own}\n`;
  }

  #wrote(text: string | undefined): boolean {
    return text?.split("\n")[1]?.split(" ")[0] === this.#options.token;
  }

  #isOwn(text: string): boolean {
    const { owner } = this.#options;
    return owner !== undefined && text.split("\n")[1]?.split(" ")[2] === owner;
  }

  #heldBy(holder: string): BackupError {
    const { url, times } = this.#options;
    return new BackupError(
      "BACKUP_LOCKED",
      `the repository ${url} is in use by ${holder}; if that has died, it is free in ${times.expireMs / 1000} s at most`,
      { url, holder },
    );
  }
}
