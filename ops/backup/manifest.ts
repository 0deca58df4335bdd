/**
 * A manifest: what a backup, or a state of the archive, consists of. JSON text in one form only, so that a changed byte
 * anywhere in it shows:
 *
 *   - names of every object in alphabetical order, but `sha256` last; indented by one space; ends with a line feed
 *   - `sha256` is that of the same text without the field: of the object as it stands before the field is added
 *
 * | field | meaning | what is checked on read |
 * |---|---|---|
 * | formatVersion | 2; 1 is read, which has no directoryFormat | known; else BACKUP_VERSION_UNKNOWN |
 * | kind | backup, archive | |
 * | annalsVersion, tool | the release that wrote it, and with what | |
 * | clusterId, nodeId | whose log | equal in all segments |
 * | createdAt | ms since 1970 | = the name's |
 * | firstOffset, lastOffset | records that it holds, both inclusive | = the segments' |
 * | firstTimestamp, lastTimestamp | of those records | = theirs |
 * | lastCrc | chained crc of the record at lastOffset: the fingerprint of the whole log up to there | = the last segment's |
 * | epochs | who wrote what, oldest first | = the segments' |
 * | files | segments in the order of offsets, then snapshots | each: size, SHA-256, and what it says of itself |
 * | snapshot | the snapshot that a start would load, and the digests of its state; null without one | is one of the files |
 * | directoryFormat | version of the data directory's format: no file holds anything that this version does not know | known; else BACKUP_VERSION_UNKNOWN |
 * | segmentFormat | format version of the segments | known; else BACKUP_VERSION_UNKNOWN |
 * | previous | id and SHA-256 of the manifest before, null in the first | is there, unless pruned |
 */
import { createHash } from "node:crypto";
import { type Static, type TSchema, Type } from "@sinclair/typebox";
import { Value } from "@sinclair/typebox/value";
import { DIRECTORY_FORMAT_VERSION, SEGMENT_FORMAT_VERSION } from "../../log/index.js";
import { BackupError } from "./errors.js";

export const MANIFEST_FORMAT_VERSION = 2;
/** Of manifests 1, which do not say: there were no later directories while releases wrote them. */
const UNSAID_DIRECTORY_FORMAT = 3;
/** A segment of 64 MiB takes about 400 bytes: enough for 10 TB. */
export const MANIFEST_BYTES_MAX = 64 * 1024 * 1024;

const closed = { additionalProperties: false };
const Count = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER });
const OffsetField = Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER });
const Crc = Type.Integer({ minimum: 0, maximum: 0xffff_ffff });
const Id = Type.String({ pattern: "^[0-9a-f]{32}$" });
const Sha256 = Type.String({ pattern: "^[0-9a-f]{64}$" });

const SegmentEntry = Type.Object(
  {
    kind: Type.Literal("segment"),
    name: Type.String(),
    bytes: Count,
    sha256: Sha256,
    baseOffset: OffsetField,
    endOffset: OffsetField,
    /** Of what began before `baseOffset`: the first offset of the segment that it is a piece of. */
    segmentBase: Type.Optional(OffsetField),
    lineageId: Id,
    /** Chained crc of the record before baseOffset, and of the one at endOffset. */
    chainCrc: Crc,
    endCrc: Crc,
  },
  closed,
);

const SnapshotEntry = Type.Object(
  {
    kind: Type.Literal("snapshot"),
    name: Type.String(),
    bytes: Count,
    sha256: Sha256,
    offset: OffsetField,
  },
  closed,
);

const EpochField = Type.Object({ epoch: OffsetField, first: OffsetField, nodeId: Id, lineageId: Id }, closed);

const ManifestFields = {
  kind: Type.Union([Type.Literal("backup"), Type.Literal("archive")]),
  annalsVersion: Type.String(),
  tool: Type.String(),
  clusterId: Id,
  nodeId: Id,
  createdAt: Count,
  firstOffset: OffsetField,
  lastOffset: OffsetField,
  firstTimestamp: Count,
  lastTimestamp: Count,
  lastCrc: Crc,
  epochs: Type.Array(EpochField, { minItems: 1 }),
  files: Type.Array(Type.Union([SegmentEntry, SnapshotEntry]), { minItems: 1 }),
  snapshot: Type.Union([
    Type.Null(),
    Type.Object(
      {
        name: Type.String(),
        offset: OffsetField,
        /** Chained crc of the record at the offset. */
        crc: Crc,
        /** Of each projection's state, at the offset and at the time `clock` (ms since 1970). */
        digests: Type.Record(Type.String(), Type.String()),
        clock: Count,
      },
      closed,
    ),
  ]),
  segmentFormat: Count,
  previous: Type.Union([Type.Null(), Type.Object({ id: Type.String(), sha256: Sha256 }, closed)]),
};

const NewestFields = {
  ...ManifestFields,
  formatVersion: Type.Literal(MANIFEST_FORMAT_VERSION),
  directoryFormat: Type.Integer({ minimum: 1, maximum: Number.MAX_SAFE_INTEGER }),
};

const ManifestBody = Type.Object(NewestFields, closed);
const NewestManifest = Type.Object({ ...NewestFields, sha256: Sha256 }, closed);
const FirstManifest = Type.Object(
  { ...ManifestFields, formatVersion: Type.Literal(1), sha256: Sha256 },
  closed,
);
const MANIFESTS = new Map<number, typeof NewestManifest | typeof FirstManifest>([
  [1, FirstManifest],
  [MANIFEST_FORMAT_VERSION, NewestManifest],
]);

