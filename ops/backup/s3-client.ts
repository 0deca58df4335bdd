/**
 * Signed requests to a bucket, each with a time limit, tried again when the trouble is the service's or the network's. It knows
 * requests and answers; what they mean for objects is the store's.
 *
 * An attempt whose answer was lost may have done its work, now or later. So a caller must be able to tell its own work from
 * somebody else's: objects are named by their content, and manifests are compared when the name was taken.
 */
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { AwsV4Signer } from "aws4fetch";
import { BackupError } from "./errors.js";
import { checkObjectName } from "./object-store.js";
import type { S3Address } from "./s3-address.js";
import { errorCodeOf } from "./s3-xml.js";

export interface S3Request {
  readonly method: "GET" | "HEAD" | "PUT" | "POST" | "DELETE";
  /** Undefined: the bucket itself. */
  readonly name?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array;
}

export interface S3Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
}

export interface S3Limits {
  /** How often a request is tried. */
  readonly attempts: number;
  /** Before the second attempt at most so long, twice that before the third, and so on; any time below, by chance. */
  readonly firstPauseMs: number;
  readonly pauseMsMax: number;
  /** For one attempt: a part goes out and its answer comes in. While an object is read: for each of its chunks. */
  readonly timeoutMs: number;
}

export const S3_LIMITS: S3Limits = { attempts: 8, firstPauseMs: 100, pauseMsMax: 20_000, timeoutMs: 60_000 };

export interface S3ClientOptions {
  readonly limits: S3Limits;
  /** In [0, 1). */
  readonly random: () => number;
}

/** An answer whose body is still to be read. Whoever has it calls `end`, also when it was read to its end. */
export interface OpenAnswer {
  readonly response: Response;
  readonly end: (reason?: Error) => void;
}

const EMPTY_SHA256 = createHash("sha256").digest("hex");
/** Answers that speak of now, not of the request. */
const PASSING: ReadonlySet<number> = new Set([408, 409, 425, 429, 500, 502, 503, 504]);
/** Said with a status that others use for what will not pass. */
const PASSING_CODES: ReadonlySet<string> = new Set(["RequestTimeout", "SlowDown"]);

export class S3Client {
  readonly #address: S3Address;
  readonly #options: S3ClientOptions;
  readonly #closed = new AbortController();
  readonly #underWay = new Set<AbortController>();

  constructor(address: S3Address, options: S3ClientOptions) {
    this.#address = address;
    this.#options = options;
  }

