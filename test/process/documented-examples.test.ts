/**
 * The worked examples of the documented server's guides and API reference, and its load script, sent to the real process
 * over a socket. Where this server intentionally answers otherwise, `ops/docs/coming-from-synap.md` says so in a table, and
 * the answer is the one that the table tells; an entry that no example needs is refused.
 */
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { documentedExamples, type Example } from "../support/documented/examples.js";
import { type Answer, errorCodeOf, HttpClient } from "../support/http-client.js";
import { runLoadScript, type Sender } from "../support/load-script.js";
import { type RunningServer, startServer } from "../support/server-process.js";

const CONNECTIONS = 100;
const ITERATIONS = 3;

let directory: string;
let server: RunningServer;
let client: HttpClient;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "annals-documented-"));
  server = await startServer({ dataDirectory: directory });
  client = new HttpClient(server.port, CONNECTIONS);
});
afterAll(async () => {
  client.close();
  await server.kill("SIGTERM");
  await rm(directory, { recursive: true });
});

/** What the guide tells of one call that is answered otherwise: the status and code, or that no line has the pattern. */
interface Difference {
  readonly call: string;
  readonly status: number | undefined;
  readonly code: string | undefined;
}

function differencesIn(guide: string): readonly Difference[] {
  const section = /^## Calls of its guides\n([\s\S]*?)(?=^## |$(?![\s\S]))/m.exec(guide)?.[1] ?? "";
  const rows = [...section.matchAll(/^\| (`.+?`.*?) \| .+? \| (.+?) \| .+ \|$/gm)];
  return rows.map(([, called = "", answered = ""]) => {
    const call = [...called.matchAll(/`([^`]+)`/g)].map(([, text]) => text).join(" with ");
    const [, status, code] = /^(\d{3})(?: `([A-Z_]+)`)?/.exec(answered) ?? [];
    return { call, status: status === undefined ? undefined : Number(status), code };
  });
}

const guide = readFileSync(new URL("../../ops/docs/coming-from-synap.md", import.meta.url), "utf8");
const differences = differencesIn(guide);
const used = new Set<Difference>();

function differenceOf(call: string): Difference | undefined {
  const found = differences.find((each) => each.call === call);
  if (found !== undefined) used.add(found);
  return found;
}

/** What is neither as documented nor as the guide says. */
function surprisesIn(example: Example, answer: Answer): readonly string[] {
  const call = `${example.method} ${example.path}`;
  const told = (status: number, code: string | undefined): string => `${call}: ${status} ${code ?? ""}`;
  const difference = differenceOf(call);
  const { status = example.status, code } = difference ?? {};
  const found = status < 400 || difference === undefined ? undefined : errorCodeOf(answer);
  if (answer.status !== status || found !== code)
    return [`${told(answer.status, errorCodeOf(answer))} instead of ${told(status, code)}`];
  if (difference !== undefined) return [];
  const missing = example.fields.filter((field) => !Object.hasOwn(JSON.parse(answer.text), field));
  const unlike = example.patterns.filter((pattern) => {
    const isThere = answer.text.split("\n").some((line) => line.includes(pattern));
    return isThere === (differenceOf(`${call} with ${pattern}`) !== undefined);
  });
  return [...missing, ...unlike].map((name) => `${call}: ${name}`);
}

describe("the documented examples", () => {
  test("are answered as documented, or as the guide for newcomers from there says", async () => {
    let messageId = "";
    const surprises: string[] = [];
    for (const example of documentedExamples()) {
      const body = example.body?.replace("{message_id}", messageId);
      const answer = await client.send(example.method, example.path, body, example.headers);
      messageId = /"message_id":"([^"]+)"/.exec(answer.text)?.[1] ?? messageId;
      surprises.push(...surprisesIn(example, answer));
    }
    expect(surprises).toEqual([]);
    expect(differences.length).toBeGreaterThan(0);
    expect(differences.filter((each) => !used.has(each)).map(({ call }) => call)).toEqual([]);
  });

  test("the load script's checks hold for every virtual user", async () => {
    const source = readFileSync(new URL("../support/documented/load-test.txt", import.meta.url), "utf8");
    const send: Sender = async (...request) => {
      const answer = await client.send(...request);
      if (request[0] === "GET") expect(answer.text).toContain("test-value");
      return answer;
    };
    const report = await runLoadScript(source, send, ITERATIONS);
    const calls = report.users * ITERATIONS;
    expect(report).toEqual({
      users: 100,
      requests: 2 * calls,
      checks: { "SET success": { held: calls, failed: 0 }, "GET success": { held: calls, failed: 0 } },
    });
  });
});

describe("the runner of load scripts", () => {
  const script = (check: string): string =>
    `import http from 'k6/http';\nexport let options = { vus: 2 };\nexport default function() {\n${check}\n}`;
  const answering = (status: number) => async () => ({ status, headers: {}, text: "" });

  test("counts the checks that fail", async () => {
    const source = script("check(http.get('http://x/y'), { 'is there': (r) => r.status === 200 });");
    const report = await runLoadScript(source, answering(404), 3);
    expect(report).toEqual({ users: 2, requests: 6, checks: { "is there": { held: 0, failed: 6 } } });
  });

  test("fails when a request fails", async () => {
    const refused = () => Promise.reject(new Error("ECONNREFUSED"));
    await expect(runLoadScript(script("http.get('http://x/y');"), refused, 1)).rejects.toThrow(
      "ECONNREFUSED",
    );
  });
});
