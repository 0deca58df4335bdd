/** `annals status`: the nodes of a replicated set as a table, asked one by one; the first names the others. */
import { setTimeout as sleep } from "node:timers/promises";
import type { Command } from "commander";
import { CliFailure, exitCodes } from "./failure.js";
import { askNode } from "./node-door.js";
import { colour, endUnread, writeJson, writeLine } from "./output.js";
import { DEFAULT_SERVER, serverArgument } from "./server-argument.js";

interface StatusFlags {
  readonly json?: boolean;
  readonly watch?: boolean;
}

type Stats = Readonly<Record<string, unknown>>;

interface Row {
  readonly node: string;
  readonly stats: Stats | undefined;
  readonly problem: string | undefined;
  /** How many feeders it is away from the first. */
  readonly depth?: number;
}

const UNREACHABLE: Row = { node: "", stats: undefined, problem: "its HTTP address is not known" };
const TIMEOUT_MS = 2000;
const WATCH_MS = 1000;
/** As many as a set has at most. */
const NODES_MAX = 64;

export function addStatus(program: Command): void {
  program
    .command("status")
    .description("show the nodes of a set: who leads, who is how far behind")
    .argument("[node]", "address of any of them, such as http://db1:15500", serverArgument, DEFAULT_SERVER)
    .option("--watch", "again each second, until Ctrl-C")
    .option("--json", "one JSON object a look")
    .action(status);
}

async function status(node: string, flags: StatusFlags): Promise<void> {
  if (flags.watch === true) {
    endUnread();
    for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, stop);
  }
  for (let rows = await firstLook(node); ; rows = await nextLook(node, rows)) {
    if (flags.json === true) writeJson({ nodes: rows.map(({ stats, ...row }) => ({ ...row, ...stats })) });
    else {
      if (flags.watch === true && process.stdout.isTTY === true) process.stdout.write("\u001b[H\u001b[2J");
      writeLine(table(rows));
    }
    if (flags.watch !== true) return judge(rows);
    await sleep(WATCH_MS);
  }
}

/** Whoever watches has seen enough: that is how a watch ends, whatever it showed. */
function stop(): void {
  process.exit(exitCodes.done);
}

async function firstLook(node: string): Promise<Row[]> {
  const first = await ask(node);
  if (first.stats === undefined) throw new CliFailure(exitCodes.failed, `${first.problem}`);
  return await look(first, first.stats);
}

/** When the node is gone that was asked at first, those that were seen last name the others, and it. */
async function nextLook(node: string, seen: readonly Row[]): Promise<Row[]> {
  const others = seen.map((row) => row.node).filter((each) => each !== "" && each !== node);
  for (const each of [node, ...others]) {
    const first = await ask(each);
    if (first.stats !== undefined) return await look(first, first.stats);
  }
  return seen.map((row) => ({ ...row, ...lost(idOf(row.stats ?? {}), nameOf(row), "does not answer") }));
}

/** What is left of a node that says nothing of itself. */
const lost = (id: string, name: string, problem: string): Pick<Row, "stats" | "problem"> => ({
  stats: { node_id: id, name },
  problem,
});

async function look(first: Row, stats: Stats): Promise<Row[]> {
  const known = new Map<string, Row>([[idOf(stats), first]]);
  for (let found = addressesIn(stats, known); found.length > 0; ) {
    const rows = await Promise.all(found.map(([, , http]) => (http === undefined ? UNREACHABLE : ask(http))));
    const next: (typeof found)[number][] = [];
    for (const [index, row] of rows.entries()) {
      const [id = "", name = ""] = found[index] ?? [];
      known.set(id, row.problem === undefined ? row : { ...row, ...lost(id, name, row.problem) });
      if (row.stats !== undefined && known.size < NODES_MAX) next.push(...addressesIn(row.stats, known));
    }
    found = [...new Map(next.map((each) => [each[0], each])).values()];
  }
  return asTree([...known.values()]);
}

/** Each below the one that it follows; those of which that is not known stand at the left, the primary first. */
function asTree(rows: readonly Row[]): Row[] {
  const sorted = [...rows].sort((a, b) => rank(a) - rank(b) || nameOf(a).localeCompare(nameOf(b)));
  const byId = new Map(sorted.map((row) => [String(row.stats?.["node_id"]), row]));
  const told = new Map(
    sorted.flatMap(({ stats }) => nodesIn(stats?.["peers"]).map((peer) => [peer["id"], peer["follows"]])),
  );
  const feederOf = ({ stats }: Row): Row | undefined => {
    const { master } = stats ?? {};
    const own = typeof master === "object" && master !== null && "id" in master ? master.id : undefined;
    const feeder = byId.get(String(own ?? told.get(stats?.["node_id"])));
    return stats?.["role"] === "master" ? undefined : feeder;
  };
  const tree: Row[] = [];
  const seen = new Set<Row>();
  const place = (row: Row, depth: number): void => {
    if (seen.has(row)) return;
    seen.add(row);
    tree.push({ ...row, depth });
    for (const other of sorted) if (feederOf(other) === row) place(other, depth + 1);
  };
  for (const row of sorted) if (feederOf(row) === undefined) place(row, 0);
  // Some that follow each other.
  for (const row of sorted) place(row, 0);
  return tree;
}

async function ask(node: string): Promise<Row> {
  try {
    const { status: code, body } = await askNode(node, "/api/replication/stats", undefined, TIMEOUT_MS);
    if (code === 200) return { node, stats: body, problem: undefined };
    return { node, stats: undefined, problem: `${node}: ${String(body["error"])}` };
  } catch (error) {
    if (!(error instanceof CliFailure)) throw error;
    return { node, stats: undefined, problem: error.message };
  }
}

