// `annals import` as a user runs it, against a real server that dies on the way.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { freePort } from "../../ops/free-port.js";
import { PROGRAM, type RunningServer, startServer } from "../support/server-process.js";

const LINES = 2000;
const BATCH = 10;

const directory = mkdtempSync(join(tmpdir(), "annals-import-process-"));
const file = join(directory, "lines.ndjson");
let server: RunningServer | undefined;
afterEach(async () => {
  await server?.kill("SIGKILL");
  rmSync(directory, { recursive: true, force: true });
});

async function runImport(port: number): Promise<{ code: number; output: string }> {
  const flags = ["--url", `http://127.0.0.1:${port}`, "--batch", String(BATCH), "--json"];
  const child = spawn(process.execPath, [PROGRAM, "import", file, ...flags]);
  let output = "";
  child.stdout.on("data", (chunk) => {
    output += chunk;
  });
  child.stderr.resume();
  const [code] = await once(child, "close");
  return { code, output };
}

async function endOffset(port: number): Promise<number> {
  const info = await (await fetch(`http://127.0.0.1:${port}/info`)).json();
  return (info as { log: { end_offset: number } }).log.end_offset;
}

describe("annals import", () => {
  it("goes on through a SIGKILL of the server, and its records show that nothing was doubled", async () => {
    const line = (at: number): string => JSON.stringify({ key: `k${at}`, value: { at } });
    writeFileSync(file, Array.from({ length: LINES }, (_, at) => `${line(at)}\n`).join(""));
    const port = await freePort();
    let life = 0;
    const start = (): Promise<RunningServer> =>
      startServer({ dataDirectory: join(directory, `data-${life}`), flags: ["--port", String(port)] });
    let importing: ReturnType<typeof runImport>;
    // On a machine that lets this process wait the import may be over before the kill: then once more, from the beginning.
    do {
      life += 1;
      server = await start();
      importing = runImport(port);
      while ((await endOffset(port)) < 10) await new Promise((resolve) => setTimeout(resolve, 1));
      await server.kill("SIGKILL");
      server = await start();
    } while ((await endOffset(port)) > LINES / BATCH && (await importing) && (await server.kill("SIGKILL")));
    expect((await importing).code).toBe(0);
    // A batch is a record; the first one of the log begins its epoch.
    expect(await endOffset(port)).toBe(1 + LINES / BATCH);

    const again = await runImport(port);
    expect(JSON.parse(again.output)).toMatchObject({ lines: LINES, linesBefore: LINES, entriesStored: 0 });
    expect(await endOffset(port)).toBe(1 + LINES / BATCH);
    const keys = Array.from({ length: LINES }, (_, at) => `k${at}`);
    const headers = { "content-type": "application/json" };
    const body = JSON.stringify({ keys });
    const response = await fetch(`http://127.0.0.1:${port}/kv/mget`, { method: "POST", headers, body });
    expect(await response.json()).toEqual({ values: keys.map((_, at) => ({ at })) });
  });
});
