/** Entity tags: a revision in quotes. Comparing them follows RFC 9110 §8.8.3 and §13.1. */
import type { Offset } from "../../log/index.js";
import { type Refusal, refusal } from "../errors.js";

export function etag(revision: Offset): string {
  return `"${revision}"`;
}

/** True when the header names this revision, or any (`*`). A weak tag never matches strongly. */
export function matchesAny(header: string, revision: Offset, comparison: "strong" | "weak"): boolean {
  if (header.trim() === "*") return true;
  const wanted = etag(revision);
  return header.split(",").some((item) => {
    const tag = item.trim();
    return tag === wanted || (comparison === "weak" && tag === `W/${wanted}`);
  });
}

/** The revision that a write is conditional on. A tag that no value ever had can't match, so it is a mismatch at once. */
export function singleRevision(header: string): number | Refusal {
  const found = /^\s*"([1-9][0-9]{0,15})"\s*$/.exec(header);
  if (found !== null) return Number(found[1]);
  if (header.includes(",")) {
    return refusal("API_PRECONDITION_UNSUPPORTED", "If-Match on a write takes one tag");
  }
  return refusal("KV_REVISION_MISMATCH", "no value has this tag");
}
