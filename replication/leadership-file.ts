/**
 * `leadership.json` of a data directory: what a node promised about leaderships and knows of its set, and must not forget. One JSON object
 * on one line, replaced as a whole; what is not known is left out:
 *
 *   field     meaning                                                            checked on read
 *   format    1                                                                  known; else REPLICATION_LEADERSHIP_DAMAGED with other advice
 *   heard     highest leadership ever heard of: epoch, lineageId                 epoch from 1, 32 hex digits
 *   from      who told of it, for people                                         text
 *   since     when, ms since 1970                                                a whole number
 *   primary   who leads under `heard`, when that is known                        a node
 *   list      the set as its primary lists it: under (a leadership),             at most 64 nodes
 *             version, nodes (nodeId, name, listen, http, since, confirmed)
 *   lived     what the node was last                                             a role
 *   owes      since when, ms since 1970, it lacks records that it may have          a whole number
 *             confirmed: the damaged end of its log was cut off
 *   told      what the node was made while it ran, and which settings it         roles are known
 *             overrules: role, address, settings {role, address}
 *   nodeId    drawn by a node that has no log yet; gone with its first       32 hex digits
 *   crc       CRC-32 of the same JSON without this field, 8 hex digits           equal
 *
 * It is written before anything is done because of it. A node that forgot what it heard could confirm what must not be confirmed any
 * more, so a damaged file is never passed over.
 */
import {
  epoch as asEpoch,
  crc32,
  errnoOf,
  type FileSystem,
  readWholeFile,
  replaceFile,
} from "../log/index.js";
import { ReplicationError } from "./errors.js";
import type { Leadership } from "./leadership-order.js";
import { PEERS_MAX, type PeerNote } from "./messages.js";
import type { Address } from "./ports.js";
import type { Role } from "./settings.js";

export const LEADERSHIP_FILE = "leadership.json";
const FORMAT = 1;
const BYTES_MAX = 256 * 1024;

export interface RoleAndAddress {
  readonly role: Role;
  readonly address: Address | undefined;
}

export interface NodeListContent {
  /** The leadership whose primary made the list; undefined of none. */
  readonly under: Leadership | undefined;
  readonly version: number;
  readonly nodes: readonly PeerNote[];
}

export interface LeadershipContent {
  readonly heard: Leadership | undefined;
  readonly from: string;
  readonly since: number;
  readonly primary: PeerNote | undefined;
  readonly list: NodeListContent;
  readonly lived: Role | undefined;
  readonly owes: number | undefined;
  readonly told: (RoleAndAddress & { readonly settings: RoleAndAddress }) | undefined;
  /**
   * Of a node that has no log yet: others know it by this id already. With a log the log's identity says it; a node that lost its log is
   * another one, for what it confirmed is not there any more.
   */
  readonly nodeId: string | undefined;
}

export const NOTHING_HEARD: LeadershipContent = {
  heard: undefined,
  from: "",
  since: 0,
  primary: undefined,
  list: { under: undefined, version: 0, nodes: [] },
  lived: undefined,
  owes: undefined,
  told: undefined,
  nodeId: undefined,
};

export function encodeLeadership(content: LeadershipContent): Uint8Array {
  const fields = { format: FORMAT, ...content };
  // Undefined fields are left out of objects, and the reader takes what is not there for undefined.
  const text = JSON.stringify(fields);
  return Buffer.from(`${JSON.stringify({ ...fields, crc: checksumOf(text) })}\n`);
}

const checksumOf = (text: string): string => crc32(Buffer.from(text), 0).toString(16).padStart(8, "0");

/** The content, or what is wrong with it. Never throws, whatever the bytes. */
export function decodeLeadership(
  bytes: Uint8Array,
): LeadershipContent | "json" | "crc" | "format" | "fields" {
  let parsed: unknown;
  try {
    parsed = JSON.parse(Buffer.from(bytes).toString("utf8"));
  } catch {
    return "json";
  }
  if (!isObject(parsed)) return "json";
  const { crc, ...fields } = parsed;
  if (crc !== checksumOf(JSON.stringify(fields))) return "crc";
  if (fields["format"] !== FORMAT) return "format";
  return isContent(fields) ? contentOf(fields) : "fields";
}

function contentOf(fields: LeadershipContent): LeadershipContent {
  const { heard, from, since, primary, list, lived, owes, told, nodeId } = fields;
  return { heard, from, since, primary, list, lived, owes, told, nodeId };
}

/**
 * What a data directory says; nothing when there is no file.
 * @throws ReplicationError REPLICATION_LEADERSHIP_DAMAGED.
 */
