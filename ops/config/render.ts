/** The effective configuration as text: YAML that loads again, each value with where it came from; secrets are masked. */
import type { Config, Inert } from "./load.js";
import { describeOrigin } from "./origin.js";
import type { Setting } from "./setting.js";
import { isSettingPath, settingPaths, settings } from "./settings.js";

export const MASK = "********";

export interface PrintedSetting {
  readonly path: string;
  readonly value: unknown;
  readonly unit?: string;
  readonly origin: string;
}

export function printed(config: Config): PrintedSetting[] {
  return settingPaths.filter(isSettingPath).map((path) => {
    const setting: Setting = settings[path];
    const line = { path, value: config.values[path], origin: describeOrigin(config.origins[path]) };
    return setting.unit === undefined ? line : { ...line, unit: setting.unit };
  });
}

/** Documented keys that were given and change nothing. */
export function printedInert(inert: readonly Inert[]) {
  return inert.map(({ path, value, origin, note, secret }) => ({
    path,
    value: secret ? MASK : value,
    origin: describeOrigin(origin),
    note,
  }));
}

export function renderYaml(config: Config): string {
  const lines: string[] = [];
  let open: readonly string[] = [];
  for (const { path, value, unit, origin } of printed(config)) {
    const parts = path.split(".");
    const sections = parts.slice(0, -1);
    const shared = sections.findIndex((name, index) => open[index] !== name);
    for (let depth = shared === -1 ? sections.length : shared; depth < sections.length; depth++)
      lines.push(`${"  ".repeat(depth)}${sections[depth]}:`);
    open = sections;
    const comment = unit === undefined ? origin : `${unit}; ${origin}`;
    lines.push(`${"  ".repeat(sections.length)}${parts.at(-1)}: ${JSON.stringify(value)}  # ${comment}`);
  }
  for (const { path, value, origin, note } of printedInert(config.inert))
    lines.push(`# without effect (${note}): ${path}: ${JSON.stringify(value)}  # ${origin}`);
  return `${lines.join("\n")}\n`;
}
