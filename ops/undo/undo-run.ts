/**
 * Undoing from outside: asks a server for page after page of `kv.restore` until everything under a pattern is again what it was.
 * The first answer says which offset the moment means; from then on that offset is asked for, so that all pages mean one state.
 *
 * Each page is one record, sent with an idempotency key, so a page whose answer was lost is sent again and done once. A dry run
 * writes nothing, so it has no key. When the server has let go of the past state in between, its cursor is refused and the walk
 * begins anew: what was written is not different any more.
 */
import type { Answer, ServerDoor } from "../import/server-door.js";
import { UndoError } from "./errors.js";

export interface UndoOptions {
  readonly door: Pick<ServerDoor, "tryOnce" | "insist">;
  /** Glob over keys. */
  readonly pattern: string;
  /** As the server takes it. */
  readonly at: string;
  readonly dryRun: boolean;
  /** Keys on a page. */
  readonly pageKeys: number;
  /** Nobody else's: it begins every idempotency key. */
  readonly runId: string;
  /** Told of each page's changes. */
  readonly onChanges: (changes: readonly Change[]) => void;
  /** The walk begins anew: of a dry run, what was told so far comes again. */
  readonly onRestart: () => void;
}

export const CHANGES = ["created", "replaced", "expiry_changed", "deleted"] as const;

export interface Change {
  readonly key: string;
  readonly change: (typeof CHANGES)[number];
  readonly revision: number;
}

export interface UndoSummary {
  /** Offset of the state that was restored. */
  readonly at: number;
  readonly dryRun: boolean;
  readonly pages: number;
  readonly counts: Readonly<Record<Change["change"], number>>;
  /** Of the last record that was written; 0 = none. */
  readonly lastOffset: number;
}

const RESTARTS_MAX = 20;

/** @throws UndoError; ImportError IMPORT_SERVER_UNAVAILABLE, IMPORT_ANSWER_UNKNOWN as the door. */
export async function undo(options: UndoOptions): Promise<UndoSummary> {
  let counts = noChanges();
  let lastOffset = 0;
  let at: number | string = options.at;
  let cursor: string | undefined;
  let restarts = 0;
  for (let page = 1; ; page++) {
    const answer = await askPage(options, page, at, cursor);
    if (answer === "begin_anew") {
      if (++restarts > RESTARTS_MAX) {
        throw new UndoError("UNDO_UNSTEADY", `the server let go of the state of ${at} ${restarts} times`);
      }
      cursor = undefined;
      if (options.dryRun) counts = noChanges();
      options.onRestart();
      continue;
    }
    at = answer.at;
    for (const { change } of answer.changes) counts[change] += 1;
    if (answer.changes.length > 0) {
      options.onChanges(answer.changes);
      if (!options.dryRun) lastOffset = answer.offset;
    }
    if (answer.cursor === null)
      return { at: answer.at, dryRun: options.dryRun, pages: page, counts, lastOffset };
    cursor = answer.cursor;
  }
}

const noChanges = (): Record<Change["change"], number> => ({
  created: 0,
  replaced: 0,
  expiry_changed: 0,
  deleted: 0,
});

interface Page {
  readonly at: number;
  readonly changes: readonly Change[];
  readonly cursor: string | null;
  readonly offset: number;
}

async function askPage(
  { door, pattern, dryRun, pageKeys, runId }: UndoOptions,
  page: number,
  at: number | string,
  cursor: string | undefined,
): Promise<Page | "begin_anew"> {
  const body = JSON.stringify({
    command: "kv.restore",
    request_id: runId,
    ...(!dryRun && { idempotency_key: `${runId}-${page}` }),
    payload: { pattern, at, dry_run: dryRun, limit: pageKeys, ...(cursor !== undefined && { cursor }) },
  });
  return door.insist(async () => {
    const answer = await door.tryOnce("POST", "/api/v1/command", body);
    return "unknown" in answer ? answer : readPage(answer);
  });
}

function readPage({ status, body }: Answer): Page | "begin_anew" | { readonly unknown: string } {
  const answer = fieldsOf(body);
  const { error_code: errorCode, code, error, payload } = answer;
  if (answer["success"] === true) return pageOf(fieldsOf(payload));
  if (errorCode === "KV_CURSOR_INVALID") return "begin_anew";
  // The request is still being done or confirmed, or could not be begun: the same request, later, gives its answer.
  if (code === 503 || code === 504 || errorCode === "IDEMPOTENCY_IN_PROGRESS")
    return { unknown: String(error) };
  if (typeof errorCode !== "string") {
    throw new UndoError("UNDO_ANSWER_UNKNOWN", `the answer (${status}) is none of an Annals server`);
  }
  throw new UndoError("UNDO_REFUSED", `${errorCode}: ${error}`, errorCode);
}

function pageOf(payload: Readonly<Record<string, unknown>>): Page {
  const { at, changes, cursor, log_offset: offset } = payload;
  if (
    typeof at !== "number" ||
    typeof offset !== "number" ||
    !(cursor === null || typeof cursor === "string") ||
    !(Array.isArray(changes) && changes.every(isChange))
  ) {
    throw new UndoError("UNDO_ANSWER_UNKNOWN", "the answer is not what kv.restore answers");
  }
  return { at, changes, cursor, offset };
}

function isChange(value: unknown): value is Change {
  const { key, change, revision } = fieldsOf(value);
  return typeof key === "string" && typeof revision === "number" && CHANGES.some((each) => each === change);
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}
