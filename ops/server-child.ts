/**
 * A server of ours as another process: started from the built command line, watched until it serves, killed or stopped.
 * For the demo and the bench, which need a process that can really die, and for the drill.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

export interface ServerChild {
  readonly pid: number;
  readonly port: number;
  readonly url: string;
  /** From the start of the process until what was waited for, by default that `/readyz` answered 200. */
  readonly readyMs: number;
  /** Resolves with the exit code, or the signal's name, when the process has ended. */
  readonly ended: Promise<string>;
  kill(signal: NodeJS.Signals): void;
}

export interface ServerChildOptions {
  readonly dataDirectory: string;
  /** Further flags of `annals serve`. */
  readonly flags?: readonly string[];
  /** Flags of Node itself. */
  readonly nodeFlags?: readonly string[];
  /** Variables that it inherits. Default: all of this process. */
  readonly inherited?: Readonly<Record<string, string | undefined>>;
  /** Variables beside those. */
  readonly environment?: Readonly<Record<string, string>>;
  /** Where it runs; default: where this process does. */
  readonly workDirectory?: string;
  /** 0 = a free one. */
  readonly port?: number;
  readonly readyTimeoutMs?: number;
  /** Gives up waiting: the process is killed, and the signal's reason thrown. */
  readonly signal?: AbortSignal;
  /** `listening`: it answers, but may still read its log or lack what its primary has. Default: `ready`. */
  readonly waitFor?: "listening" | "ready";
}

const LINES_KEPT = 50;

/** The built CLI, whether this module runs from `dist/` or from the sources. */
export function commandLinePath(): string {
  const here = fileURLToPath(new URL(".", import.meta.url));
  const path = [`${here}cli/annals.js`, `${here}../dist/ops/cli/annals.js`].find((each) => existsSync(each));
  if (path === undefined) throw new Error("the command line is not built: run `npm run build`");
  return path;
}

export async function startServer(options: ServerChildOptions): Promise<ServerChild> {
  const { dataDirectory, flags = [], nodeFlags = [], port = 0, readyTimeoutMs = 120_000 } = options;
  const started = performance.now();
  const args = [
    "serve",
    "--data-dir",
    dataDirectory,
    "--host",
    "127.0.0.1",
    "--port",
    String(port),
    ...flags,
  ];
  const child = spawn(process.execPath, [...nodeFlags, commandLinePath(), ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...(options.inherited ?? process.env), ...options.environment },
    ...(options.workDirectory === undefined ? {} : { cwd: options.workDirectory }),
  });
  const output: string[] = [];
  const ended = new Promise<string>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code, signal) => resolve(String(code ?? signal)));
  });
  const waiting = new AbortController();
  try {
    const failed = ended.then((how) => {
      throw new Error(`the server ended (${how}) before it served:\n${output.slice(-8).join("\n")}`);
    });
    const late = timeout(
      readyTimeoutMs,
      () => `the server was not ready in time:\n${output.slice(-8).join("\n")}`,
    );
    const serving = listening(child, output).then((at) =>
      options.waitFor === "listening" ? at : readyAt(at, waiting.signal),
    );
    const unwanted = abortOf(options.signal);
    const at = await Promise.race([serving, failed, late.promise, unwanted]).finally(late.clear);
    return {
      pid: child.pid ?? 0,
      port: at,
      url: `http://127.0.0.1:${at}`,
      readyMs: performance.now() - started,
      ended,
      kill: (signal) => void child.kill(signal),
    };
  } catch (error) {
    child.kill("SIGKILL");
    // Whoever removes its directory next must not do it under its hands.
    await ended.catch(() => undefined);
    throw error;
  } finally {
    waiting.abort();
  }
}

function abortOf(signal: AbortSignal | undefined): Promise<never> {
  return new Promise((_, reject) => {
    signal?.addEventListener("abort", () => reject(signal.reason), { once: true });
    if (signal?.aborted === true) reject(signal.reason);
  });
}

function timeout(ms: number, message: () => string): { promise: Promise<never>; clear: () => void } {
  let timer: NodeJS.Timeout | undefined;
  const promise = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(message())), ms);
  });
  return { promise, clear: () => clearTimeout(timer) };
}

/** Resolves with the port named by the line `listening`; keeps the last lines for whoever must explain a failure. */
function listening(child: ChildProcess, output: string[]): Promise<number> {
  return new Promise((resolve) => {
    const follow = (stream: NodeJS.ReadableStream | null): void => {
      let rest = "";
      stream?.setEncoding("utf8");
      stream?.on("data", (chunk: string) => {
        const lines = (rest + chunk).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          output.push(line);
          if (output.length > LINES_KEPT) output.shift();
          const port = listeningPort(line);
          if (port !== undefined) resolve(port);
        }
      });
    };
    follow(child.stdout);
    follow(child.stderr);
  });
}

function listeningPort(line: string): number | undefined {
  if (!line.includes('"listening"')) return undefined;
  try {
    const entry: unknown = JSON.parse(line);
    if (typeof entry !== "object" || entry === null) return undefined;
    const { msg, port } = entry as { msg?: unknown; port?: unknown };
    return msg === "listening" && typeof port === "number" ? port : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

async function readyAt(port: number, giveUp: AbortSignal): Promise<number> {
  while (!giveUp.aborted) {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => undefined);
    await response?.arrayBuffer();
    if (response?.ok === true) return port;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  return port;
}
