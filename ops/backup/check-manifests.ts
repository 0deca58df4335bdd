/**
 * What the manifests of a repository show by themselves, without a look at what they name: whether each can be read, whether
 * they follow each other as the head says, and whether the segments of each are one log.
 */
import type { ArchiveHead } from "./archive-chain.js";
import { BackupError } from "./errors.js";
import { type BackupFinding, finding } from "./finding.js";
import {
  ARCHIVE_HEAD,
  archiveManifestObject,
  BACKUP_HEAD,
  backupObject,
  parseObject,
  segmentObject,
} from "./layout.js";
import { type Manifest, type SegmentEntry, segmentsOf } from "./manifest.js";
import type { Head, LoadedManifest } from "./repository.js";

/** What the chain of manifests is made of. */
export interface ChainLink {
  readonly id: string;
  readonly name: string;
  readonly read: Pick<Manifest, "sha256" | "previous"> | BackupError;
}

export function unreadable({ name, read }: LoadedManifest): BackupFinding[] {
  return read instanceof BackupError ? [findingOf(read, name)] : [];
}

export function findingOf(error: BackupError, name: string): BackupFinding {
  const code = error.code === "BACKUP_VERSION_UNKNOWN" ? "version" : "damaged";
  return finding(code, name, "a whole file of this release's format", error.message);
}

/**
 * `backups` are all there are, oldest first. The head may be a step behind in either direction: a backup that was killed
 * has put its manifest and not yet the head, a prune has moved the head and not yet removed what lies before it.
 */
export function chainFindings(
  backups: readonly ChainLink[],
  head: Head | "unreadable" | undefined,
): { findings: BackupFinding[]; notes: BackupFinding[] } {
  const wanted = backups.filter(({ id }) => typeof head !== "object" || id >= head.oldest);
  const notes = backups
    .slice(0, backups.length - wanted.length)
    .map(({ name }) => finding("leftover", name, "no backup older than the oldest kept", "one"));
  return { findings: [...headFindings(wanted, head), ...orderFindings(wanted)], notes };
}

/** The archive's, oldest first. A server may be writing to it: newer ones than the head's are no damage. */
export function archiveFindings(
  manifests: readonly ChainLink[],
  head: ArchiveHead | "unreadable" | undefined,
): BackupFinding[] {
  const findings = manifests.flatMap((link, i) => archiveOrder(manifests[i - 1], link));
  const last = Number(manifests.at(-1)?.id ?? 0);
  if (head === "unreadable") return findings;
  if (head === undefined)
    return last < 2
      ? findings
      : [...findings, finding("missing", ARCHIVE_HEAD, "the archive's head", "none")];
  const { id, sha256 } = head.newest;
  const named = manifests.find((link) => link.id === id);
  const name = archiveManifestObject(Number(id));
  if (Number(id) > last) findings.push(finding("missing", name, "the newest, as the head says", "none"));
  else if (named !== undefined && !(named.read instanceof BackupError) && named.read.sha256 !== sha256)
    findings.push(chain(name, `SHA-256 ${sha256}, as the head says`, named.read.sha256));
  return findings;
}

function archiveOrder(before: ChainLink | undefined, { id, name, read }: ChainLink): BackupFinding[] {
  if (before === undefined) return [];
  const wanted = archiveManifestObject(Number(id) - 1);
  if (before.name !== wanted) return [finding("missing", wanted, "a manifest of the archive", "none")];
  if (read instanceof BackupError || before.read instanceof BackupError) return [];
  const { sha256 } = before.read;
  if (read.previous?.sha256 === sha256) return [];
  return [chain(name, `the one before to have SHA-256 ${read.previous?.sha256}`, sha256)];
}

/** Each names the one before; what cannot be read may be named, and may be passed over by those that came later. */
function orderFindings(wanted: readonly ChainLink[]): BackupFinding[] {
  const findings: BackupFinding[] = [];
  let before: ChainLink[] = [];
  for (const backup of wanted) {
    const { name, read } = backup;
    if (read instanceof BackupError) {
      before.push(backup);
      continue;
    }
    const { id, sha256 } = read.previous ?? {};
    const named = before.find((one) => one.id === id)?.read;
    const isFirst = before.length === 0 && backup === wanted[0];
    if (!isFirst && named === undefined)
      findings.push(chain(name, `${before.at(-1)?.id} as the one before`, id ?? "none"));
    else if (named !== undefined && !(named instanceof BackupError) && named.sha256 !== sha256)
      findings.push(chain(name, `the one before to have SHA-256 ${sha256}`, named.sha256));
    before = [backup];
  }
  return findings;
}

