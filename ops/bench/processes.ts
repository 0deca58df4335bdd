/**
 * Starts what is measured and ends it again: each process on a free loopback port, in a directory of its own below the
 * bench's temporary directory. Whatever happens, `Bench.close` ends every process that this bench started.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";

export interface Started {
  readonly name: string;
  readonly pid: number;
  readonly port: number;
  readonly directory: string;
  /** From the start of the process until it answered as ready. */
  readonly readyMs: number;
  stop(signal?: NodeJS.Signals): Promise<void>;
}

export interface StartOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly port: number;
  readonly directory: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Asked again and again until true. */
  readonly ready: (port: number) => Promise<boolean>;
  readonly readyTimeoutMs?: number;
}

export class Bench {
  readonly directory: string;
  readonly #running = new Set<ChildProcess>();
  readonly #ends: (() => void)[] = [];
  #directories = 0;

  constructor(
    readonly rounds: number,
    readonly seconds: number,
    parent = tmpdir(),
  ) {
    this.directory = mkdtempSync(join(parent, "annals-bench-"));
  }

  newDirectory(name: string): string {
    return mkdtempSync(join(this.directory, `${++this.#directories}-${name}-`));
  }

  async start(options: StartOptions): Promise<Started> {
    const log = join(options.directory, "output.txt");
    const output = openSync(log, "a");
    const started = performance.now();
    const child = spawn(options.command, options.args, {
      cwd: options.directory,
      env: { ...process.env, ...options.env },
      stdio: ["ignore", output, output],
    });
    this.#running.add(child);
    let ended: string | undefined;
    const exited = new Promise<void>((resolve) => {
      const done = (why: string) => () => {
        ended = why;
        this.#running.delete(child);
        resolve();
      };
      child.once("error", (error) => done(error.message)());
      child.once("exit", (code, signal) => done(`exit ${code ?? signal}`)());
    });
    const deadline = started + (options.readyTimeoutMs ?? 60_000);
    while (!(await options.ready(options.port))) {
      if (ended !== undefined || performance.now() > deadline) {
        child.kill("SIGKILL");
        const tail = readFileSync(log, "utf8").split("\n").slice(-8).join("\n");
        throw new Error(`${options.name} did not become ready (${ended ?? "timeout"}):\n${tail}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    const stop = async (signal: NodeJS.Signals = "SIGTERM"): Promise<void> => {
      child.kill(signal);
      const late = setTimeout(() => child.kill("SIGKILL"), 20_000);
      await exited;
      clearTimeout(late);
    };
    const { name, port, directory } = options;
    return { name, port, directory, pid: child.pid ?? 0, readyMs: performance.now() - started, stop };
  }

  /** For processes that somebody else started for this bench. */
  onClose(end: () => void): void {
    this.#ends.push(end);
  }

  /** Ends every process that is still there and removes the files. */
  async close(): Promise<void> {
    const ends = [...this.#running].map((child) => new Promise((resolve) => child.once("exit", resolve)));
    for (const child of this.#running) child.kill("SIGKILL");
    for (const end of this.#ends) end();
    await Promise.all(ends);
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Where a program is, or undefined when it isn't installed. */
export function programPath(name: string): string | undefined {
  const directories = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/sbin"];
  return directories.map((directory) => join(directory, name)).find((path) => existsSync(path));
}

export function versionOf(name: string, ...args: string[]): string | undefined {
  const path = programPath(name);
  if (path === undefined) return undefined;
  try {
    return execFileSync(path, args, { encoding: "utf8", stdio: ["ignore", "pipe", "ignore"] }).split("\n")[0];
  } catch (error) {
    // wrk prints its version and exits with 1.
    if (error instanceof Error && "stdout" in error) return String(error.stdout).split("\n")[0];
    throw error;
  }
}

/** Resident memory of a process, bytes. Linux only, as the peers' packages are. */
export function residentBytes(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  if (line?.[1] === undefined) throw new Error(`no VmRSS for process ${pid}`);
  return Number(line[1]) * 1024;
}

/** The kernel counts processor time in these, whatever it measures itself in. */
const TICKS_PER_SECOND = 100;

/** What all threads of a process have spent, user and system. Linux only. */
export function processorSeconds(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name of the program, in parentheses, may have blanks; user and system time are the 14th and 15th field.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const ticks = Number(fields[11]) + Number(fields[12]);
  if (Number.isNaN(ticks)) throw new Error(`no processor time for process ${pid}`);
  return ticks / TICKS_PER_SECOND;
}

const FILE_SYSTEMS: Readonly<Record<number, string>> = {
  61267: "ext4",
  1481003842: "xfs",
  2435016766: "btrfs",
  16914836: "tmpfs",
  2035054128: "overlay",
  801189825: "zfs",
};

/** A durable write to a tmpfs measures nothing, so the report names the file system. */
export function fileSystemOf(directory: string): string {
  const { type } = statfsSync(directory);
  return FILE_SYSTEMS[type] ?? `0x${type.toString(16)}`;
}

/** True when an HTTP server answers `path` with a 2xx. */
export async function answers(port: number, path: string, init: RequestInit = {}): Promise<boolean> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}${path}`, {
      signal: AbortSignal.timeout(2000),
      ...init,
    });
    await response.arrayBuffer();
    return response.ok;
  } catch (error) {
    // Refused or reset: not there yet. Anything else is a mistake of the bench.
    if (error instanceof TypeError || (error instanceof Error && error.name === "TimeoutError")) return false;
    throw error;
  }
}
