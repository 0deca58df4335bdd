/**
 * What one setting is: its kind, its limits, and the names under which it can be given. Pure descriptions and the two ways
 * in which a value arrives: typed (from YAML) and as text (from the environment or a flag).
 */

import { unreachable } from "../../log/index.js";

export interface Described {
  /** Why it exists and what to weigh when changing it. */
  readonly why: string;
  readonly unit?: string;
  /** Documented `SYNAP_*` names; the `ANNALS_*` name follows from the path. */
  readonly environment?: readonly string[];
  /** Flag of `annals serve`, without dashes. */
  readonly flag?: string;
  /** Applied by SIGHUP without a restart. */
  readonly live?: true;
}

export interface WholeNumber extends Described {
  readonly kind: "number";
  readonly default: number;
  readonly min: number;
  readonly max: number;
  /** What `null` in a file means, for documented settings that may be left open. */
  readonly whenNull?: number;
}
export interface Switch extends Described {
  readonly kind: "switch";
  readonly default: boolean;
  /** A value that this release cannot honour, and what to say about it. */
  readonly refused?: { readonly value: boolean; readonly because: string };
}
export interface Text extends Described {
  readonly kind: "text";
  readonly default: string;
  /** What `null` in a file means, for documented settings that may be left open. */
  readonly whenNull?: string;
  readonly pattern?: RegExp;
  /** Describes the pattern to whoever missed it. */
  readonly expected?: string;
}
export interface Choice<Value extends string> extends Described {
  readonly kind: "choice";
  readonly default: Value;
  /** Every accepted spelling and the value it stands for. */
  readonly spellings: Readonly<Record<string, Value>>;
}
export interface TextList extends Described {
  readonly kind: "list";
  readonly default: readonly string[];
}

export type Setting = WholeNumber | Switch | Text | Choice<string> | TextList;
export type SettingValue = number | boolean | string | readonly string[];

export type ValueOf<S extends Setting> = S extends WholeNumber
  ? number
  : S extends Switch
    ? boolean
    : S extends Text
      ? string
      : S extends Choice<infer Value>
        ? Value
        : readonly string[];

/** Either the value, or one sentence that says what was expected and what was found. */
export type Parsed =
  | { readonly ok: true; readonly value: SettingValue }
  | { readonly ok: false; readonly problem: string };

const accept = (value: SettingValue): Parsed => ({ ok: true, value });
const refuse = (problem: string): Parsed => ({ ok: false, problem });

/** Found values are shown shortened: a whole certificate pasted into the wrong place should not fill the terminal. */
function shown(value: unknown): string {
  // JSON knows no `.inf` and no `.nan`.
  const text = typeof value === "number" ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
}

/** A value as YAML gave it. */
export function parseTyped(setting: Setting, value: unknown): Parsed {
  switch (setting.kind) {
    case "number":
      if (value === null && setting.whenNull !== undefined) return accept(setting.whenNull);
      if (typeof value !== "number" || !Number.isInteger(value))
        return refuse(`expected a whole number, found ${shown(value)}`);
      return withinLimits(setting, value);
    case "switch":
      if (typeof value !== "boolean") return refuse(`expected true or false, found ${shown(value)}`);
      return allowed(setting, value);
    case "text":
      if (value === null && setting.whenNull !== undefined) return accept(setting.whenNull);
      if (typeof value !== "string") return refuse(`expected a text, found ${shown(value)}`);
      return matching(setting, value);
    case "choice":
      if (typeof value !== "string") return refuse(`expected ${choices(setting)}, found ${shown(value)}`);
      return chosen(setting, value);
    case "list":
      if (!Array.isArray(value)) return refuse(`expected a list of texts, found ${shown(value)}`);
      return listed(value);
    default:
      return unreachable(setting);
  }
}

/** A value as the environment or a flag gave it. */
export function parseText(setting: Setting, text: string): Parsed {
  switch (setting.kind) {
    case "number":
      if (!/^-?\d{1,16}$/.test(text)) return refuse(`expected a whole number, found ${shown(text)}`);
      return withinLimits(setting, Number(text));
    case "switch": {
      const lower = text.toLowerCase();
      if (lower === "true" || lower === "1") return allowed(setting, true);
      if (lower === "false" || lower === "0") return allowed(setting, false);
      return refuse(`expected true or false, found ${shown(text)}`);
    }
    case "text":
      return matching(setting, text);
    case "choice":
      return chosen(setting, text);
    case "list":
      return listed(text === "" ? [] : text.split(",").map((part) => part.trim()));
    default:
      return unreachable(setting);
  }
}

function withinLimits(setting: WholeNumber, value: number): Parsed {
  if (value >= setting.min && value <= setting.max) return accept(value);
  const unit = setting.unit === undefined ? "" : ` ${setting.unit}`;
  return refuse(`expected ${setting.min} to ${setting.max}${unit}, found ${value}`);
}

function allowed(setting: Switch, value: boolean): Parsed {
  return setting.refused?.value === value ? refuse(setting.refused.because) : accept(value);
}

function matching(setting: Text, value: string): Parsed {
  if (setting.pattern === undefined || setting.pattern.test(value)) return accept(value);
  return refuse(`expected ${setting.expected ?? String(setting.pattern)}, found ${shown(value)}`);
}

function chosen(setting: Choice<string>, value: string): Parsed {
  const spelling = value.toLowerCase();
  const meant = Object.hasOwn(setting.spellings, spelling) ? setting.spellings[spelling] : undefined;
  return meant === undefined ? refuse(`expected ${choices(setting)}, found ${shown(value)}`) : accept(meant);
}

const choices = (setting: Choice<string>): string => `one of ${Object.keys(setting.spellings).join(", ")}`;

function listed(values: readonly unknown[]): Parsed {
  const texts: string[] = [];
  for (const value of values) {
    if (typeof value !== "string") return refuse(`expected a list of texts, found ${shown(value)} in it`);
    texts.push(value);
  }
  return accept(texts);
}
