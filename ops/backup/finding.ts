/** One thing that is wrong with a repository, and how it is said in one line. */

export type BackupFindingCode =
  /** An object that should be there is not. */
  | "missing"
  /** An object's bytes are not those that were stored. */
  | "damaged"
  /** An object is whole, but another one than its name or the manifest says. */
  | "swapped"
  /** A file that does not belong into a repository, or belongs to another cluster's. */
  | "foreign"
  /** Segments of a backup do not follow each other. */
  | "gap"
  /** Manifests do not follow each other, or the head does not agree with them. */
  | "chain"
  /** Written by a release with another format. No damage. */
  | "version"
  /** Harmless: what a killed backup, prune or server left. The next prune removes it, or a server's sweep. */
  | "leftover";

export interface BackupFinding {
  readonly code: BackupFindingCode;
  /** Name of the object. */
  readonly name: string;
  readonly expected: string;
  readonly found: string;
  readonly advice: string;
}

const ADVICE: Readonly<Record<BackupFindingCode, string>> = {
  missing:
    "put it back from another copy of the repository; else the backups that name it cannot be restored",
  damaged:
    "put it back from another copy, or remove it: the next backup sends it again while the log still has it",
  swapped: "put the right one back from another copy, or remove it: the next backup sends it again",
  foreign: "move it elsewhere",
  gap: "this backup cannot be restored as a whole; make a new one",
  chain:
    "somebody removed or changed a manifest: look at another copy of the repository; a new backup begins anew",
  version: "use the release that wrote it, or a newer one",
  leftover: "`annals backup prune` removes it, or in time the server that archives here",
};

export function finding(
  code: BackupFindingCode,
  name: string,
  expected: string,
  found: string,
): BackupFinding {
  return { code, name, expected, found, advice: ADVICE[code] };
}

export function describeBackupFinding({ name, expected, found, advice }: BackupFinding): string {
  return `${name}: expected ${expected}, found ${found}; ${advice}`;
}
