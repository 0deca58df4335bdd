/**
 * Whether everything agrees at the end: what went in, what each kind of store serves, and what the log
 * tells. Reads and adds up; what to think of a difference is the caller's affair.
 */
import { ROOM } from "./commit-batch.js";
import type { Commit, FileChange } from "./commits.js";
import type { Fact } from "./facts.js";
import { DONE_PREFIX, QUEUE } from "./jobs.js";
import type { LogAudit } from "./log-audit.js";
import type { QueueTotals, StoreClient } from "./store-client.js";
import { type ChangedFile, filesOf } from "./summary.js";

/** The lines of all files, added up: three stores have their own. */
interface Sums {
  readonly changes: number;
  readonly added: number;
  readonly deleted: number;
}

/** Every commit of the input is at its offset; the sums are of what the stream holds. */
export interface StreamRead {
  readonly events: number;
  readonly endOffset: number;
  readonly inOrder: number;
  readonly sums: Sums;
}

/** Reads the whole stream beside the input. */
export async function readStream(client: StoreClient, input: AsyncIterable<Commit>): Promise<StreamRead> {
  const expected = input[Symbol.asyncIterator]();
  let [events, inOrder, endOffset] = [0, 0, 0];
  let sums: Sums = { changes: 0, added: 0, deleted: 0 };
  for (let from = 0; ; ) {
    const page = await client.eventsFrom(ROOM, from);
    endOffset = page.end_offset;
    for (const { offset, data } of page.events) {
      const text = Buffer.from(data).toString("utf8");
      const wanted = await expected.next();
      if (wanted.done !== true && offset === events && JSON.stringify(wanted.value) === text) inOrder++;
      events++;
      const { files }: Commit = JSON.parse(text);
      sums = files.reduce(withChange, sums);
    }
    if (page.events.length === 0) return { events, endOffset, inOrder, sums };
    from = page.next_offset;
  }
}

const withChange = (sums: Sums, { added, deleted }: Omit<FileChange, "path">): Sums => ({
  changes: sums.changes + 1,
  added: sums.added + (added ?? 0),
  deleted: sums.deleted + (deleted ?? 0),
});

/** What the consumers left behind. */
async function readDone(client: StoreClient): Promise<Sums> {
  let sums: Sums = { changes: 0, added: 0, deleted: 0 };
  for await (const keys of client.keys(DONE_PREFIX)) {
    for (const value of await client.getMany(keys)) sums = withChange(sums, changeOf(value));
  }
  return sums;
}

function changeOf(value: unknown): Omit<FileChange, "path"> {
  if (typeof value === "object" && value !== null) {
    const { added, deleted } = value as Partial<Record<keyof FileChange, unknown>>;
    if (isLines(added) && isLines(deleted)) return { added, deleted };
  }
  throw new Error(`a job left something else than lines: ${JSON.stringify(value)}`);
}

const isLines = (value: unknown): value is number | null => value === null || typeof value === "number";

/** What a server serves at the end. */
export interface Served {
  readonly files: readonly ChangedFile[];
  readonly stream: StreamRead;
  readonly done: Sums;
  readonly queue: QueueTotals;
}

/** `input`: what was sent to it. */
export async function servedBy(client: StoreClient, input: AsyncIterable<Commit>): Promise<Served> {
  const files = await filesOf(client);
  const stream = await readStream(client, input);
  const done = await readDone(client);
  return { files, stream, done, queue: await client.queueTotals(QUEUE) };
}

export interface Found extends Served {
  readonly commits: number;
  readonly fileChanges: number;
  readonly audit: LogAudit;
}

export function factsOf(found: Found): Fact[] {
  const { commits, fileChanges: jobs, files, stream, done, queue, audit } = found;
  const kept: Sums = {
    changes: files.reduce((sum, file) => sum + file.commits, 0),
    added: files.reduce((sum, file) => sum + file.added, 0),
    deleted: files.reduce((sum, file) => sum + file.deleted, 0),
  };
  const fact = (what: string, expected: number, value: number): Fact => ({ what, expected, found: value });
  return [
    fact("commits written, by the log", commits, audit.commitsSet),
    fact("different commits written", commits, audit.distinctCommits),
    fact("commits in one record with their event, totals and jobs", commits, audit.wholeCommits),
    fact(`events in the stream ${ROOM}`, commits, stream.events),
    fact("its end offset", commits, stream.endOffset),
    fact("its events at their offset, as they went in", commits, stream.inOrder),
    fact(`jobs published to the queue ${QUEUE}`, jobs, queue.published),
    fact("jobs published, by the log", jobs, audit.published),
    fact("jobs acknowledged", jobs, queue.acked),
    fact("jobs acknowledged, by the log", jobs, audit.acked),
    fact("different jobs acknowledged", jobs, audit.distinctAcked),
    fact("deliveries, by the log", queue.consumed, audit.delivered),
    fact(
      "deliveries acknowledged, timed out, or given back unsent",
      queue.consumed,
      queue.acked + queue.timed_out + audit.unsent,
    ),
    fact("jobs left in the queue", 0, queue.depth + queue.delayed + queue.in_flight),
    fact(
      "jobs dead, purged or expired",
      0,
      queue.dead_lettered + queue.dlq_count + queue.purged + queue.expired,
    ),
    fact("file changes: stream", jobs, stream.sums.changes),
    fact("file changes: totals of the files", jobs, kept.changes),
    fact("file changes: jobs done", jobs, done.changes),
    fact("lines added: totals of the files", stream.sums.added, kept.added),
    fact("lines added: jobs done", stream.sums.added, done.added),
    fact("lines deleted: totals of the files", stream.sums.deleted, kept.deleted),
    fact("lines deleted: jobs done", stream.sums.deleted, done.deleted),
  ];
}