/** Id, name and HTTP address of each node that is named and not known yet. */
function addressesIn(
  stats: Stats,
  known: ReadonlyMap<string, unknown>,
): [string, string, string | undefined][] {
  return nodesIn(stats["peers"])
    .map((peer): [string, string, string | undefined] => [
      String(peer["id"]),
      String(peer["name"]),
      typeof peer["http"] === "string" ? peer["http"] : undefined,
    ])
    .filter(([id]) => !known.has(id));
}

function nodesIn(value: unknown): Stats[] {
  return Array.isArray(value) ? value.filter((each) => typeof each === "object" && each !== null) : [];
}

const idOf = (stats: Stats): string => String(stats["node_id"]);
const nameOf = ({ stats }: Row): string => String(stats?.["name"] ?? "");
const rank = ({ stats }: Row): number => (stats?.["role"] === "master" ? 0 : 1);

const HEAD = ["NAME", "ROLE", "EPOCH", "OFFSET", "BEHIND", "LAG", "STATE", "ADDRESS"];

function table(rows: readonly Row[]): string {
  const cells = [HEAD, ...rows.map((row) => cellsOf(row))];
  const widths = HEAD.map((_name, column) => Math.max(...cells.map((line) => (line[column] ?? "").length)));
  return cells
    .map((line, index) => {
      const text = line
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd();
      if (index === 0) return colour(process.stdout, 2, text);
      return isWell(rows[index - 1]) ? text : colour(process.stdout, 33, text);
    })
    .join("\n");
}

function cellsOf({ node, stats, problem, depth = 0 }: Row): string[] {
  const show = (field: string): string =>
    stats?.[field] === undefined || stats[field] === null ? "-" : String(stats[field]);
  const name = depth === 0 ? show("name") : `${"  ".repeat(depth - 1)}└ ${show("name")}`;
  if (problem !== undefined) return [name, "?", "-", "-", "-", "-", problem.replace(`${node}: `, ""), node];
  const offset = stats?.["replica_offset"] === undefined ? show("master_offset") : show("replica_offset");
  const lag =
    stats?.["lag_ms"] === undefined || stats["lag_ms"] === null ? "-" : `${String(stats["lag_ms"])} ms`;
  return [name, show("role"), show("epoch"), offset, show("lag_operations"), lag, stateOf(stats), node];
}

/** What is wrong with the node's log on its disk, or beside that of the node that it follows. */
function damageIn(stats: Stats | undefined): string | undefined {
  const damage = stats?.["damage"];
  if (typeof damage !== "object" || damage === null) return undefined;
  const { known, mending, owes_since, mismatch_offset, master }: Stats = { ...damage };
  if (typeof mending === "string") return `damaged, being mended: ${mending}`;
  const [first] = nodesIn(known);
  if (first !== undefined) return `damaged: ${String(first["words"])}`;
  if (typeof owes_since === "number") return "fetches again what damage took";
  if (typeof mismatch_offset === "number") return `not the same as its primary at offset ${mismatch_offset}`;
  return typeof master === "string" ? "its primary's disk is damaged" : undefined;
}

/** Two nodes with one id want to follow this one. */
function twinsIn(stats: Stats | undefined): string | undefined {
  const [twin] = nodesIn(stats?.["twins"]);
  if (twin === undefined) return undefined;
  const { name, stays, refused } = twin;
  return `${String(name)} is there twice, at ${String(stays)} and at ${String(refused)}: one is a copy`;
}

function stateOf(stats: Stats | undefined): string {
  return [roleStateOf(stats), damageIn(stats), twinsIn(stats)]
    .filter((words) => words !== undefined)
    .join("; ");
}

function roleStateOf(stats: Stats | undefined): string {
  if (stats?.["fenced"]) return "fenced: takes no writes";
  if (stats?.["role"] !== "replica") {
    const refuses = stats?.["refuses_writes"];
    return typeof refuses === "string" ? `refuses writes: ${refuses}` : "takes writes";
  }
  if (stats["connected"] !== true)
    return `not connected${stats["last_error"] ? `: ${String(stats["last_error"])}` : ""}`;
  return String(stats["phase"]);
}

function isWell(row: Row | undefined): boolean {
  const stats = row?.stats;
  if (row === undefined || row.problem !== undefined || stats?.["fenced"]) return false;
  if (damageIn(stats) !== undefined || twinsIn(stats) !== undefined) return false;
  return stats?.["role"] === "replica" ? stats["phase"] === "streaming" : stats?.["refuses_writes"] === null;
}

/** For scripts: a failure unless every node is well and one leads. */
function judge(rows: readonly Row[]): void {
  const leaders = rows.filter(({ stats }) => stats?.["role"] === "master" && !stats["fenced"]);
  const unwell = rows.filter((row) => !isWell(row));
  if (leaders.length === 1 && unwell.length === 0) return;
  const called = (row: Row): string => nameOf(row) || row.node;
  const more = unwell.length > 1 ? ` (and ${unwell.length - 1} more)` : "";
  const [first] = unwell;
  const states =
    first === undefined ? "" : `${called(first)}: ${first.problem ?? stateOf(first.stats)}${more}`;
  const led = leaders.length === 0 ? "no node leads" : `${leaders.map(called).join(" and ")} lead`;
  const words = [leaders.length === 1 ? "" : led, states].filter((each) => each !== "").join("; ");
  throw new CliFailure(exitCodes.failed, `${words}; see ops/docs/replication.md`);
}
