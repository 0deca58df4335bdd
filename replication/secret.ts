/**
 * The proof that both sides know a shared secret, without sending it: an HMAC-SHA-256 over everything that was said in the greeting.
 * Each side signs under a label of its own, so a proof cannot be sent back to whoever made it, and over a nonce of the other's, so it
 * cannot be used a second time.
 *
 * While a secret gives way to another one, a node knows both. The dialler proves with all that it knows; the acceptor answers with one of
 * those, the first of its own. So two nodes understand each other whenever they have one secret in common.
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
import type { Challenge, Hello } from "./messages.js";

export const PROOF_BYTES = 32;

/** Those of one node: two while one gives way to another, and room for who begins anew before that is over. */
export const SECRETS_MAX = 4;

/** What a node knows, the one that it prefers first. None: it asks for none, and refuses who has one. */
export type Secrets = readonly Uint8Array[];

/** What was said before. */
export interface Transcript {
  readonly challenge: Challenge;
  /** The body of the hello. */
  readonly hello: Uint8Array;
}

/** What a hello says: the proof by the first secret, and those by all further ones, one behind the other. */
export function proveHelloWithAll(
  [first, ...further]: Secrets,
  said: Transcript,
): { readonly proof: Uint8Array; readonly more: Uint8Array | undefined } {
  const more = further.map((secret) => proveHello(secret, said));
  return { proof: proveHello(first, said), more: more.length === 0 ? undefined : Buffer.concat(more) };
}

/** All proofs of a hello. A rest that is no proof is none. */
export function proofsOf({ proof, more = new Uint8Array(0) }: Pick<Hello, "proof" | "more">): Uint8Array[] {
  const proofs = [proof];
  for (let at = 0; at < more.length; at += PROOF_BYTES) proofs.push(more.subarray(at, at + PROOF_BYTES));
  return proofs;
}

/**
 * Which of the secrets one of the proofs was made with, by its place; undefined: none. Whoever is refused has had all of them compared;
 * where the search ends only those see who know that secret.
 */
export function provedWith(
  secrets: Secrets,
  found: readonly Uint8Array[],
  prove: (secret: Uint8Array | undefined) => Uint8Array,
): number | undefined {
  const candidates = secrets.length === 0 ? [undefined] : secrets;
  const at = candidates.findIndex((secret) => {
    const expected = prove(secret);
    return found.some((proof) => isSameProof(expected, proof));
  });
  return at < 0 ? undefined : at;
}

/** Whether a node that knows these knows that one. Undefined is what a link was proved with where nobody has a secret. */
export function isAmong(secrets: Secrets, one: Uint8Array | undefined): boolean {
  if (one === undefined) return secrets.length === 0;
  return secrets.some((secret) => Buffer.compare(secret, one) === 0);
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
function isSameProof(expected: Uint8Array, found: Uint8Array): boolean {
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
