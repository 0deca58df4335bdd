/** `annals config check` and `annals config print`: is the configuration sound, and what comes of it. */
import type { Command } from "commander";
import { describeMistake, type Mistake } from "../config/origin.js";
import { printed, printedInert, renderYaml } from "../config/render.js";
import { readConfig, requireConfig } from "./effective-config.js";
import { configFailure } from "./failure.js";
import { writeJson, writeLine } from "./output.js";

interface ConfigOptions {
  readonly config?: string;
  readonly json?: boolean;
}

export function addConfig(program: Command): void {
  const config = program.command("config").description("check or print the configuration");
  config
    .command("check")
    .description("check the configuration file and environment; lists every mistake with its place")
    .option("-c, --config <file>", "configuration file (default: config.yml here, if there)")
    .option("--json", "as one JSON object")
    .action(check);
  config
    .command("print")
    .description("print every setting with its effective value and where it came from")
    .option("-c, --config <file>", "configuration file (default: config.yml here, if there)")
    .option("--json", "as one JSON object")
    .action(print);
}

async function check(options: ConfigOptions): Promise<void> {
  const { loaded, file } = await readConfig({ file: options.config, flags: {} });
  const mistakes = loaded.ok ? [] : loaded.mistakes;
  const warnings = loaded.ok ? loaded.config.warnings : [];
  const inert = loaded.ok ? printedInert(loaded.config.inert) : [];
  if (options.json === true) {
    writeJson({
      ok: loaded.ok,
      file: file ?? null,
      mistakes: mistakes.map(flat),
      withoutEffect: inert,
      warnings,
    });
  } else {
    for (const mistake of mistakes) writeLine(describeMistake(mistake));
    for (const key of inert) writeLine(`${key.origin}: ${key.path} has no effect: ${key.note}`);
    for (const warning of warnings) writeLine(warning);
    if (loaded.ok) writeLine(`${file ?? "no file"}: the configuration is sound`);
  }
  if (!loaded.ok) throw configFailure(mistakes);
}

const flat = ({ origin, message }: Mistake) => ({ ...origin, message });

async function print(options: ConfigOptions): Promise<void> {
  const config = await requireConfig({ file: options.config, flags: {} });
  if (options.json === true)
    writeJson({ settings: printed(config), withoutEffect: printedInert(config.inert) });
  else process.stdout.write(renderYaml(config));
}
