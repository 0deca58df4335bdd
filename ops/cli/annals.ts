/** The command line: finds the command, runs it, and turns whatever goes wrong into one line and an exit code. */
import { Command, CommanderError } from "commander";
import { version } from "../version.js";
import { addCommands } from "./commands.js";
import { CliFailure, exitCodes, verdictOf } from "./failure.js";
import { talk } from "./output.js";

async function buildProgram(): Promise<Command> {
  const program = new Command("annals")
    .description("An event-sourced store on an append-only log")
    .version(version)
    .helpCommand(false)
    // What stands behind the name of a command is that command's: a command and its subcommands may share an option.
    .enablePositionalOptions()
    .exitOverride()
    // Usage errors are told in one line of our own, below.
    .configureOutput({ outputError: () => undefined, writeErr: () => undefined });
  await addCommands(program, process.argv[2]);
  return program;
}

/** The command that the words begin with, as one types it: where help is about what was wrong. */
function commandIn(program: Command, words: readonly string[]): string {
  const path = [program.name()];
  let at: Command | undefined = program;
  for (const word of words) {
    at = at.commands.find((each) => each.name() === word);
    if (at === undefined) break;
    path.push(word);
  }
  return path.join(" ");
}

async function run(program: Command): Promise<void> {
  try {
    await program.parseAsync(process.argv);
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    // `--help` and `--version` come as exceptions, too.
    if (error.exitCode === 0) return;
    const said = error.code === "commander.help" ? "a command is missing" : error.message;
    const help = `${commandIn(program, process.argv.slice(2))} --help`;
    throw new CliFailure(exitCodes.usage, `${said.replace(/^error: /, "").replace(/\.$/, "")}; see ${help}`);
  }
}

/** What became of the output changes nothing about what a command does; it ends as it would have ended, but that output which is lost is a failure. */
function watchOutput(): void {
  let lost: Error | undefined;
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // A reader that has seen enough (`| head`) is none.
    if (error.code !== "EPIPE") lost = error;
  });
  // The exit code says it all the same.
  process.stderr.on("error", () => undefined);
  process.on("exit", () => {
    if (lost === undefined || (process.exitCode ?? exitCodes.done) !== exitCodes.done) return;
    const { line, exitCode } = verdictOf(lost);
    talk(`annals: stdout: ${line}`);
    process.exitCode = exitCode;
  });
}

async function main(): Promise<void> {
  watchOutput();
  try {
    await run(await buildProgram());
  } catch (error) {
    const verdict = verdictOf(error);
    talk(`annals: ${verdict.line}`);
    process.exitCode = verdict.exitCode;
  }
}

void main();
