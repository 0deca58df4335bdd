/** `annals diff A B`: what differs between two states, and how far two logs are the same. */
import { tmpdir } from "node:os";
import { resolve } from "node:path";
import type { Command } from "commander";
import type { LogReader, Offset } from "../../log/index.js";
import { offset as asOffset } from "../../log/index.js";
import { type Difference, type Digests, differences, type Fold } from "../../projections/index.js";
import { type Agreement, agreementOf, type CrcSource } from "../past/agreement.js";
import type { OfflinePast } from "../past/offline-past.js";
import { removeAside, restoreAside } from "./backup-place.js";
import { CliFailure, exitCodes } from "./failure.js";
import { interruption } from "./interruption.js";
import { askNode } from "./node-door.js";
import { wholeNumber } from "./number-argument.js";
import { colour, writeJson, writeLine } from "./output.js";
import {
  openPast,
  type Place,
  type ProgressFlags,
  placeArgument,
  refusedBy,
  usage,
} from "./past-arguments.js";
import { nonEmpty } from "./text-arguments.js";

interface DiffFlags extends ProgressFlags {
  readonly json?: boolean;
  readonly limit: number;
  readonly workDir: string;
}

const LIMIT = 1000;

export function addDiff(program: Command): void {
  program
    .command("diff")
    .description(
      "tell what two states differ in; of two servers, the first offset at which their logs differ",
    )
    .argument(
      "<a>",
      "DIR (its end), DIR@OFFSET, DIR@TIME, REPOSITORY#BACKUP, REPOSITORY# (the newest), or the address of a server",
    )
    .argument("<b>", "the same; @OFFSET or @TIME alone is of the same directory or backup")
    .option("--limit <count>", "differences shown; all are counted", wholeNumber(0, 999_999_999), LIMIT)
    .option("--work-dir <directory>", "where there is room for each backup, for a while", nonEmpty, tmpdir())
    .option("--json", "one JSON object")
    .option("--progress", "show progress on stderr, terminal or not")
    .action(diff);
}

async function diff(first: string, second: string, flags: DiffFlags): Promise<void> {
  const a = placeArgument(first);
  const b = placeArgument(second, a);
  if (a.type === "node" && b.type === "node") return diffNodes(a.url, b.url, flags);
  if (a.type === "node" || b.type === "node") {
    throw usage("a server is compared with a server, a directory or a backup with a directory or a backup");
  }
  const directories: string[] = [];
  const aside: Aside = { directories, signal: interruption() };
  try {
    const before = await stateOf(a, flags, aside);
    await diffStates(before, await stateOf(b, flags, aside), flags);
  } finally {
    await removeAside(directories);
  }
}

/** Where backups are restored to for as long as they are compared. */
interface Aside {
  readonly directories: string[];
  readonly signal: AbortSignal;
}

type StatePlace = Exclude<Place, { type: "node" }>;

interface State {
  readonly past: OfflinePast;
  readonly fold: Fold;
  /** When it is looked at, ms since 1970; 0 = at its last record's own time. */
  readonly time: number;
  readonly place: string;
  readonly path: string;
  /** The last record that counts. */
  readonly end: Offset;
}

async function stateOf(place: StatePlace, flags: DiffFlags, { directories, signal }: Aside): Promise<State> {
  if (place.type === "backup") {
    const { dataDirectory, last, name } = await restoreAside(
      place,
      resolve(flags.workDir),
      directories,
      flags,
      signal,
    );
    const past = await openPast(dataDirectory, name, flags, signal);
    const end = asOffset(last);
    const { moment } = place;
    const time = moment?.type === "time" ? moment.time : 0;
    return { past, fold: await past.foldAt(end), time, place: `${name}@${end}`, path: name, end };
  }
  const past = await openPast(place.path, place.path, flags, signal);
  const point = await past.point(place.moment);
  if (point.type === "refused") throw refusedBy(place.path, point);
  const { at, time } = point;
  const fold = await past.stateAt(point);
  if ("type" in fold) throw refusedBy(place.path, fold);
  return { past, fold, time, place: `${place.path}@${at}`, path: place.path, end: past.log.endOffset };
}

