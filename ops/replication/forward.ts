/**
 * Sends a write on to the primary, as it came, and gives back what that answers. A write is sent once: when its answer is lost nobody knows
 * whether it happened, and the client is told so. Only one with an idempotency key, which happens once however often it comes, is
 * sent a second time.
 */
import {
  type ClientRequest,
  Agent as HttpAgent,
  request as httpRequest,
  type IncomingMessage,
} from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { type ForwardedAnswer, type ForwardedWrite, type Refusal, refusal } from "../../api/index.js";

/** From replica to replica to primary, and no further: two that believe each other primary would send it to and fro. */
const HOPS_MAX = 3;
const HOPS_HEADER = "X-Annals-Hops";
/** Longer than a write may wait for a message. */
const TIMEOUT_MS = 150_000;
/** An idle connection is let go before the primary lets it go, so that no write meets a closed one. */
const IDLE_MS = 5000;
const CONNECTIONS_MAX = 256;
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

  async send(primary: string, write: ForwardedWrite): Promise<ForwardedAnswer | Refusal> {
    const hops = Number(headerOf(write.headers, HOPS_HEADER) ?? 0) + 1;
    if (!(hops <= HOPS_MAX))
      return failed(`it was not sent on: ${HOPS_MAX} nodes have sent it on already`, primary);
    const mayRepeat = headerOf(write.headers, "idempotency-key") !== undefined;
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await this.#once(primary, write, hops);
      } catch (error) {
        if (write.signal.aborted) return refusal("API_CLIENT_GONE", "the client went away while it waited");
        const why = error instanceof Error ? error.message : String(error);
        if (wasNotSent(error)) return failed(`it was not sent: ${why}`, primary);
        if (!mayRepeat || attempt > 1)
          return failed(`whether the write happened is unknown: ${why}`, primary);
      }
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

const NOT_CONNECTED = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN", "EHOSTUNREACH", "ENETUNREACH"]);

function wasNotSent(error: unknown): boolean {
  return error instanceof Error && "code" in error && NOT_CONNECTED.has(String(error.code));
}

function failed(why: string, primary: string): Refusal {
  return refusal("REPLICATION_FORWARD_FAILED", `the primary at ${primary} did not answer; ${why}`, {
    primary,
  });
}
