import type { Answered } from "../operations/reply.js";

/** What the head of an answer tells through every door: that it was given before, where in the log it is, which revision it shows. */
export function replyHeaders({ replayed, at, offset, revision }: Answered): string[] {
  const headers: string[] = replayed === true ? ["Idempotent-Replayed", "true"] : [];
  if (at !== undefined) headers.push("X-Annals-Offset", String(at));
  if (offset !== undefined) headers.push("X-Annals-Offset", String(offset));
  // A write tells the revision in its body.
  else if (revision !== undefined) headers.push("X-Annals-Revision", String(revision));
  return headers;
}