function headFindings(wanted: readonly ChainLink[], head: Head | "unreadable" | undefined): BackupFinding[] {
  if (head === "unreadable") return [];
  if (head === undefined) {
    // Killed between the first manifest and the first head there is one of the one and none of the other.
    return wanted.length < 2 ? [] : [finding("missing", BACKUP_HEAD, "the head of the backups", "none")];
  }
  const { oldest, newest } = head;
  const findings: BackupFinding[] = [];
  if (wanted[0]?.id !== oldest)
    findings.push(finding("missing", backupObject(oldest), "the oldest backup, as the head says", "none"));
  const at = wanted.findIndex(({ id }) => id === newest.id);
  const [named, last] = [wanted[at], wanted.at(-1)];
  if (named === undefined)
    findings.push(finding("missing", backupObject(newest.id), "the newest backup, as the head says", "none"));
  else if (!(named.read instanceof BackupError) && named.read.sha256 !== newest.sha256)
    findings.push(chain(named.name, `SHA-256 ${newest.sha256}, as the head says`, named.read.sha256));
  else if (at < wanted.length - 2 && last !== undefined)
    findings.push(chain(BACKUP_HEAD, `${last.id} or the one before as the newest`, newest.id));
  return findings;
}

/** Whether the segments of a manifest are one log, and are what the manifest says of them all. */
export function contentFindings(name: string, manifest: Manifest): BackupFinding[] {
  const segments = segmentsOf(manifest);
  const [first, last] = [segments[0], segments[segments.length - 1]];
  const findings: BackupFinding[] = [];
  if (first?.baseOffset !== manifest.firstOffset)
    findings.push(gap(name, `the record ${manifest.firstOffset} first`, `${first?.baseOffset ?? "none"}`));
  for (const [i, segment] of segments.entries()) {
    const before = segments[i - 1];
    if (before !== undefined) findings.push(...borderFindings(name, before, segment));
    findings.push(...epochFindings(name, manifest, segment));
    if (segmentObject(nameParts(segment)) !== segment.name)
      findings.push(finding("swapped", name, segmentObject(nameParts(segment)), segment.name));
  }
  if (last?.endOffset !== manifest.lastOffset || last.endCrc !== manifest.lastCrc)
    findings.push(gap(name, `the record ${manifest.lastOffset} last`, `${last?.endOffset ?? "none"}`));
  return [...findings, ...snapshotFindings(name, manifest)];
}

function borderFindings(name: string, before: SegmentEntry, after: SegmentEntry): BackupFinding[] {
  const wanted = before.endOffset + 1;
  if (after.baseOffset !== wanted) return [gap(name, `a segment from ${wanted} on`, `${after.baseOffset}`)];
  if (after.chainCrc === before.endCrc) return [];
  return [gap(name, `${after.name} to continue crc ${before.endCrc}`, `crc ${after.chainCrc}`)];
}

function epochFindings(name: string, { epochs }: Manifest, segment: SegmentEntry): BackupFinding[] {
  const at = epochs.findIndex(({ lineageId }) => lineageId === segment.lineageId);
  const [own, next] = [epochs[at], epochs[at + 1]];
  const isWithin =
    own !== undefined &&
    own.first <= segment.baseOffset &&
    (next === undefined || segment.endOffset < next.first);
  return isWithin ? [] : [gap(name, `${segment.name} to be of an epoch of the table`, segment.lineageId)];
}

function snapshotFindings(name: string, manifest: Manifest): BackupFinding[] {
  const { snapshot, files, firstOffset, lastOffset } = manifest;
  if (snapshot === null)
    return firstOffset === 1 ? [] : [gap(name, `a snapshot that reaches up to ${firstOffset}`, "none")];
  const entry = files.find((file) => file.kind === "snapshot" && file.name === snapshot.name);
  const parsed = parseObject(snapshot.name);
  if (entry?.kind !== "snapshot" || parsed?.kind !== "snapshot" || !entry.sha256.startsWith(parsed.sha))
    return [finding("swapped", name, "its snapshot among its files", snapshot.name)];
  const fits =
    entry.offset === snapshot.offset &&
    parsed.offset === snapshot.offset &&
    snapshot.offset >= firstOffset - 1 &&
    snapshot.offset <= lastOffset;
  return fits ? [] : [gap(name, "a snapshot within its records", `one at offset ${snapshot.offset}`)];
}

const nameParts = ({ baseOffset, endOffset, lineageId, sha256 }: SegmentEntry) => ({
  firstOffset: baseOffset,
  lastOffset: endOffset,
  lineageId,
  sha256,
});

const chain = (name: string, expected: string, found: string): BackupFinding =>
  finding("chain", name, expected, found);

const gap = (name: string, expected: string, found: string): BackupFinding =>
  finding("gap", name, expected, found);
