/**
 * Collects the bytes of a request body, bounded. Fastify's own collector (`parseAs: "buffer"`) copies every body, waits for
 * the stream's end and takes its listeners off again one by one, which costs a small write as much as finding its key.
 */
import type { IncomingMessage } from "node:http";
import { errorCodes, type FastifyInstance, type FastifyRequest } from "fastify";
import { type WireRequest, wireOf } from "./wire.js";

/** Turns the bytes of a body into what the handlers find as `request.body`. */
export type BodyReader = (bytes: Buffer) => unknown;

/** Bodies of this content type (`*`: of any) are collected up to `bytesMax`, then read by `read`, which must not throw. */
export function registerBody(
  server: FastifyInstance,
  contentType: string,
  bytesMax: number,
  read: BodyReader,
): void {
  server.addContentTypeParser(contentType, (_request: FastifyRequest, incoming: IncomingMessage, done) => {
    collect(wireOf(incoming), bytesMax, (error, bytes) => {
      if (error === undefined) done(null, read(bytes));
      else done(error, undefined);
    });
  });
}

const NOTHING = Buffer.alloc(0);

/**
 * Calls `done` once: as soon as the announced length is there, or at the end of a body without one. The bytes may be a
 * view of what the socket read; nobody else writes into it.
 */
function collect(
  incoming: WireRequest,
  bytesMax: number,
  done: (error: Error | undefined, bytes: Buffer) => void,
): void {
  const announced = incoming.headers["content-length"];
  // Digits only: Node's parser refuses any other.
  const length = announced === undefined ? undefined : Number(announced);
  if (length !== undefined && length > bytesMax) {
    done(new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE(), NOTHING);
    return;
  }
  let first: Buffer | undefined;
  let chunks: Buffer[] | undefined;
  let received = 0;
  let settled = false;
  const settle = (error: Error | undefined): void => {
    if (settled) return;
    settled = true;
    done(error, chunks === undefined ? (first ?? NOTHING) : Buffer.concat(chunks, received));
  };
  incoming.on("error", settle);
  if (length === 0) {
    incoming.ignore();
    settle(undefined);
    return;
  }
  const take = (chunk: Buffer): void => {
    if (settled) return;
    received += chunk.length;
    if (received > bytesMax) {
      settle(new errorCodes.FST_ERR_CTP_BODY_TOO_LARGE());
      return;
    }
    if (first === undefined) first = chunk;
    else if (chunks === undefined) chunks = [first, chunk];
    else chunks.push(chunk);
    if (received === length) settle(undefined);
  };
  incoming.collect(take, () => settle(undefined));
}
