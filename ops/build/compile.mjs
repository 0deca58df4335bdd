// Has V8 compile the built program, and keeps the code beside its modules. V8 compiles what runs, so the program runs as it mostly does: all its commands
// say what they are, a server answers a few requests, and its directory is verified.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const runner = fileURLToPath(new URL("compiling-run.mjs", import.meta.url));

export async function compile(dist) {
  const directory = mkdtempSync(join(tmpdir(), "annals-build-"));
  const data = join(directory, "data");
  try {
    // Each run begins with what those before it compiled, and adds to it.
    await run(dist, directory, ["--help"]);
    await run(
      dist,
      directory,
      ["serve", "--data-dir", data, "--host", "127.0.0.1", "--port", "0"],
      useServer,
    );
    await run(dist, directory, ["verify", data]);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function run(dist, directory, args, use) {
  const child = spawn(process.execPath, [runner, dist, ...args], {
    cwd: directory,
    stdio: ["ignore", "pipe", "inherit"],
    // Variables of whoever builds must not configure the server.
    env: { PATH: process.env.PATH },
  });
  const said = [];
  child.stdout.setEncoding("utf8").on("data", (text) => said.push(text));
  const closed = once(child, "close");
  await use?.(child, said);
  const [code] = await closed;
  if (code !== 0) throw new Error(`annals ${args[0]} ended with ${code}:\n${said.join("")}`);
}

async function useServer(child, said) {
  const url = await listening(child, said);
  if (url === undefined) return;
  const headers = { "content-type": "application/json" };
  await (await fetch(`${url}/kv/a`, { method: "PUT", headers, body: '{"value":1}' })).text();
  for (const path of ["kv/a", "health", "readyz", "metrics"]) await (await fetch(`${url}/${path}`)).text();
  child.kill("SIGTERM");
}

/** Where the server listens; undefined if it ended before. */
function listening(child, said) {
  return new Promise((resolve) => {
    child.once("exit", () => resolve(undefined));
    child.stdout.on("data", () => {
      const url = /"url":"([^"]+)".*"msg":"listening"/.exec(said.join(""))?.[1];
      if (url !== undefined) resolve(url);
    });
  });
}
