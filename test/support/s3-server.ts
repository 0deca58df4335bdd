/**
 * A bucket service of our own, on a real port: what a store of ours may use of S3, with checked signatures and hashes, paged
 * lists, ranges, conditions and uploads in parts. It can be told to misbehave, request by request, and it remembers what was
 * asked and whether an object's content was ever replaced.
 */
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { S3Address } from "../../ops/backup/s3-address.js";
import { signatureFault } from "./s3-signature.js";

export type S3Fault =
  /** Answers with this status and code; nothing is done. */
  | { readonly type: "refuse"; readonly status: number; readonly code: string }
  /** Nothing is done, and no answer ever comes. */
  | { readonly type: "hang" }
  /** Nothing is done, the connection breaks. */
  | { readonly type: "reset" }
  /** All is done, and the connection breaks instead of an answer. */
  | { readonly type: "lose-answer" }
  /** All is done after so many ms, and the connection broke meanwhile: what was given up happens later. */
  | { readonly type: "late"; readonly ms: number }
  /** Of the answer's body only so many bytes arrive. */
  | { readonly type: "cut"; readonly bytes: number }
  /** The answer's body comes in small pieces. */
  | { readonly type: "slow" }
  /** A long job that begins with 200 and ends with an error in its body. */
  | { readonly type: "error-in-body" };

/** One request, as faults are chosen by and tests look at. */
export interface S3Call {
  readonly method: string;
  /** Empty for the bucket. */
  readonly key: string;
  readonly query: URLSearchParams;
  /** From 1. */
  readonly number: number;
  readonly isList: boolean;
}

interface Stored {
  readonly bytes: Buffer;
  readonly tag: string;
  readonly changedAt: number;
}

interface Reply {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: Uint8Array | string;
}

const BUCKET = "bucket";
const KEYS = { accessKeyId: "AKIDTEST", secretAccessKey: "secret/of+a+test", region: "eu-test-1" };

export class S3Server {
  readonly objects = new Map<string, Stored>();
  readonly calls: S3Call[] = [];
  /** Keys whose content was replaced by another one. */
  readonly overwritten: string[] = [];
  /** Requests that were refused for their signature. */
  readonly badSignatures: string[] = [];
  /** Which fault meets this request; undefined for none. */
  fault: (call: S3Call) => S3Fault | undefined = () => undefined;
  /** Of a list. */
  pageSize = 4;
  /** Added to the service's clock. */
  aheadMs = 0;
  readonly #uploads = new Map<string, { key: string; parts: Map<number, Buffer> }>();
  readonly #server: Server;
  readonly #late = new Set<NodeJS.Timeout>();
  #count = 0;
  #begun = 0;

  private constructor(server: Server) {
    this.#server = server;
  }

