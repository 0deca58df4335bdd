/**
 * How the tools beside the command line (bench, demo) are asked: `--help` prints their usage; a mistake in their arguments is
 * one line on stderr and the exit code for usage. What goes wrong later is theirs.
 */
import { exitCodes } from "./failure.js";
import { wholeNumberIn } from "./number-argument.js";
import { talk, writeLine } from "./output.js";

/**
 * What `read` makes of the arguments, or undefined when there is nothing to run: the exit code is set then.
 * `read` throws a RangeError for a value that cannot be used, and as `parseArgs` of `node:util` does.
 */
export function wantedFromArguments<Wanted>(
  usage: string,
  read: (args: readonly string[]) => Wanted,
): Wanted | undefined {
  const args = process.argv.slice(2);
  if (args.includes("--help") || args.includes("-h")) {
    writeLine(usage);
    return undefined;
  }
  try {
    return read(args);
  } catch (error) {
    if (!isMistake(error)) throw error;
    // The parser goes on with advice in further sentences.
    const [what] = error.message.split(/\.\s/, 1);
    talk(`${what}; see --help`);
    process.exitCode = exitCodes.usage;
    return undefined;
  }
}

/** @throws RangeError that names the option. */
export function wholeNumberOf(option: string, text: string, min: number, max: number): number {
  const number = wholeNumberIn(text, min, max);
  if (number !== undefined) return number;
  throw new RangeError(`${option}: expected a whole number from ${min} to ${max}`);
}

function isMistake(error: unknown): error is Error {
  if (error instanceof RangeError) return true;
  return (
    error instanceof TypeError &&
    "code" in error &&
    typeof error.code === "string" &&
    error.code.startsWith("ERR_PARSE_ARGS_")
  );
}
