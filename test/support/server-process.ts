/** The real server as a process of its own: started from `dist/`, waited for, killed, restarted on the same directory. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { endsWithTests } from "./started.js";

export const PROGRAM = fileURLToPath(new URL("../../dist/ops/cli/annals.js", import.meta.url));

export interface ServerOptions {
  readonly dataDirectory: string;
  readonly flags?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** A command that runs the server, such as `strace …`. */
  readonly wrapper?: readonly string[];
}

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class RunningServer {
  readonly port: number;
  readonly exited: Promise<Exit>;
  readonly #child: ChildProcess;
  readonly #output: string[];

  constructor(child: ChildProcess, port: number, exited: Promise<Exit>, output: string[]) {
    this.#child = child;
    this.port = port;
    this.exited = exited;
    this.#output = output;
  }

  /** Everything that the process has printed so far. */
  get output(): string {
    return this.#output.join("");
  }

  get pid(): number {
    if (this.#child.pid === undefined) throw new Error("the server never ran");
    return this.#child.pid;
  }

  get running(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Sends a signal that the server goes on after. */
  signal(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Sends the signal to the server and to what wraps it, and waits until they are gone. */
  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<Exit> {
    if (this.running) killGroup(this.#child, signal);
    return this.exited;
  }
}

/** Starts a server on a free port and waits until it serves. */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  if (!existsSync(PROGRAM)) throw new Error(`${PROGRAM} is missing: run \`npm run build\` first`);
  const serve = ["serve", "--data-dir", options.dataDirectory, "--port", "0", "--host", "127.0.0.1"];
  const [command, ...rest] = [...(options.wrapper ?? []), process.execPath, PROGRAM, ...serve];
  // A process group of its own, so that a wrapper and the server end together.
  const child = spawn(command ?? process.execPath, [...rest, ...(options.flags ?? [])], {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
    env: { ...process.env, UV_USE_IO_URING: "0", ...options.environment },
  });
  endsWithTests(child, true);
  const output: string[] = [];
  const exited = once(child, "exit").then(([code, signal]): Exit => ({ code, signal }));
  const port = await new Promise<number>((resolve, reject) => {
    const fail = (why: string): void => reject(new Error(`the server ${why}; it said:\n${output.join("")}`));
    const late = setTimeout(() => {
      killGroup(child, "SIGKILL");
      fail("did not start within 30 s");
    }, 30_000);
    const look = (text: string): void => {
      output.push(text);
      const found = portOf(output.join(""));
      if (found === undefined) return;
      clearTimeout(late);
      resolve(found);
    };
    child.stdout?.setEncoding("utf8").on("data", look);
    child.stderr?.setEncoding("utf8").on("data", look);
    void exited.then(({ code, signal }) => {
      clearTimeout(late);
      fail(`ended with ${code ?? signal}`);
    });
  });
  return new RunningServer(child, port, exited, output);
}

/** The port in the line `listening`, once it is there. */
function portOf(output: string): number | undefined {
  for (const line of output.split("\n")) {
    if (!line.includes('"msg":"listening"')) continue;
    const found = /"port":(\d+)/.exec(line);
    if (found !== null) return Number(found[1]);
  }
  return undefined;
}

function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    // It was gone already.
    if (!(error instanceof Error && "code" in error && error.code === "ESRCH")) throw error;
  }
}
