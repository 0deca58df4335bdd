/**
 * Sends a write on to the primary, as it came, and gives back what that answers. When the answer is lost nobody knows whether the write
 * happened, so it is asked again; a key, the client's or one that is drawn here, makes it happen once however often it comes. What takes
 * no key (it is queued in a transaction, or waits for a message) is sent once, and the client is told that nobody knows.
 */
import { randomBytes } from "node:crypto";
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { setTimeout as sleep } from "node:timers/promises";
import {
  COMMAND_PATH,
  type ErrorCode,
  type ForwardedAnswer,
  type ForwardedWrite,
  type Refusal,
  refusal,
} from "../../api/index.js";
import { errorMessage } from "../../log/index.js";

/** From replica to replica to primary, and no further: two that believe each other primary would send it to and fro. */
const HOPS_MAX = 3;
const HOPS_HEADER = "X-Annals-Hops";
/** Longer than a write may wait for a message. */
const TIMEOUT_MS = 150_000;
/** An idle connection is let go before the primary lets it go, so that no write meets a closed one. */
const IDLE_MS = 5000;
const CONNECTIONS_MAX = 256;
/** Waited before a lost answer is asked for again: a primary that restarts, or gives way to another, is given a moment. */
const AGAIN_MS = [20, 200, 1000];
const KEY_BYTES = 16;
const ANSWER_BYTES_MAX = 256 * 1024 * 1024;

/** They belong to one connection, or are made anew for the next. */
const HERE_ONLY = new Set([
  ...["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te"],
  ...["trailer", "transfer-encoding", "upgrade", "host", "content-length", "expect", "date", "x-request-id"],
  HOPS_HEADER.toLowerCase(),
]);

export class Forwarder {
  readonly #http = new HttpAgent({ keepAlive: true, maxSockets: CONNECTIONS_MAX, timeout: IDLE_MS });
  readonly #https = new HttpsAgent({ keepAlive: true, maxSockets: CONNECTIONS_MAX, timeout: IDLE_MS });

  /** `primaryOf`: where it is now, which may change while the answer is waited for. */
  async send(primaryOf: () => string | undefined, write: ForwardedWrite): Promise<ForwardedAnswer | Refusal> {
    const primary = primaryOf();
    if (primary === undefined)
      return refusal(
        "REPLICATION_FORWARD_FAILED",
        "the write was not sent on: where the primary is is not known",
      );
    const hops = Number(headerOf(write.headers, HOPS_HEADER) ?? 0) + 1;
    if (!(hops <= HOPS_MAX))
      return failed(`it was not sent on: ${HOPS_MAX} nodes have sent it on already`, primary);
    if (write.once !== "a key") return await this.#repeated(primaryOf, write, hops, write.once !== "nothing");
    const key = `forwarded-${randomBytes(KEY_BYTES).toString("hex")}`;
    const keyed = { ...write, headers: [...write.headers, "Idempotency-Key", key] };
    const answer = await this.#repeated(primaryOf, keyed, hops, true);
    if (answer.type === "refused") return answer;
    // Nothing was done: the primary takes no key of this one, or could not keep its answer.
    if (KEY_REFUSED.has(refusedIn(answer, write)?.code))
      return await this.#repeated(primaryOf, write, hops, false);
    return { ...answer, headers: withoutReplayed(answer.headers) };
  }

