/**
 * How long what a replica acknowledges counts. A primary that was stopped, or that hears late what was said long ago, cannot know that it was
 * replaced meanwhile. So an acknowledgement names the last heartbeat that the replica had heard, and counts for `LEASE_MS` from when the
 * primary said that one; a lease ends by itself, and is renewed by every heartbeat that is answered.
 *
 * Whoever takes over and cannot fence the primary waits until no lease is left that was given before the fence. Each side measures by its
 * own stopwatch, from an end that is safe: the primary from when it spoke, the others from when they heard it.
 */

export const LEASE_MS = 600;
/** The same on a stopwatch that runs slower by less than a tenth. */
export const LEASE_OVER_MS = 660;
/** While there is something to confirm a lease is renewed so often. */
export const LEASE_RENEWED_EVERY_MS = 150;
