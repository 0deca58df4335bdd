#!/usr/bin/env node
/** The command line: finds the command, runs it, and turns whatever goes wrong into one line and an exit code. */
import { Command, CommanderError } from "commander";
import { version } from "../version.js";
import { addCommands } from "./commands.js";
import { exitCodes, type Verdict, verdictOf } from "./failure.js";
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

/** `--help` and `--version` come as exceptions too, with code 0. */
function usageVerdict(error: CommanderError): Verdict | undefined {
  if (error.exitCode === 0) return undefined;
  const said = error.code === "commander.help" ? "a command is missing" : error.message;
  const line = said.replace(/^error: /, "").replaceAll(/\s*\n\s*/g, " ");
  return { exitCode: exitCodes.usage, line: `${line}; see annals --help` };
}

async function main(): Promise<void> {
  // A reader that has seen enough (`| head`) is no failure.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EPIPE") process.exit(exitCodes.done);
    throw error;
  });
  try {
    await (await buildProgram()).parseAsync(process.argv);
  } catch (error) {
    const verdict = error instanceof CommanderError ? usageVerdict(error) : verdictOf(error);
    if (verdict === undefined) return;
    talk(`annals: ${verdict.line}`);
    process.exitCode = verdict.exitCode;
  }
}

await main();