  /** The answer with its whole body, which is a short text, when its status is one of `expected`. */
  async send(request: S3Request, expected: readonly number[]): Promise<S3Answer> {
    return this.attempts(request, async () => {
      const { response, end } = await this.open(request);
      const late = setTimeout(() => end(timedOut(request)), this.#options.limits.timeoutMs);
      try {
        const text = await response.text();
        const { status, headers } = response;
        // A long job may begin with 200 and end with an error in its body.
        const failed = status === 200 && request.method !== "GET" && errorCodeOf(text) !== undefined;
        if (!failed && expected.includes(status)) return { status, headers, text };
        throw new AnswerError(failed ? 500 : status, errorCodeOf(text) ?? "");
      } finally {
        clearTimeout(late);
        end();
      }
    });
  }

  /** One attempt, until the headers are there. */
  async open(request: S3Request): Promise<OpenAnswer> {
    if (this.#closed.signal.aborted) throw this.#closedError();
    const controller = new AbortController();
    const end = (reason?: Error): void => {
      this.#underWay.delete(controller);
      controller.abort(reason);
    };
    this.#underWay.add(controller);
    const late = setTimeout(() => end(timedOut(request)), this.#options.limits.timeoutMs);
    try {
      const { method, body } = request;
      const { url, headers } = await this.#signed(request);
      const response = await fetch(url, {
        method,
        headers,
        signal: controller.signal,
        redirect: "error",
        ...(body === undefined ? {} : { body }),
      });
      return { response, end };
    } catch (error) {
      end();
      throw error;
    } finally {
      clearTimeout(late);
    }
  }

  /** Runs `attempt` until it works, its failure is not a passing one, or there were enough. */
  async attempts<T>(request: S3Request, attempt: () => Promise<T>): Promise<T> {
    const { attempts } = this.#options.limits;
    for (let failures = 1; ; failures++) {
      try {
        return await attempt();
      } catch (error) {
        if (failures >= attempts || !this.isPassing(error)) throw this.failure(request, error, failures);
      }
      await this.pause(failures);
    }
  }

  /** Between attempts. Chance keeps many that failed together from coming back together. */
  async pause(failures: number): Promise<void> {
    const { firstPauseMs, pauseMsMax } = this.#options.limits;
    const longest = Math.min(pauseMsMax, firstPauseMs * 2 ** (failures - 1));
    await sleep(longest * this.#options.random(), undefined, { signal: this.#closed.signal }).catch(() => {
      throw this.#closedError();
    });
  }

  get limits(): S3Limits {
    return this.#options.limits;
  }

  isPassing(error: unknown): boolean {
    if (this.#closed.signal.aborted || error instanceof BackupError || error instanceof RangeError)
      return false;
    if (!(error instanceof AnswerError)) return true;
    return PASSING.has(error.status) || PASSING_CODES.has(error.code);
  }

  /** What the caller is told. */
  failure(request: S3Request, error: unknown, attempts: number): Error {
    if (error instanceof BackupError || error instanceof RangeError) return error;
    if (this.#closed.signal.aborted) return this.#closedError();
    const { url } = this.#address;
    const why = error instanceof AnswerError ? error.message : `no answer (${causeOf(error)})`;
    const tried = attempts > 1 ? `, ${attempts} times` : "";
    return new BackupError(
      "BACKUP_STORE_FAILED",
      `${request.method} ${request.name ?? "the list of names"} in ${url}${tried}: ${why}${adviceFor(error)}`,
      { url, ...(error instanceof AnswerError ? { status: error.status, found: error.code } : {}) },
      error,
    );
  }

  /** Ends what is under way; it fails. */
  close(): void {
    this.#closed.abort();
    for (const controller of this.#underWay) controller.abort(this.#closedError());
  }

  #closedError(): BackupError {
    const { url } = this.#address;
    return new BackupError("BACKUP_STORE_FAILED", `${url} was let go`, { url });
  }

  async #signed({ method, name, query = {}, headers = {}, body }: S3Request) {
    if (name !== undefined) checkObjectName(name);
    const { endpoint, bucket, prefix, region, credentials } = this.#address;
    const path = name === undefined ? bucket : `${bucket}/${prefix}${name}`;
    const search = Object.entries(query).map(([key, value]) => `${encode(key)}=${encode(value)}`);
    const { sessionToken, ...keys } = credentials;
    return new AwsV4Signer({
      method,
      url: `${endpoint}/${path.split("/").map(encode).join("/")}${search.length === 0 ? "" : `?${search.join("&")}`}`,
      headers: {
        ...headers,
        "x-amz-content-sha256":
          body === undefined ? EMPTY_SHA256 : createHash("sha256").update(body).digest("hex"),
      },
      ...keys,
      ...(sessionToken === undefined ? {} : { sessionToken }),
      service: "s3",
      region,
    }).sign();
  }
}

/** An answer that was not expected. */
export class AnswerError extends Error {
  readonly status: number;
  /** As the service says it, e.g. "NoSuchBucket"; empty when it says none. */
  readonly code: string;

  constructor(status: number, code: string) {
    super(`status ${status}${code === "" ? "" : ` ${code}`}`);
    this.name = "AnswerError";
    this.status = status;
    this.code = code;
  }
}

/** As the signature wants it: everything but unreserved characters. */
const encode = (text: string): string =>
  encodeURIComponent(text).replace(
    /[!'()*]/g,
    (found) => `%${found.charCodeAt(0).toString(16).toUpperCase()}`,
  );

function timedOut({ method, name }: S3Request): Error {
  return new Error(`${method} ${name ?? ""} took too long`);
}

function causeOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? error.cause.message : error.message;
}

function adviceFor(error: unknown): string {
  if (!(error instanceof AnswerError)) return "; is the endpoint right, and can it be reached?";
  if (error.status === 403) return "; are the credentials, the region and the clock of this machine right?";
  return error.code === "NoSuchBucket" ? "; make the bucket first" : "";
}
