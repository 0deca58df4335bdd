/** A node that stands alone, in a directory that was a node of a set before. */
import type { EpochEntry, FileSystem } from "../log/index.js";
import { ReplicationError } from "./errors.js";
import { followedLast, isFenced } from "./leadership.js";
import { readLeadership } from "./leadership-file.js";
import { describeLeadership } from "./leadership-order.js";

/**
 * For the opening of its log. It asks nobody and wins nothing, so it goes on only under a leadership of its own above which it has heard of none.
 * An epoch above what was heard would be no way out: back in its set, it would end the leadership of whoever was promoted there.
 * @throws ReplicationError REPLICATION_NOT_ALONE, REPLICATION_LEADERSHIP_DAMAGED.
 */
export async function mayStandAlone(
  files: FileSystem,
  dataDirectory: string,
  newest: EpochEntry | undefined,
): Promise<void> {
  const content = await readLeadership(files, dataDirectory);
  const { heard, from, primary } = content;
  const known = { epoch: heard?.epoch, own: newest?.epoch, primary: primary?.http };
  if (followedLast(content)) throw notAlone(`${dataDirectory} is a replica's, and was not promoted`, known);
  if (!isFenced(newest, heard)) return;
  const [own, higher] = [newest, heard].map(describeLeadership);
  throw notAlone(
    `${dataDirectory} is of a set that another node leads: its log ends under ${own}, and ${higher} was heard of from ${from}`,
    known,
  );
}

const notAlone = (message: string, known: ReplicationError["context"]): ReplicationError =>
  new ReplicationError("REPLICATION_NOT_ALONE", message, known);
