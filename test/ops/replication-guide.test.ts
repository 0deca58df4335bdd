/** The commands of ops/docs/replication.md, run as they stand there: three nodes, a fail-over, a return, a switchover. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { freePort } from "../../ops/free-port.js";
import { AnnalsCommand, runAnnals } from "../support/annals-command.js";

const directory = mkdtempSync(join(tmpdir(), "annals-guide-"));
const servers = new Map<string, AnnalsCommand>();
afterAll(async () => {
  await Promise.all([...servers.values()].map((server) => server.end()));
  rmSync(directory, { recursive: true });
});

const environment = {
  ANNALS_REPLICATION_HEARTBEAT_INTERVAL_MS: "50",
  ANNALS_REPLICATION_RECONNECT_DELAY_MS: "100",
};
const guide = readFileSync(new URL("../../ops/docs/replication.md", import.meta.url), "utf8");

/** Blocks of commands, in order. */
const blocks = [...guide.matchAll(/```sh\n([\s\S]*?)```/g)].map(([, text = ""]) => text.trim().split("\n"));

/** The ports of the guide stand for free ones here. */
const ports = new Map<string, string>();
async function withFreePorts(line: string): Promise<string> {
  let text = line;
  for (const [port] of line.matchAll(/\b155[0-9]{2}\b/g)) {
    if (!ports.has(port)) ports.set(port, String(await freePort()));
    text = text.replaceAll(port, ports.get(port) ?? port);
  }
  return text;
}

/** As a shell would, for what the guide uses. */
const wordsOf = (line: string): string[] =>
  [...line.matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
    ([, double, single, plain]) => double ?? single ?? plain ?? "",
  );

async function run(line: string): Promise<string> {
  const [program, ...args] = wordsOf(await withFreePorts(line));
  if (program === "curl") return curl(args);
  if (args[0] === "serve") return serve(args);
  const { code, stdout, stderr } = await runAnnals(args);
  expect(code, `${line}\n${stdout}${stderr}`).toBe(0);
  return stdout;
}

async function serve(args: readonly string[]): Promise<string> {
  const name = args[args.indexOf("--data-dir") + 1] ?? "";
  await servers.get(name)?.end();
  const server = new AnnalsCommand(args, { cwd: directory, environment });
  servers.set(name, server);
  return String(await server.port());
}

async function curl(args: readonly string[]): Promise<string> {
  const after = (flag: string): string | undefined =>
    args.includes(flag) ? args[args.indexOf(flag) + 1] : undefined;
  const headers = args.flatMap((each, at) => (each === "-H" ? [(args[at + 1] ?? "").split(": ")] : []));
  // What curl says of a body on its own.
  const form = after("-d") === undefined ? {} : { "content-type": "application/x-www-form-urlencoded" };
  const url = args.find((each) => each.startsWith("http")) ?? "";
  const answer = await fetch(url, {
    method: after("-X") ?? "GET",
    headers: {
      ...form,
      ...Object.fromEntries(headers.map(([name = "", value]) => [name.toLowerCase(), value])),
    },
    ...(after("-d") === undefined ? {} : { body: after("-d") as string }),
  });
  const text = await answer.text();
  expect(answer.status, text).toBe(200);
  return text;
}

interface Stats {
  readonly role: string;
  readonly epoch: number;
  readonly phase?: string;
}

async function statsOf(port: string): Promise<Stats> {
  const answer = await fetch(await withFreePorts(`http://127.0.0.1:${port}/api/replication/stats`));
  return (await answer.json()) as Stats;
}

/** Until everything is as it should be; a node needs a moment for what it was told. */
const settled = (epoch: number) =>
  expect
    .poll(
      async () => {
        const all = await Promise.all(["15500", "15510", "15520"].map(statsOf));
        return all.map(({ role, phase, epoch: own }) => `${role} ${phase ?? "leads"} ${own}`).sort();
      },
      { interval: 20 },
    )
    .toEqual([`master leads ${epoch}`, `replica streaming ${epoch}`, `replica streaming ${epoch}`]);

it("does what it says", async () => {
  const [start = [], use = [], failOver = [], comeBack = [], handOver = [], ...rest] = blocks;
  expect(rest).toEqual([]);
  for (const line of start.slice(0, 3)) await run(line);
  await settled(1);
  const table = await run(start[3] ?? "");
  expect(table.split("\n").filter((line) => / replica /.test(line))).toHaveLength(2);

  await run(use[0] ?? "");
  await expect.poll(() => run(use[1] ?? "")).toBe('"John"');
  expect(await run(use[2] ?? "")).toContain('"role":"replica"');

  await servers.get("./db1")?.end();
  const lost = await runAnnals(wordsOf(await withFreePorts(failOver[0] ?? "")).slice(1));
  expect(lost.code).toBe(1);
  expect(await run(failOver[1] ?? "")).toContain("is the primary: epoch 2");
  await run(failOver[2] ?? "");

  await run(comeBack[0] ?? "");
  await settled(2);
  expect(await run(comeBack[1] ?? "")).toMatch(/ master +2 /);

  expect(await run(handOver[0] ?? "")).toContain("is the primary: epoch 3");
  await settled(3);
});
