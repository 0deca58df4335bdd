/** The demo's input, a commit a line, and what each commit writes: itself, and the running totals of its files. */

export interface FileChange {
  readonly path: string;
  /** Lines; null for a binary file. */
  readonly added: number | null;
  readonly deleted: number | null;
}

export interface Commit {
  readonly sha: string;
  readonly time: number;
  readonly subject: string;
  readonly files: readonly FileChange[];
}

export interface FileTotals {
  readonly commits: number;
  readonly added: number;
  readonly deleted: number;
}

export interface Pair {
  readonly key: string;
  readonly value: unknown;
}

export const commitKey = (sha: string): string => `commit:${sha}`;
export const fileKey = (path: string): string => `file:${path}`;
export const FILE_PREFIX = "file:";

/** @throws RangeError naming the line when it is no commit. */
export function commitOf(text: string, line: number): Commit {
  const value = parsed(text);
  if (!isCommit(value))
    throw new RangeError(`line ${line} is not a commit with sha, time, subject and files`);
  return value;
}

/** undefined when the text is no JSON. */
function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isCommit(value: unknown): value is Commit {
  if (typeof value !== "object" || value === null) return false;
  const { sha, time, subject, files } = value as Partial<Record<keyof Commit, unknown>>;
  return (
    typeof sha === "string" &&
    typeof time === "number" &&
    typeof subject === "string" &&
    Array.isArray(files) &&
    files.every(isFileChange)
  );
}

function isFileChange(value: unknown): value is FileChange {
  if (typeof value !== "object" || value === null) return false;
  const { path, added, deleted } = value as Partial<Record<keyof FileChange, unknown>>;
  return typeof path === "string" && isLines(added) && isLines(deleted);
}

const isLines = (value: unknown): boolean => value === null || typeof value === "number";

/** Adds up commit by commit; each commit is asked for once, in order. */
export class RunningTotals {
  readonly #totals = new Map<string, FileTotals>();

  /** Everything that this commit changes, as one atomic write. */
  pairsOf(commit: Commit): Pair[] {
    const changed = commit.files.map(({ path, added, deleted }) => {
      const before = this.#totals.get(path) ?? { commits: 0, added: 0, deleted: 0 };
      const after = {
        commits: before.commits + 1,
        added: before.added + (added ?? 0),
        deleted: before.deleted + (deleted ?? 0),
      };
      this.#totals.set(path, after);
      return { key: fileKey(path), value: after };
    });
    return [{ key: commitKey(commit.sha), value: commit }, ...changed];
  }
}
