/** What the demo tells at its end, taken from what the server serves and from the files it left. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { FILE_PREFIX, type FileTotals } from "./commits.js";
import { type Fact, factsText } from "./facts.js";
import type { StoreClient } from "./store-client.js";

export interface ChangedFile extends FileTotals {
  readonly path: string;
}

export interface DemoSummary {
  readonly input: string;
  readonly commits: number;
  readonly fileChanges: number;
  readonly distinctFiles: number;
  readonly mostChanged: readonly ChangedFile[];
  readonly logBytes: number;
  /** Of the last record. */
  readonly endOffset: number;
  readonly restarts: number;
  /** How often jobs were delivered, and how often nobody acknowledged them in time. */
  readonly deliveries: number;
  readonly timedOut: number;
  readonly consumersKilled: number;
  /** What was compared; all of it agrees when the demo ends with 0. */
  readonly facts: readonly Fact[];
  /** Requests whose answer a kill took away, and those of them that were stored all the same. */
  readonly unanswered: number;
  readonly unansweredStored: number;
  readonly seconds: number;
  /** A commit, each of its file totals, its event in the stream, and a job's publish, delivery and ack are events. */
  readonly eventsPerSecond: number;
  readonly seed: number;
  readonly killsAfter: readonly number[];
  readonly dataDirectory: string;
}

/** Every file's totals as the server has them. */
export async function filesOf(client: StoreClient): Promise<ChangedFile[]> {
  const files: ChangedFile[] = [];
  for await (const keys of client.keys(FILE_PREFIX)) {
    const values = await client.getMany(keys);
    keys.forEach((key, at) => {
      files.push({ path: key.slice(FILE_PREFIX.length), ...totalsOf(key, values[at]) });
    });
  }
  return files;
}

function totalsOf(key: string, value: unknown): FileTotals {
  if (typeof value === "object" && value !== null) {
    const { commits, added, deleted } = value as Partial<Record<keyof FileTotals, unknown>>;
    if (typeof commits === "number" && typeof added === "number" && typeof deleted === "number") {
      return { commits, added, deleted };
    }
  }
  throw new Error(`${key} holds no totals: ${JSON.stringify(value)}`);
}

export function mostChanged(files: readonly ChangedFile[], count: number): ChangedFile[] {
  return [...files].sort((a, b) => b.commits - a.commits || (a.path < b.path ? -1 : 1)).slice(0, count);
}

export function logBytesOf(dataDirectory: string): number {
  const directory = join(dataDirectory, "log");
  return readdirSync(directory)
    .filter((name) => name.endsWith(".log"))
    .reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
}

export function textOf(summary: DemoSummary): string {
  const number = (value: number): string => value.toLocaleString("en-US");
  const rows = summary.mostChanged.map(
    ({ path, commits, added, deleted }) =>
      `  ${number(commits).padStart(7)}  ${`+${number(added)}`.padStart(9)} ${`-${number(deleted)}`.padStart(9)}  ${path}`,
  );
  return [
    `input            ${summary.input}`,
    `commits          ${number(summary.commits)}`,
    `file changes     ${number(summary.fileChanges)}`,
    `distinct files   ${number(summary.distinctFiles)}`,
    `log              ${number(summary.logBytes)} bytes, up to offset ${number(summary.endOffset)}`,
    `restarts         ${summary.restarts} (killed after ${summary.killsAfter.map(number).join(", ") || "–"} commits; seed ${summary.seed})`,
    `consumers        four, killed ${number(summary.consumersKilled)} times; ${number(summary.deliveries)} deliveries, of which ${number(summary.timedOut)} timed out`,
    `lost answers     ${summary.unanswered}, of which ${summary.unansweredStored} were stored all the same`,
    `time             ${summary.seconds.toFixed(1)} s, ${number(Math.round(summary.eventsPerSecond))} events per second`,
    "",
    ...factsText(summary.facts),
    "",
    "most changed files (commits, lines added, deleted)",
    ...rows,
  ].join("\n");
}