async function diffStates(before: State, after: State, flags: DiffFlags): Promise<void> {
  const shown: Difference[] = [];
  const counts = { added: 0, changed: 0, removed: 0 };
  for (const difference of differences(before.fold, after.fold, before.time, after.time)) {
    counts[difference.change] += 1;
    if (shown.length < flags.limit) shown.push(difference);
  }
  const logs =
    before.path === after.path
      ? undefined
      : await agreementOf(sourceOf(before, await clusterOf(before)), sourceOf(after, await clusterOf(after)));
  const total = counts.added + counts.changed + counts.removed;
  if (flags.json === true) {
    writeJson({
      a: sideJson(before),
      b: sideJson(after),
      ...(logs === undefined ? {} : { logs: agreementJson(logs) }),
      ...counts,
      differences: shown.map(({ kind, name, change, sameValue }) => ({
        kind,
        name,
        change,
        ...(sameValue === true && { same_value: true }),
      })),
      truncated: shown.length < total,
    });
    return;
  }
  writeLine(`${before.place} → ${after.place}`);
  if (logs !== undefined) writeLine(`logs: ${inWords(logs)}`);
  for (const each of shown) writeLine(lineOf(each));
  if (shown.length < total) writeLine(`… and ${total - shown.length} more; --limit shows them`);
  writeLine(`${counts.added} added, ${counts.changed} changed, ${counts.removed} removed`);
}

function sideJson({ fold, time, path }: State): {
  place: string;
  offset: number;
  time: number;
  digests: Digests;
} {
  return { place: path, offset: fold.offset, time: Math.max(time, fold.clock), digests: fold.digests(time) };
}

const SIGNS = {
  added: ["+", 32],
  changed: ["~", 33],
  removed: ["-", 31],
} as const;

function lineOf({ kind, name, change, sameValue }: Difference): string {
  const [sign, shade] = SIGNS[change];
  const note = sameValue === true ? "  (the same value, written again)" : "";
  return `${colour(process.stdout, shade, sign)} ${kind} ${JSON.stringify(name)}${note}`;
}

function sourceOf({ past: { log }, place, end }: State, clusterId: string): CrcSource {
  return {
    name: place,
    clusterId,
    firstOffset: log.firstOffset,
    endOffset: end,
    crcAt: async (at) => (await log.markAt(asOffset(at))).crc,
  };
}

async function clusterOf({ past: { log } }: { past: { log: LogReader } }): Promise<string> {
  return (await log.markAt(log.endOffset)).clusterId;
}

async function diffNodes(a: string, b: string, flags: DiffFlags): Promise<void> {
  const agreement = await agreementOf(await nodeSource(a), await nodeSource(b));
  if (flags.json === true) {
    writeJson({ a, b, logs: agreementJson(agreement) });
    return;
  }
  writeLine(`${a} and ${b}: ${inWords(agreement)}`);
}

async function nodeSource(url: string): Promise<CrcSource> {
  const last = await crcOf(url);
  return {
    name: url,
    clusterId: String(last["cluster_id"]),
    firstOffset: Number(last["first_offset"]),
    endOffset: Number(last["end_offset"]),
    crcAt: async (at) => Number((await crcOf(url, at))["crc"]),
  };
}

async function crcOf(url: string, at?: number): Promise<Readonly<Record<string, unknown>>> {
  const { status, body } = await askNode(url, at === undefined ? "/log/crc" : `/log/crc?offset=${at}`);
  if (status === 200 && typeof body["crc"] === "number") return body;
  const { error_code: code = status, error = "no fingerprint of the log" } = body;
  throw new CliFailure(exitCodes.failed, `${url}: ${code}: ${error}; compare again, or other nodes`);
}

function agreementJson({ sameUpTo, firstDifferent, comparedFrom, asked }: Agreement) {
  return {
    same_up_to: sameUpTo ?? null,
    first_different: firstDifferent ?? null,
    compared_from: comparedFrom,
    fingerprints_asked: asked,
  };
}

function inWords({ sameUpTo, firstDifferent, comparedFrom }: Agreement): string {
  if (firstDifferent === undefined) return `the same up to offset ${sameUpTo}, the end of the shorter`;
  return sameUpTo === undefined
    ? `different from offset ${comparedFrom} on, the first that both have: they are not one log`
    : `the same up to offset ${sameUpTo}, different from offset ${firstDifferent} on`;
}
