/**
 * The proof that both sides know the shared secret, without sending it: an HMAC-SHA-256 over everything that was said in the greeting.
 * Each side signs under a label of its own, so a proof cannot be sent back to whoever made it, and over a nonce of the other's, so it
 * cannot be used a second time.
 *
 *   proof of a hello    HMAC-SHA-256(secret, "annals hello" ‖ part(challenge) ‖ part(hello body))
 *   proof of a welcome  HMAC-SHA-256(secret, "annals welcome" ‖ part(challenge) ‖ part(hello body) ‖ part(welcome body))
 *   part(x)             bytes of x (u32) ‖ x
 *   challenge           protocol (u16) ‖ nonce
 *
 * The bodies hold the node ids, the cluster ids and the dialler's nonce, the challenge holds the
 * acceptor's. It proves who opened the connection; what comes after is not signed. Against somebody who can change bytes on
 * the way only TLS helps.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { Challenge } from "./messages.js";

export const PROOF_BYTES = 32;

/** What was said before. */
export interface Transcript {
  readonly challenge: Challenge;
  /** The body of the hello. */
  readonly hello: Uint8Array;
}

export function proveHello(secret: Uint8Array | undefined, said: Transcript): Uint8Array {
  return proof(secret, "annals hello", [challengeBytes(said.challenge), said.hello]);
}

export function proveWelcome(
  secret: Uint8Array | undefined,
  said: Transcript,
  welcome: Uint8Array,
): Uint8Array {
  return proof(secret, "annals welcome", [challengeBytes(said.challenge), said.hello, welcome]);
}

/** Takes the same time wherever they differ. Without a secret both are empty: a side that has none refuses a side that has one. */
export function isSameProof(expected: Uint8Array, found: Uint8Array): boolean {
  return expected.length === found.length && timingSafeEqual(expected, found);
}

function challengeBytes({ protocol, nonce }: Challenge): Uint8Array {
  const bytes = Buffer.alloc(2 + nonce.length);
  bytes.writeUInt16LE(protocol, 0);
  bytes.set(nonce, 2);
  return bytes;
}

function proof(secret: Uint8Array | undefined, label: string, parts: readonly Uint8Array[]): Uint8Array {
  if (secret === undefined) return new Uint8Array(0);
  const hmac = createHmac("sha256", secret).update(label);
  for (const part of parts) {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(part.length);
    hmac.update(length).update(part);
  }
  return hmac.digest();
}
