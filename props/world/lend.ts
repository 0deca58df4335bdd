/** Bytes that are somebody's for one call only, as a socket's are: afterwards something else lies in their memory. */
export function lend(bytes: Uint8Array, to: (lent: Uint8Array) => void): void {
  const lent = Uint8Array.from(bytes);
  to(lent);
  lent.fill(0xee);
}
