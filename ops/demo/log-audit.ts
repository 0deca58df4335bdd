/**
 * What the log itself tells of the run, read by the tool that operators use: the totals that the server serves could be
 * wrong together with what they count, the records could not.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { commandLinePath } from "../server-child.js";

export interface LogAudit {
  /** How often a commit's key was set, and how many such keys there are. */
  readonly commitsSet: number;
  readonly distinctCommits: number;
  /** In records that hold as many events of the stream as commits, and for each of their files a total and a job. */
  readonly wholeCommits: number;
  readonly published: number;
  readonly delivered: number;
  /** Deliveries whose consumer had gone before its answer began to leave. */
  readonly unsent: number;
  readonly acked: number;
  /** Different messages acknowledged. */
  readonly distinctAcked: number;
}

interface DumpedEvent {
  readonly type: string;
  readonly key?: string;
  readonly messageId?: string;
  /** Of a delivery that ended without an ack: why. */
  readonly by?: string;
}

export async function auditOf(dataDirectory: string, commitPrefix: string): Promise<LogAudit> {
  const dump = spawn(process.execPath, [commandLinePath(), "dump", dataDirectory], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(dump, "exit");
  const commits = new Set<string>();
  const messages = new Set<string>();
  const count = { commitsSet: 0, wholeCommits: 0, published: 0, delivered: 0, unsent: 0, acked: 0 };
  for await (const line of createInterface(dump.stdout)) {
    const { events }: { readonly events?: readonly DumpedEvent[] } = JSON.parse(line);
    count.wholeCommits += wholeCommitsIn(events ?? [], commitPrefix);
    for (const { type, key = "", messageId = "", by } of events ?? []) {
      if (type === "kv.set" && key.startsWith(commitPrefix)) {
        count.commitsSet++;
        commits.add(key);
      } else if (type === "queue.published") count.published++;
      else if (type === "queue.delivered") count.delivered++;
      else if (type === "queue.requeued" && by === "unsent") count.unsent++;
      else if (type === "queue.acked") {
        count.acked++;
        messages.add(messageId);
      }
    }
  }
  const [code] = await ended;
  if (code !== 0) throw new Error(`annals dump ended with ${code}`);
  return { ...count, distinctCommits: commits.size, distinctAcked: messages.size };
}

function wholeCommitsIn(events: readonly DumpedEvent[], commitPrefix: string): number {
  const count = (type: string): number => events.filter((event) => event.type === type).length;
  const commits = events.filter(({ key = "" }) => key.startsWith(commitPrefix)).length;
  const isWhole =
    count("stream.appended") === commits && count("kv.set") === commits + count("queue.published");
  return isWhole ? commits : 0;
}
