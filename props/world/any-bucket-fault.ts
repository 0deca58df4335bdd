/** What a bucket service may do with one request, drawn: mostly nothing out of the ordinary. */
import type { S3Call, S3Fault } from "../../test/support/s3-server.js";

/** `share`: of the requests that meet a fault. */
export function anyBucketFault(random: () => number, { method }: S3Call, share = 0.2): S3Fault | undefined {
  if (random() > share) return undefined;
  const below = (count: number): number => Math.floor(random() * count);
  const faults: readonly S3Fault[] = [
    { type: "refuse", status: 500, code: "InternalError" },
    { type: "refuse", status: 503, code: "SlowDown" },
    { type: "refuse", status: 409, code: "ConditionalRequestConflict" },
    { type: "reset" },
    { type: "lose-answer" },
    { type: "late", ms: below(LATE_MS_MAX) },
    { type: "slow" },
    { type: "error-in-body" },
    method === "GET" ? { type: "cut", bytes: below(1000) } : { type: "lose-answer" },
  ];
  return random() < 0.03 ? { type: "hang" } : faults[below(faults.length)];
}

/** Whatever was given up has been done after so long, or never will be. */
export const LATE_MS_MAX = 40;