export async function readLeadership(files: FileSystem, dataDirectory: string): Promise<LeadershipContent> {
  const path = `${dataDirectory}/${LEADERSHIP_FILE}`;
  if (!(await files.exists(path))) return NOTHING_HEARD;
  let fault: string;
  try {
    const decoded = decodeLeadership(await readWholeFile(files, path, BYTES_MAX));
    if (typeof decoded === "object") return decoded;
    fault = decoded;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    fault = "length";
  }
  const advice =
    fault === "format"
      ? "it was written by another release of Annals"
      : "without it this node could confirm writes that another primary does not have. Restore the file, or empty the data directory and let the node join anew";
  const message = `${path} cannot be read (${fault}): ${advice}`;
  throw new ReplicationError("REPLICATION_LEADERSHIP_DAMAGED", message, { file: path, found: fault });
}

/** The content in memory, and its way to the disk: changes that come while one is being written are written together after it. */
export class LeadershipFile {
  readonly #files: FileSystem;
  readonly #directory: string;
  #content = NOTHING_HEARD;
  #durable = NOTHING_HEARD;
  #running: Promise<unknown> = Promise.resolve();
  #waiting: Promise<void> | undefined;

  constructor(files: FileSystem, dataDirectory: string) {
    this.#files = files;
    this.#directory = dataDirectory;
  }

  /** Before anything else; makes the directory of a fresh replica. @throws ReplicationError REPLICATION_LEADERSHIP_DAMAGED. */
  async load(): Promise<void> {
    await this.#files.makeDirectory(this.#directory);
    this.#content = await readLeadership(this.#files, this.#directory);
    this.#durable = this.#content;
  }

  get content(): LeadershipContent {
    return this.#content;
  }

  /** What a restart would find, or something newer. */
  get durable(): LeadershipContent {
    return this.#durable;
  }

  /** In memory at once; resolves when it is durable. @throws ReplicationError REPLICATION_LOG_FAILED when it could not be written. */
  change(part: Partial<LeadershipContent>): Promise<void> {
    this.#content = { ...this.#content, ...part };
    return this.write();
  }

  /** Resolves when what is in memory now is durable. */
  write(): Promise<void> {
    this.#waiting ??= this.#write(this.#running);
    // Whoever asked for the write is told; the next one is tried on a file of its own.
    this.#running = this.#waiting.catch(() => undefined);
    return this.#waiting;
  }

  /** Resolves when nothing is being written. */
  async settled(): Promise<void> {
    await this.#running;
  }

  async #write(before: Promise<unknown>): Promise<void> {
    await before;
    this.#waiting = undefined;
    const content = this.#content;
    try {
      await replaceFile(this.#files, this.#directory, LEADERSHIP_FILE, encodeLeadership(content));
    } catch (error) {
      const file = `${this.#directory}/${LEADERSHIP_FILE}`;
      const context = { file, errno: errnoOf(error) };
      throw new ReplicationError("REPLICATION_LOG_FAILED", `${file} cannot be written`, context, error);
    }
    this.#durable = content;
  }
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const isCount = (value: unknown, min = 0): value is number =>
  typeof value === "number" && Number.isSafeInteger(value) && value >= min;

const isText = (value: unknown): value is string => typeof value === "string";
const isId = (value: unknown): boolean => isText(value) && /^[0-9a-f]{32}$/.test(value);
const orMissing = (value: unknown, is: (value: unknown) => boolean): boolean =>
  value === undefined || is(value);

const isRole = (value: unknown): boolean => value === "master" || value === "replica";

const isAddress = (value: unknown): boolean =>
  isObject(value) && isText(value["host"]) && isCount(value["port"]) && value["port"] <= 65_535;

const isLeadership = (value: unknown): boolean =>
  isObject(value) && isCount(value["epoch"], asEpoch(1)) && isId(value["lineageId"]);

const isRoleAndAddress = (value: unknown): value is Record<string, unknown> =>
  isObject(value) && isRole(value["role"]) && orMissing(value["address"], isAddress);

const isNode = (value: unknown): boolean =>
  isObject(value) &&
  isId(value["nodeId"]) &&
  isText(value["name"]) &&
  orMissing(value["listen"], isAddress) &&
  orMissing(value["http"], isText) &&
  isCount(value["since"]) &&
  isCount(value["confirmed"]);

const isList = (value: unknown): boolean =>
  isObject(value) &&
  orMissing(value["under"], isLeadership) &&
  isCount(value["version"]) &&
  Array.isArray(value["nodes"]) &&
  value["nodes"].length <= PEERS_MAX &&
  value["nodes"].every(isNode);

function isContent(fields: Record<string, unknown>): fields is Record<string, unknown> & LeadershipContent {
  const { heard, from, since, primary, list, lived, owes, told, nodeId } = fields;
  return (
    orMissing(heard, isLeadership) &&
    isText(from) &&
    isCount(since) &&
    orMissing(primary, isNode) &&
    isList(list) &&
    orMissing(lived, isRole) &&
    orMissing(owes, (value) => isCount(value)) &&
    orMissing(nodeId, isId) &&
    orMissing(told, (value) => isRoleAndAddress(value) && isRoleAndAddress(value["settings"]))
  );
}