  async #repeated(
    primaryOf: () => string | undefined,
    write: ForwardedWrite,
    hops: number,
    mayRepeat: boolean,
  ): Promise<ForwardedAnswer | Refusal> {
    let lost: string | undefined;
    const since = performance.now();
    for (let attempt = 1; ; attempt += 1) {
      const primary = primaryOf() ?? "an unknown address";
      try {
        const answer = await this.#once(primary, write, hops);
        // A node that refuses now can't say what became of what was sent before, nor is that one's own answer there yet.
        const refused = lost === undefined ? undefined : refusedIn(answer, write);
        if (refused === undefined || !saysNothing(refused)) return answer;
        if (attempt > AGAIN_MS.length)
          return failed(`whether the write happened is unknown: ${lost}`, primary);
      } catch (error) {
        if (write.signal.aborted) return refusal("API_CLIENT_GONE", "the client went away while it waited");
        const why = errorMessage(error);
        if (wasNotSent(error) && lost === undefined) return failed(`it was not sent: ${why}`, primary);
        lost ??= why;
        const isLate = performance.now() - since > TIMEOUT_MS;
        if (!mayRepeat || isLate || attempt > AGAIN_MS.length)
          return failed(`whether the write happened is unknown: ${lost}`, primary);
      }
      await sleep(AGAIN_MS[attempt - 1]);
    }
  }

  close(): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  #once(primary: string, write: ForwardedWrite, hops: number): Promise<ForwardedAnswer> {
    return new Promise((resolve, reject) => {
      const outgoing = this.#open(primary, write, hops);
      const late = setTimeout(() => outgoing.destroy(new Error("no answer in time")), TIMEOUT_MS);
      const fail = (error: Error): void => {
        clearTimeout(late);
        reject(error);
      };
      outgoing.on("error", fail);
      outgoing.on("response", (incoming) => {
        collect(incoming).then((body) => {
          clearTimeout(late);
          resolve({
            type: "forwarded",
            status: incoming.statusCode ?? 502,
            headers: kept(incoming.rawHeaders),
            body,
          });
        }, fail);
      });
      outgoing.end(write.body);
    });
  }

  #open(
    primary: string,
    { method, url, headers, body, requestId, signal }: ForwardedWrite,
    hops: number,
  ): ClientRequest {
    const target = new URL(primary);
    const sent = [
      ...kept(headers),
      "Host",
      target.host,
      "X-Request-Id",
      requestId,
      HOPS_HEADER,
      String(hops),
    ];
    sent.push("Content-Length", String(body?.length ?? 0));
    const options = {
      method,
      path: url,
      host: target.hostname.replace(/^\[|\]$/g, ""),
      port: target.port,
      headers: sent,
      signal,
    };
    return target.protocol === "https:"
      ? httpsRequest({ ...options, agent: this.#https })
      : httpRequest({ ...options, agent: this.#http });
  }
}

function kept(headers: readonly string[]): string[] {
  const left: string[] = [];
  for (let index = 0; index + 1 < headers.length; index += 2) {
    const [name = "", value = ""] = headers.slice(index, index + 2);
    if (!HERE_ONLY.has(name.toLowerCase())) left.push(name, value);
  }
  return left;
}

/** The client sent no key, so nothing was replayed to it. */
function withoutReplayed(headers: readonly string[]): string[] {
  return headers.filter((_, index) => headers[index - (index % 2)]?.toLowerCase() !== "idempotent-replayed");
}

interface Refused {
  readonly status: number;
  readonly code: unknown;
}

/** Undefined of an answer that refuses nothing. The envelope answers 200 whatever it says. */
function refusedIn({ status, body }: ForwardedAnswer, { url }: ForwardedWrite): Refused | undefined {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  if (status >= 400) return { status, code: fieldsOf(bytes)["error_code"] };
  const isEnvelope = url.split("?", 1)[0] === COMMAND_PATH;
  if (!isEnvelope || !bytes.subarray(0, ENVELOPE_REFUSES.length).equals(ENVELOPE_REFUSES)) return undefined;
  const { code, error_code } = fieldsOf(bytes);
  return { status: Number(code), code: error_code };
}

/** Whoever stands between the nodes refuses in other words. */
function fieldsOf(body: Buffer): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(body.toString());
    return typeof value === "object" && value !== null ? { ...value } : {};
  } catch {
    return {};
  }
}

/** It takes no writes at all at the moment, whatever they are, or does what was sent before just now. */
function saysNothing({ status, code }: Refused): boolean {
  if (code === "REPLICATION_READ_ONLY" || code === "IDEMPOTENCY_IN_PROGRESS") return true;
  return status === 429 || status === 502 || status === 503;
}

function headerOf(headers: readonly string[], wanted: string): string | undefined {
  const at = headers.findIndex(
    (name, index) => index % 2 === 0 && name.toLowerCase() === wanted.toLowerCase(),
  );
  return at < 0 ? undefined : headers[at + 1];
}

async function collect(incoming: IncomingMessage): Promise<Uint8Array> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of incoming) {
    if (!Buffer.isBuffer(part)) throw new TypeError("an answer is bytes");
    bytes += part.length;
    if (bytes > ANSWER_BYTES_MAX) throw new Error("the answer is too large");
    parts.push(part);
  }
  return Buffer.concat(parts);
}

const KEY_REFUSED: ReadonlySet<unknown> = new Set<ErrorCode>([
  "API_IDEMPOTENCY_KEY_INVALID",
  "IDEMPOTENCY_ANSWER_TOO_LARGE",
]);
const ENVELOPE_REFUSES = Buffer.from('{"success":false,');
const NOT_CONNECTED = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);

function wasNotSent(error: unknown): boolean {
  return error instanceof Error && "code" in error && NOT_CONNECTED.has(String(error.code));
}

function failed(why: string, primary: string): Refusal {
  return refusal("REPLICATION_FORWARD_FAILED", `the primary at ${primary} did not answer; ${why}`, {
    primary,
  });
}