export type SegmentEntry = Static<typeof SegmentEntry>;
export type SnapshotEntry = Static<typeof SnapshotEntry>;
export type ManifestEntry = SegmentEntry | SnapshotEntry;
/** All but the hash. */
export type ManifestBody = Static<typeof ManifestBody>;
export type Manifest = Static<typeof NewestManifest>;

type Listing = Pick<Manifest, "files"> | undefined;

export const segmentsOf = (manifest: Listing): SegmentEntry[] =>
  manifest?.files.filter((file) => file.kind === "segment") ?? [];

export const snapshotsOf = (manifest: Listing): SnapshotEntry[] =>
  manifest?.files.filter((file) => file.kind === "snapshot") ?? [];

/** The manifest with its hash, and its text. */
export function sealManifest(body: ManifestBody): { readonly manifest: Manifest; readonly text: string } {
  const manifest = { ...body, sha256: hashOf(body) };
  return { manifest, text: textOf(manifest) };
}

/**
 * The manifest in these bytes, in the newest form whichever it was written in; its `sha256` is that of the bytes. `name` is for the error.
 * @throws BackupError BACKUP_DAMAGED, BACKUP_VERSION_UNKNOWN.
 */
export function readManifest(bytes: Uint8Array, name: string): Manifest {
  const read = decodeSealed(MANIFESTS, bytes, name);
  const manifest: Manifest =
    read.formatVersion === 1
      ? { ...read, formatVersion: MANIFEST_FORMAT_VERSION, directoryFormat: UNSAID_DIRECTORY_FORMAT }
      : read;
  const formats = [
    ["a data directory of format version", manifest.directoryFormat, DIRECTORY_FORMAT_VERSION],
    ["segments of format version", manifest.segmentFormat, SEGMENT_FORMAT_VERSION],
  ] as const;
  for (const [what, found, expected] of formats)
    if (found > expected)
      throw new BackupError(
        "BACKUP_VERSION_UNKNOWN",
        `${name} is of ${what} ${found}, this release reads ${versionsTo(expected)}: Annals ${manifest.annalsVersion} wrote it`,
        { name, expected, found },
      );
  return manifest;
}

/**
 * JSON of one of the schemas, by format version, with a `sha256` field, in its one form. Also the heads of chains are written so.
 * @throws BackupError BACKUP_DAMAGED, BACKUP_VERSION_UNKNOWN.
 */
export function decodeSealed<S extends TSchema>(
  schemas: ReadonlyMap<number, S>,
  bytes: Uint8Array,
  name: string,
): Static<S> {
  const parsed = parse(bytes, name);
  const version = fieldOf(parsed, "formatVersion");
  const schema = typeof version === "number" ? schemas.get(version) : undefined;
  if (typeof version === "number" && schema === undefined && hashHolds(parsed))
    throw versionUnknown(name, version, Math.max(...schemas.keys()), fieldOf(parsed, "annalsVersion"));
  if (schema === undefined) throw damaged(name, "it has no format version that anybody wrote");
  if (!Value.Check(schema, parsed)) {
    const [first] = Value.Errors(schema, parsed);
    throw damaged(name, `${first?.path ?? ""} ${first?.message ?? "is not what it should be"}`.trim());
  }
  if (!hashHolds(parsed)) throw damaged(name, "its SHA-256 is another one");
  if (textOf(parsed) !== Buffer.from(bytes).toString("utf8"))
    throw damaged(name, "its text is not in the form in which it was written");
  return parsed;
}

/** As it is stored, with the hash as its last field. */
export function sealedText(body: Readonly<Record<string, unknown>>): {
  readonly text: string;
  readonly sha256: string;
} {
  const sha256 = hashOf(body);
  return { text: textOf({ ...body, sha256 }), sha256 };
}

function parse(bytes: Uint8Array, name: string): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    if (error instanceof SyntaxError || error instanceof TypeError) throw damaged(name, "it is not JSON");
    throw error;
  }
}

function hashHolds(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  const { sha256, ...body } = { sha256: undefined, ...value };
  return hashOf(body) === sha256;
}

const hashOf = (body: unknown): string => createHash("sha256").update(textOf(body)).digest("hex");

function textOf(value: unknown): string {
  return `${JSON.stringify(ordered(value), null, 1)}\n`;
}

/** The same value with the names of every object in order, `sha256` of the outermost last. */
function ordered(value: unknown, isOutermost = true): unknown {
  if (Array.isArray(value)) return value.map((item) => ordered(item, false));
  if (typeof value !== "object" || value === null) return value;
  const rank = (name: string): string => (isOutermost && name === "sha256" ? `~${name}` : name);
  const entries = Object.entries(value).sort(([a], [b]) => (rank(a) < rank(b) ? -1 : 1));
  return Object.fromEntries(entries.map(([name, item]) => [name, ordered(item, false)]));
}

function fieldOf(value: unknown, name: string): unknown {
  if (typeof value !== "object" || value === null) return undefined;
  return new Map<string, unknown>(Object.entries(value)).get(name);
}

function versionUnknown(name: string, found: number, expected: number, release: unknown): BackupError {
  const who = typeof release === "string" ? `Annals ${release}` : "another release";
  return new BackupError(
    "BACKUP_VERSION_UNKNOWN",
    `${name} has format version ${found}, this release reads ${versionsTo(expected)}: ${who} wrote it`,
    { name, expected, found },
  );
}

function versionsTo(newest: number): string {
  return newest === 1 ? "1" : `1 to ${newest}`;
}

function damaged(name: string, what: string): BackupError {
  return new BackupError("BACKUP_DAMAGED", `${name} is damaged: ${what}`, { name });
}