  static async start(): Promise<S3Server> {
    const server = createServer();
    const self = new S3Server(server);
    server.on("request", (request, response) => {
      self.#serve(request, response).catch((error: unknown) => response.destroy(error as Error));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    return self;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** What a server process or a command needs to use it. */
  get environment(): Record<string, string> {
    return { AWS_ACCESS_KEY_ID: KEYS.accessKeyId, AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey };
  }

  url(prefix: string): string {
    return `s3://${BUCKET}/${prefix}?endpoint=${encodeURIComponent(this.endpoint)}&region=${KEYS.region}`;
  }

  address(prefix: string): S3Address {
    const { region, ...credentials } = KEYS;
    return {
      url: this.url(prefix),
      endpoint: this.endpoint,
      region,
      bucket: BUCKET,
      prefix: prefix === "" ? "" : `${prefix}/`,
      credentials: { ...credentials, sessionToken: undefined },
    };
  }

  /** Every object below a prefix, below another one too. */
  copy(from: string, to: string): void {
    for (const [key, stored] of [...this.objects])
      if (key.startsWith(`${from}/`)) this.objects.set(`${to}${key.slice(from.length)}`, stored);
  }

  /** Uploads in parts that were begun and not ended. */
  get openUploads(): number {
    return this.#uploads.size;
  }

  async close(): Promise<void> {
    for (const timer of this.#late) clearTimeout(timer);
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const body = Buffer.concat(chunks);
    const url = new URL(request.url ?? "/", "http://any");
    const [, bucket = "", ...rest] = decodeURIComponent(url.pathname).split("/");
    const key = rest.join("/");
    const method = request.method ?? "";
    const isList = method === "GET" && key === "";
    const call: S3Call = { method, key, query: url.searchParams, number: ++this.#count, isList };
    this.calls.push(call);
    const fault = this.fault(call);
    if (fault?.type === "hang") return;
    if (fault?.type === "reset") return void request.socket.destroy();
    if (fault?.type === "refuse") return this.#answer(response, errorReply(fault.status, fault.code));
    const wrong = signatureFault({ method, target: request.url ?? "", headers: request.headers, body }, KEYS);
    if (wrong !== undefined) {
      this.badSignatures.push(`${method} ${request.url}: ${wrong}`);
      return this.#answer(response, errorReply(403, wrong));
    }
    if (bucket !== BUCKET) return this.#answer(response, errorReply(404, "NoSuchBucket"));
    if (fault?.type === "late") {
      request.socket.destroy();
      const timer = setTimeout(() => this.#do(call, request, body), fault.ms);
      this.#late.add(timer);
      return;
    }
    const isJob = fault?.type === "error-in-body" && method === "POST" && url.searchParams.has("uploadId");
    const reply = isJob ? { status: 200, body: errorXml("InternalError") } : this.#do(call, request, body);
    if (fault?.type === "lose-answer") return void request.socket.destroy();
    await this.#answer(response, reply, fault);
  }

  #do(call: S3Call, request: IncomingMessage, body: Buffer): Reply {
    const { method, key, query } = call;
    if (key === "") return method === "GET" ? this.#list(query) : errorReply(405, "MethodNotAllowed");
    if (method === "POST" && query.has("uploads")) return this.#begin(key);
    const uploadId = query.get("uploadId");
    if (uploadId !== null) return this.#upload(call, request, body, uploadId);
    const stored = this.objects.get(key);
    if (method === "PUT") {
      const refused = refusal(request, stored);
      if (refused !== undefined) return refused;
      return { status: 200, headers: { etag: this.#store(key, body) } };
    }
    if (method === "DELETE") {
      this.objects.delete(key);
      return { status: 204 };
    }
    if (stored === undefined) return errorReply(404, "NoSuchKey");
    return this.#read(request, stored);
  }

  #read(request: IncomingMessage, { bytes, tag, changedAt }: Stored): Reply {
    const match = request.headers["if-match"];
    if (match !== undefined && match !== tag) return errorReply(412, "PreconditionFailed");
    const headers = { etag: tag, "last-modified": new Date(changedAt).toUTCString() };
    const [, first = "", last = ""] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? [];
    if (first === "") return { status: 200, headers, body: bytes };
    if (Number(first) >= bytes.length) return errorReply(416, "InvalidRange");
    const end = last === "" ? bytes.length : Math.min(Number(last) + 1, bytes.length);
    const range = `bytes ${first}-${end - 1}/${bytes.length}`;
    return {
      status: 206,
      headers: { ...headers, "content-range": range },
      body: bytes.subarray(Number(first), end),
    };
  }

  #list(query: URLSearchParams): Reply {
    const [prefix, token] = [query.get("prefix") ?? "", query.get("continuation-token") ?? ""];
    const after = Buffer.from(token, "base64url").toString();
    const all = [...this.objects]
      .filter(([key]) => key.startsWith(prefix) && key > after)
      .sort(([a], [b]) => (a < b ? -1 : 1));
    const page = all.slice(0, this.pageSize);
    const isCut = all.length > page.length;
    const items = page.map(
      ([key, { bytes, changedAt }]) =>
        `<Contents><Key>${encodeURIComponent(key)}</Key><LastModified>${new Date(changedAt).toISOString()}</LastModified><Size>${bytes.length}</Size></Contents>`,
    );
    const next = Buffer.from(page.at(-1)?.[0] ?? "").toString("base64url");
    return {
      status: 200,
      body: `<?xml version="1.0"?><ListBucketResult><EncodingType>url</EncodingType><IsTruncated>${isCut}</IsTruncated>${isCut ? `<NextContinuationToken>${next}</NextContinuationToken>` : ""}${items.join("")}</ListBucketResult>`,
    };
  }

  #begin(key: string): Reply {
    // A count of its own: one that is begun late comes between other requests.
    const id = `upload-${++this.#begun}`;
    this.#uploads.set(id, { key, parts: new Map() });
    return {
      status: 200,
      body: `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
    };
  }

  #upload({ method, key, query }: S3Call, request: IncomingMessage, body: Buffer, id: string): Reply {
    const upload = this.#uploads.get(id);
    if (upload === undefined || upload.key !== key) return errorReply(404, "NoSuchUpload");
    if (method === "DELETE") {
      this.#uploads.delete(id);
      return { status: 204 };
    }
    if (method === "PUT") {
      upload.parts.set(Number(query.get("partNumber")), body);
      return { status: 200, headers: { etag: tagOf(body) } };
    }
    const refused = refusal(request, this.objects.get(key));
    if (refused !== undefined) return refused;
    const named = [...body.toString().matchAll(/<PartNumber>(\d+)<\/PartNumber><ETag>([^<]*)<\/ETag>/g)];
    const parts = named.map(([, number]) => upload.parts.get(Number(number)));
    const isWhole = named.every(([, , tag], i) => {
      const part = parts[i];
      return part !== undefined && tagOf(part) === tag?.replaceAll("&quot;", '"');
    });
    if (!isWhole || named.length === 0) return errorReply(400, "InvalidPart");
    this.#uploads.delete(id);
    const tag = this.#store(key, Buffer.concat(parts.flatMap((part) => part ?? [])));
    return {
      status: 200,
      body: `<CompleteMultipartUploadResult><ETag>${tag}</ETag></CompleteMultipartUploadResult>`,
    };
  }

  #store(key: string, bytes: Buffer): string {
    const before = this.objects.get(key);
    if (before !== undefined && !before.bytes.equals(bytes)) this.overwritten.push(key);
    const tag = tagOf(bytes);
    this.objects.set(key, { bytes, tag, changedAt: Date.now() + this.aheadMs });
    return tag;
  }

  async #answer(response: ServerResponse, reply: Reply, fault?: S3Fault): Promise<void> {
    const body = Buffer.from(reply.body ?? "");
    response.setHeader("date", new Date(Date.now() + this.aheadMs).toUTCString());
    response.writeHead(reply.status, { ...reply.headers, "content-length": String(body.length) });
    if (response.req.method === "HEAD") return void response.end();
    if (fault?.type === "cut") {
      response.write(body.subarray(0, fault.bytes), () => response.destroy());
      return;
    }
    if (fault?.type === "slow") {
      const step = Math.max(1, Math.ceil(body.length / 5));
      for (let at = 0; at < body.length; at += step) {
        response.write(body.subarray(at, at + step));
        await new Promise((resolve) => setTimeout(resolve, 1));
      }
    } else response.write(body);
    response.end();
  }
}

/** As a condition of the request says; undefined when it holds. */
function refusal(request: IncomingMessage, stored: Stored | undefined): Reply | undefined {
  const [none, match] = [request.headers["if-none-match"], request.headers["if-match"]];
  if (none === "*" && stored !== undefined) return errorReply(412, "PreconditionFailed");
  if (match !== undefined && stored === undefined) return errorReply(404, "NoSuchKey");
  if (match !== undefined && stored?.tag !== match) return errorReply(412, "PreconditionFailed");
  return undefined;
}

const tagOf = (bytes: Uint8Array): string => `"${createHash("md5").update(bytes).digest("hex")}"`;
const errorXml = (code: string): string => `<?xml version="1.0"?><Error><Code>${code}</Code></Error>`;
const errorReply = (status: number, code: string): Reply => ({ status, body: errorXml(code) });
