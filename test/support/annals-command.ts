/** The command line as a process of its own, stdout and stderr apart: for exit codes, and for servers that should not start. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { PROGRAM } from "./server-process.js";
import { endsWithTests } from "./started.js";

export interface CommandOptions {
  readonly cwd?: string;
  readonly environment?: Readonly<Record<string, string>>;
}

export interface CommandResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Variables of the shell that runs the tests must not configure what is tested. */
function cleanEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !/^(ANNALS|SYNAP)_/.test(name)));
}

export class AnnalsCommand {
  readonly child: ChildProcess;
  readonly ended: Promise<CommandResult>;
  stdout = "";
  stderr = "";

  constructor(args: readonly string[], options: CommandOptions = {}) {
    this.child = spawn(process.execPath, [PROGRAM, ...args], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...cleanEnvironment(), UV_USE_IO_URING: "0", ...options.environment },
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    endsWithTests(this.child);
    this.child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      this.stdout += text;
    });
    this.child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      this.stderr += text;
    });
    // `close` comes after both pipes have ended, `exit` may come before.
    this.ended = once(this.child, "close").then(([code]) => ({
      code,
      stdout: this.stdout,
      stderr: this.stderr,
    }));
  }

  /** The entries of the JSON log with this message. */
  logged(message: string): Record<string, unknown>[] {
    return this.stdout
      .split("\n")
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line))
      .filter((entry) => entry.msg === message);
  }

  /** Waits until the log has an entry with this message; fails when the process ends before. */
  async untilLogged(message: string, count = 1): Promise<Record<string, unknown>> {
    let ended = false;
    void this.ended.then(() => {
      ended = true;
    });
    for (;;) {
      const found = this.logged(message)[count - 1];
      if (found !== undefined) return found;
      if (ended) throw new Error(`ended without "${message}":\n${this.stdout}${this.stderr}`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async port(): Promise<number> {
    return Number((await this.untilLogged("listening"))["port"]);
  }

  signal(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  /** For `finally`: gone, whatever happened before. */
  async end(): Promise<void> {
    if (this.child.exitCode === null && this.child.signalCode === null) this.child.kill("SIGKILL");
    await this.ended;
  }
}

export function runAnnals(args: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  return new AnnalsCommand(args, options).ended;
}
